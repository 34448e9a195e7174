"""A process that runs commands of featvis and watches what they do: code, files, sockets, memory, time.

It reads requests from standard input, a line of JSON each, and answers on standard output in the same way.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path

MEMORY = 2 << 30
"""Bytes that a command may take at its peak, torch and the network included."""
SECONDS = 30
"""Of processor time, so that a busy machine changes no count."""
WAITING = 120
"""Seconds by the clock: a command that only waits, for a pipe, has no processor time."""
ADDRESS_SPACE = 24 << 30
"""Beyond it an allocation fails, so that a runaway command cannot stop the machine; it counts as over MEMORY."""
CANARY = "CANARY_5b1e"
"""Stands in all code that hostile files carry."""

_RUNS_OTHERS = (
    "os.system",
    "os.exec",
    "os.fork",
    "os.posix_spawn",
    "os.spawn",
    "pty.spawn",
    "subprocess.Popen",
)
_REACHES_OUT = ("socket.", "urllib.Request", "http.client.", "ftplib.", "smtplib.")
_CHANGES = (
    *("os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.truncate", "os.chmod"),
    *("shutil.rmtree", "shutil.move", "shutil.copyfile", "os.chown", "os.utime"),
)


class TooLong(BaseException):
    """A command took more than its time."""


class Watch:
    """What an audit hook has seen since :meth:`begin`."""

    def __init__(self) -> None:
        self.inputs = self.out = ""
        self.places: tuple[str, ...] = ()
        self._own = tempfile.gettempdir() + "/"  # asked for here: it opens files, which the hook would see
        self.seen: list[str] = []
        self.on = False
        self.denies = "HOSTILE_DENIED" in os.environ
        """Whether nothing may reach for the network, not even in vain."""

    def begin(self, inputs: str, out: str, typed: list[str]) -> None:
        self.inputs, self.out, self.seen = inputs, out, []
        self.places = tuple(after for word, after in itertools.pairwise(typed) if word in ("--out", "--zip"))
        self.on = True

    def hook(self, event: str, arguments: tuple) -> None:
        if not self.on:
            return
        try:
            said = self.judge(event, arguments)
        except Exception as error:  # the watch must not miss anything because it fails
            said = f"{event}: the watch failed: {error!r}"
        if said:
            self.seen.append(said)
        if self.denies and event.startswith(_REACHES_OUT):
            raise PermissionError(f"{event} is denied")

    def judge(self, event: str, arguments: tuple) -> str | None:
        if event.startswith(_RUNS_OTHERS) or event.startswith(_REACHES_OUT):
            return f"{event} {arguments!r}"[:200]
        if event == "exec":
            code = arguments[0]
            where = getattr(code, "co_filename", "")
            ours = self.inputs and where.startswith(self.inputs)
            if ours or CANARY in repr(getattr(code, "co_consts", "")):
                return f"exec {where}"
        if event == "compile" and CANARY in repr(arguments[0]):
            return f"compile {arguments[1]!r}"
        if event == "import" and CANARY in str(arguments[0]):
            return f"import {arguments[0]}"
        if event == "pickle.find_class":
            return f"unpickled {arguments[0]}.{arguments[1]}"
        if event == "ctypes.dlopen" and self.inputs and str(arguments[0]).startswith(self.inputs):
            return f"loaded {arguments[0]}"
        if event == "open":
            path, mode, flags = arguments
            writes = any(letter in (mode or "") for letter in "wax+") or (
                isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
            )
            itself = isinstance(flags, int) and bool(flags & os.O_NOFOLLOW)
            if writes and not self.allowed(path, itself=itself):
                return f"open for writing {path!r}"
        if event in _CHANGES and not self.allowed(arguments[0], itself=True):
            return f"{event} {arguments[0]!r}"
        return None

    def allowed(self, path: object, *, itself: bool = False) -> bool:
        """Whether a path may be written, or ``itself``, be it a link, be changed."""
        if isinstance(path, int):  # a file that is open already
            return True
        text = os.path.abspath(os.fsdecode(path))
        where, name = os.path.split(text)
        text = os.path.join(os.path.realpath(where), name) if itself else os.path.realpath(text)
        return text.startswith((self.out, "/dev/null", self._own, *self.places)) or self.leads_to_one(text)

    def leads_to_one(self, text: str) -> bool:
        """Whether it is a folder on the way to a place that was typed."""
        return any(f"{place}/".startswith(f"{text}/") for place in self.places)


def serve() -> None:
    """Answer requests until standard input ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    watch = Watch()
    sys.addaudithook(watch.hook)
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    signal.signal(signal.SIGALRM, _too_long)
    signal.signal(signal.SIGPROF, _too_long)
    _warm_up()
    for line in sys.stdin:
        print(json.dumps(_answer(json.loads(line), watch)), file=answers, flush=True)


