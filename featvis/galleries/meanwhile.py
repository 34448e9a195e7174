"""The pages of a gallery while it is built: now and then, by a process of its own, so that no picture waits.

Pages of 10,000 pictures take minutes; hundreds of workers elsewhere would have nothing to do meanwhile.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from featvis.errors import FeatvisError
from featvis.files import clear_leftovers
from featvis.pages.folder import write_pages

EVERY = 300.0
"""Seconds between two writings of the pages, so that a long build can be looked at."""
REST = 30
"""How many times as long as they took it is waited with the next."""


class Pages:
    """Writes a folder's pages while pictures are added to it; leaving the context ends what is under way."""

    def __init__(self, folder: Path, prepare: Callable[[], object]) -> None:
        """``prepare`` is called before, for the manifest that they are made of."""
        self._folder, self._prepare = folder, prepare
        self._process: subprocess.Popen[bytes] | None = None
        self._began = self._ended = time.monotonic()
        self._pause = EVERY

    def now_and_then(self) -> None:
        """Begin to write them, if the last ones have been there for long enough."""
        now = time.monotonic()
        if self._process is not None:
            if self._process.poll() is None:
                return
            self._process.communicate()  # closes its stdin
            self._process, self._ended = None, now
            self._pause = max(EVERY, REST * (now - self._began))
        if now - self._ended <= self._pause or not sys.executable:
            return
        self._prepare()
        code = f"from featvis.galleries.meanwhile import run; run({os.fspath(self._folder.resolve())!r})"
        with contextlib.suppress(OSError):  # no memory for another process; the next time there may be some
            self._process = subprocess.Popen(
                [sys.executable, "-c", code],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            )
        self._began = self._ended = time.monotonic()

    def __enter__(self) -> Pages:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.kill()
        self._process.communicate()
        clear_leftovers(self._folder.rglob(".*.part"), "html|css|js|json|webp")


def run(folder: str) -> None:
    """Write pages with what time is left over, until stdin ends: with the build, whatever ended that."""
    threading.Thread(target=_end_with_the_build, daemon=True).start()
    if hasattr(os, "nice"):
        os.nice(10)
    with contextlib.suppress(FeatvisError):  # a build that goes on tells of it in the end
        write_pages(Path(folder))


def _end_with_the_build() -> None:
    sys.stdin.read()  # until the build has ended, whatever ended it
    os._exit(1)
