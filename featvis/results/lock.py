"""One build at a time for each folder: a lock that dies with its process."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from featvis.errors import OutputError
from featvis.files import clear_leftovers
from featvis.results.store import check_writable, remove_empty

LOCK = ".featvis-lock"
_PATIENCE = 0.1
"""Seconds: a command that is just ending removes its lock file, and the lock is tried once more."""


@contextlib.contextmanager
def hold(folder: Path) -> Iterator[FolderLock]:
    """Make a folder, hold it for a build, and clear away what a killed one left half-written."""
    made = [place for place in (folder, *folder.parents) if not place.exists()]
    check_writable(folder)
    try:
        with FolderLock(folder) as lock:
            clear_leftovers(folder.rglob(".*.part"), "png|npy|json|toml|html|css|js|webp")
            yield lock
    finally:
        remove_empty(made)  # a mistake found with the network leaves nothing behind


class FolderLock:
    """Holds a folder while a build or its pages are written to it; the process' end lets go of it."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._path = folder, folder / LOCK
        self._lock = FileLock(self._path, timeout=_PATIENCE, poll_interval=_PATIENCE / 10, mode=0o644)
        self._held: os.stat_result | None = None

    def __enter__(self) -> FolderLock:
        try:
            self._lock.acquire()
            self._held = self._path.stat()
        except Timeout:
            other = f"another command (process {self._holder()}) is writing to {self._folder}"
            raise OutputError(f"{other}; wait until it has ended, or end it") from None
        except OSError as error:
            raise OutputError(f"cannot write to {self._folder}: {error.strerror or error}") from None
        with contextlib.suppress(OSError):  # a full disk: the lock holds, only its owner is not named
            self._path.write_text(f"{os.getpid()}\n", "ascii")
        return self

    def __exit__(self, *_: object) -> None:
        if self._is_there():  # removed while it is held, so that nobody else's is
            with contextlib.suppress(OSError):
                self._path.unlink()
        self._lock.release()

    def check(self) -> None:
        """Raise an OutputError if the folder is no longer the one that was locked."""
        if not self._is_there():
            raise OutputError(f"{self._folder} was moved or deleted while it was written to; nothing more is")

    def _is_there(self) -> bool:
        try:
            return self._held is not None and os.path.samestat(self._path.stat(), self._held)
        except OSError:
            return False

    def _holder(self) -> str:
        with contextlib.suppress(OSError, UnicodeDecodeError):
            return self._path.read_text("ascii").strip() or "unknown"
        return "unknown"
