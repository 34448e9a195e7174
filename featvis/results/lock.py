"""One build at a time for each folder: a lock that dies with its process."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

from featvis.errors import OutputError
from featvis.results.store import check_writable, remove_empty

LOCK = ".featvis-lock"
_LEFTOVER = re.compile(r"^\..+\.(png|json|toml|html|css|js|webp)\.\w{8}\.part$")


@contextlib.contextmanager
def hold(folder: Path) -> Iterator[FolderLock]:
    """Make a folder, hold it for a build, and clear away what a killed one left half-written.

    Raises:
        OutputError: it cannot be made or written, or another command is writing to it.
    """
    made = [place for place in (folder, *folder.parents) if not place.exists()]
    check_writable(folder)
    try:
        with FolderLock(folder) as lock:
            clear_leftovers(folder)
            yield lock
    finally:
        remove_empty(made)  # a mistake found with the network leaves nothing behind


class FolderLock:
    """Holds a folder while a build or its pages are written to it; the process' end lets go of it.

    Raises:
        OutputError: another process holds it, or the folder cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._path = folder, folder / LOCK
        self._handle = -1

    def __enter__(self) -> FolderLock:
        while self._handle < 0:
            try:
                handle = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
            except OSError as error:
                raise OutputError(f"cannot write to {self._folder}: {error.strerror or error}") from None
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                holder = os.pread(handle, 20, 0).decode("ascii", "replace").strip() or "unknown"
                os.close(handle)
                raise OutputError(
                    f"another command (process {holder}) is writing to {self._folder}; "
                    "wait until it has ended, or end it"
                ) from None
            self._handle = handle
            if not self._is_there():  # it was let go of, and removed, in between
                os.close(handle)
                self._handle = -1
        try:
            os.ftruncate(self._handle, 0)
            os.pwrite(self._handle, f"{os.getpid()}\n".encode(), 0)
        except OSError:  # a full disk: the lock holds, only its owner's number is not told
            pass
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._is_there():
            with contextlib.suppress(OSError):
                self._path.unlink()
        os.close(self._handle)
        self._handle = -1

    def check(self) -> None:
        """Raise an OutputError if the folder is no longer the one that was locked."""
        if not self._is_there():
            raise OutputError(f"{self._folder} was moved or deleted while it was written to; nothing more is")

    def _is_there(self) -> bool:
        try:
            there, held = os.stat(self._path), os.fstat(self._handle)
        except OSError:
            return False
        return (there.st_dev, there.st_ino) == (held.st_dev, held.st_ino)


def clear_leftovers(folder: Path) -> list[Path]:
    """Remove the half-written files that a killed process left; return what was removed."""
    found = [path for path in folder.rglob(".*.part") if _LEFTOVER.match(path.name) and path.is_file()]
    for path in found:
        path.unlink(missing_ok=True)
    return found
