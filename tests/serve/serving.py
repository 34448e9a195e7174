"""A server of the explorer that runs beside the test, and one who asks it."""

from __future__ import annotations

import contextlib
import http.client
import json
import threading
import time

from featvis.serve.guard import HEADER
from featvis.serve.server import make_server


@contextlib.contextmanager
def served(explorer):
    """Serve until the block ends; give what asks it, and its address."""
    server, listening, address = make_server(explorer)
    with listening:
        listening.listen(64)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        until(lambda: server.started)
        try:
            yield Asking(listening.getsockname()[1], explorer.token), address
        finally:
            explorer.queue.stop()
            server.should_exit = True
            thread.join(30)
            explorer.close()
            assert not thread.is_alive()


def until(condition, seconds=30.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.01)


class Asking:
    """Asks with the token in a header, unless told otherwise."""

    def __init__(self, port, token):
        self.port, self.token = port, token

    def open(self, method, path, body=None, headers=None, *, host=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        content = body if isinstance(body, bytes | type(None)) else json.dumps(body).encode()
        sent = {HEADER: self.token} if headers is None else headers
        connection.putrequest(method, path, skip_host=True)
        connection.putheader("Host", host or f"127.0.0.1:{self.port}")
        if content is not None and "Content-Length" not in sent:
            connection.putheader("Content-Length", str(len(content)))
        for name, value in sent.items():
            connection.putheader(name, value)
        connection.endheaders(content)
        return connection

    def __call__(self, method, path, body=None, headers=None, *, host=None):
        with contextlib.closing(self.open(method, path, body, headers, host=host)) as connection:
            answer = connection.getresponse()
            return answer, answer.read()

    def json(self, method, path, body=None, status=200):
        answer, content = self(method, path, body)
        assert answer.status == status, content
        return json.loads(content)

    def events(self, body):
        """Ask for a picture and return the events until it is over."""
        answer, content = self("POST", "/api/pictures", body)
        assert answer.status == 200, content
        return list(read_events(content.decode()))


def read_events(text):
    for part in text.split("\n\n")[:-1]:
        kind, data = part.split("\n")
        yield kind.removeprefix("event: "), json.loads(data.removeprefix("data: "))
