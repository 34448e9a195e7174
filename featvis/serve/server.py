"""The server: one process, one port of 127.0.0.1, ended by Ctrl-C with nothing left behind."""

from __future__ import annotations

import socket
from collections.abc import Callable
from types import FrameType

import uvicorn

from featvis.errors import OutputError
from featvis.serve.explorer import Explorer
from featvis.serve.site import make_site

HOST = "127.0.0.1"


class Server(uvicorn.Server):
    """A server that has its jobs end first, so that pages that watch them do not hold it up."""

    def __init__(self, config: uvicorn.Config, explorer: Explorer) -> None:
        super().__init__(config)
        self._explorer = explorer

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Take a signal."""
        self._explorer.queue.stop()
        super().handle_exit(sig, frame)


def make_server(explorer: Explorer, port: int = 0) -> tuple[Server, socket.socket, str]:
    """Return a server, the socket that it is to listen on, and the address to open, with its token.

    Args:
        explorer: what is explored.
        port: 0 takes any that is free.

    Raises:
        OutputError: the port is taken, or may not be used.
    """
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((HOST, port))
    except (OSError, OverflowError) as error:
        listening.close()
        reason = getattr(error, "strerror", None) or str(error)
        raise OutputError(
            f"cannot listen on port {port} ({reason}); port=0 takes any",
            typed=f"cannot listen on port {port} ({reason}); --port 0 takes any",
        ) from None
    used = int(listening.getsockname()[1])
    config = uvicorn.Config(
        make_site(explorer, used),
        log_config=None,
        access_log=False,
        lifespan="off",
        ws="none",
        server_header=False,
        timeout_graceful_shutdown=1,
    )
    return Server(config, explorer), listening, f"http://{HOST}:{used}/?token={explorer.token}"


def serve(explorer: Explorer, port: int, say: Callable[[str], None]) -> None:
    """Serve until Ctrl-C.

    Args:
        explorer: what is explored; it is closed at the end.
        port: 0 takes any that is free.
        say: called with the address, once it can be opened.

    Raises:
        OutputError: the port is taken, or may not be used.
    """
    try:
        server, listening, address = make_server(explorer, port)
        with listening:
            listening.listen(64)
            say(address)
            explorer.warm()
            server.run(sockets=[listening])
    except KeyboardInterrupt:  # uvicorn raises it once it has ended
        pass
    finally:
        explorer.close()