def _too_long(*_: object) -> None:
    signal.alarm(0)  # once is enough
    signal.setitimer(signal.ITIMER_PROF, 0)
    raise TooLong


def _warm_up() -> None:
    """Import everything, so that no import is taken for something that an input did."""
    from featvis.cli import main

    os.environ["THP_MEM_ALLOC_ENABLE"] = "0"
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        main(["layers", "--no-fields"])
        import torch

        import featvis

        torch.set_num_threads(1)
        for name in dir(featvis):
            getattr(featvis, name)
        # Captum's imports look for fonts with a program of their own, once.
        with contextlib.suppress(ImportError):
            import captum.attr  # noqa: F401
            import matplotlib.font_manager  # noqa: F401


def _answer(request: dict, watch: Watch) -> dict:
    shown, told = io.StringIO(), io.StringIO()
    limit = request.get("file_size")
    crash, code, where = "", None, ""
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    began = time.process_time()
    soft = resource.getrlimit(resource.RLIMIT_FSIZE)
    watch.begin(request["inputs"], request["out"], request["typed"])
    try:
        signal.alarm(WAITING)
        signal.setitimer(signal.ITIMER_PROF, request.get("seconds", SECONDS))
        if limit:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, soft[1]))
        with contextlib.redirect_stdout(shown), contextlib.redirect_stderr(told):
            code = _run(request["typed"])
    except TooLong:
        crash = "too long"
        where = traceback.format_exc(limit=-3)
    except BaseException:
        crash = traceback.format_exc(limit=-6)
    finally:
        signal.alarm(0)
        signal.setitimer(signal.ITIMER_PROF, 0)
        watch.on = False
        resource.setrlimit(resource.RLIMIT_FSIZE, soft)
    return {
        "code": code,
        "crash": crash,
        "out": shown.getvalue()[-2000:],
        "err": told.getvalue()[-4000:] + where,
        "did": watch.seen[:5],
        "seconds": round(time.process_time() - began, 2),
        "peak": _peak(),
    }


def _run(typed: list[str]) -> int:
    """Run a command, or for ``py:NAME`` the function of this name with the texts that follow."""
    from featvis.cli import main

    if not typed[0].startswith("py:"):
        return main(typed)
    import featvis
    from featvis.errors import FeatvisError

    try:
        getattr(featvis, typed[0][3:])(*typed[1:])
    except FeatvisError as error:
        print("featvis: " + " ".join(str(error).split()), file=sys.stderr)
        return 2
    return 0


def _peak() -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


_FRESH = 60
"""Commands of one process: what libraries keep of each would count as the next ones'."""


class Guarded:
    """Such a process, begun anew whenever it was lost."""

    def __init__(self, *, denied: bool = False) -> None:
        self._process: subprocess.Popen | None = None
        self._denied = denied
        self._count = 0
        self._own = tempfile.TemporaryDirectory(prefix="hostile-own-")
        """Where libraries put their temporary files and settings."""

    def run(self, typed: list[str], inputs: Path, out: Path, **more: int) -> dict:
        """Run a command; ``inputs`` are the folder of what it reads, ``out`` that of what it may write."""
        self._count += 1
        if self._count % _FRESH == 0:
            self._stop()
        request = {"typed": typed, "inputs": f"{inputs}/", "out": str(out), **more}
        process = self._begin()
        process.stdin.write(json.dumps(request) + "\n")
        process.stdin.flush()
        killer = _Killer(process, WAITING + 60)
        answer = process.stdout.readline()
        killer.cancel()
        if not answer:
            process.wait()
            self._process = None
            why = "too long" if killer.fired else f"the process ended with {process.returncode}"
            return {"code": None, "crash": why, "out": "", "err": "", "did": [], "seconds": 0, "peak": 0}
        return json.loads(answer)

    def end(self) -> None:
        self._stop()
        self._own.cleanup()

    def _stop(self) -> None:
        if self._process is not None:
            self._process.stdin.close()
            self._process.stdout.close()
            self._process.wait()
            self._process = None

    def _begin(self) -> subprocess.Popen:
        if self._process is None:
            about = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "PYTHONDONTWRITEBYTECODE": "1"}
            about |= {"TMPDIR": self._own.name, "MPLCONFIGDIR": self._own.name}
            about |= {"HOSTILE_DENIED": "1"} if self._denied else {}
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.hostile.guard"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env={**os.environ, **about},
                cwd=Path(__file__).resolve().parents[2],
            )
        return self._process


class _Killer:
    def __init__(self, process: subprocess.Popen, seconds: int) -> None:
        import threading

        self.fired = False
        self._process = process
        self._timer = threading.Timer(seconds, self._fire)
        self._timer.start()

    def _fire(self) -> None:
        self.fired = True
        self._process.kill()

    def cancel(self) -> None:
        self._timer.cancel()


if __name__ == "__main__":
    serve()
