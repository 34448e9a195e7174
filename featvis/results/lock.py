"""Who may write to a folder: one build alone, or several whose pictures are disjoint.

On a file system that several machines share, its locks must reach all of them: they do on NFS 4, on NFS 3
with its lock service, on Lustre mounted with ``flock``. Where they do not (NFS mounted with ``nolock`` or
``local_lock=flock``), only writers on one machine see each other.
"""

from __future__ import annotations

import contextlib
import os
import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from featvis.errors import OutputError
from featvis.files import clear_leftovers
from featvis.results.mirror import address_of
from featvis.results.store import check_writable, remove_empty

LOCK = ".featvis-lock"
PRIVATE = ".featvis"
"""The folder in it of what several writers keep for themselves."""
DRIVER = "driver"
"""The part that nobody renders: of who submits jobs that do, and waits for them."""
_PATIENCE = 0.1
"""Seconds: a command that is just ending removes its lock file, and the lock is tried once more."""
WAIT = 600.0
"""Seconds that is waited for who holds a folder for a moment only: a shard that begins, a merge."""
NAMELESS = 10.0
"""Seconds that is waited for who holds a folder and has not said yet who it is."""
_PASSING = "for a moment"


@contextlib.contextmanager
def hold(folder: Path) -> Iterator[FolderLock]:
    """Make a folder, hold it for a build, and clear away what a killed one left half-written."""
    made = [place for place in (folder, *folder.parents) if not place.exists()]
    check_writable(folder)
    try:
        with FolderLock(folder) as lock:
            clear_unfinished(folder)
            yield lock
    finally:
        remove_empty(made)  # a mistake found with the network leaves nothing behind


def clear_unfinished(folder: Path) -> None:
    """Clear away what killed writers left half-written; only while the folder is held and nobody writes."""
    clear_leftovers(folder.rglob(".*.part"), "png|npy|json|toml|html|css|js|webp")


@contextlib.contextmanager
def hold_beside(
    folder: Path, name: str, excludes: Callable[[str], bool], *, patience: float = 1.0
) -> Iterator[FolderLock]:
    """Make a folder and hold a part of it, beside others that hold other parts.

    Args:
        folder: the pictures'.
        name: of the part.
        excludes: whether another part, by its name, may not be held at the same time.
        patience: seconds to wait until the part is free, where a process that was killed may still hold it.

    Raises:
        OutputError: a build holds the whole folder, or somebody an excluded part; or it lies elsewhere.
    """
    if (address := address_of(folder)) is not None:
        problem = f"{address} takes one writer at a time; several need a folder that they share"
        raise OutputError(
            f"{problem}: build and merge one, then copy it",
            typed=f"{problem}: build and merge one, then `featvis gallery export FOLDER --out {address}`",
        )
    made = [place for place in (folder, *folder.parents) if not place.exists()]
    check_writable(folder)
    member = Member(folder, name)
    until = time.monotonic() + patience
    try:
        while True:
            with FolderLock(folder, beside=True):
                others = [one for one in members(folder) if one.name == name or excludes(one.name)]
                held = [one for one in others if one.is_held()]
                if not held:
                    lock = FolderLock(folder, member.path).__enter__()
                    break
            if time.monotonic() > until:
                raise OutputError(
                    f"{held[0].told()} is writing to {folder}; wait until it has ended, or end it"
                )
            time.sleep(min(1.0, patience / 5))
        with contextlib.ExitStack() as stack:
            stack.push(lock)
            yield lock
    finally:
        with contextlib.suppress(OSError):
            (folder / PRIVATE).rmdir()
        remove_empty(made)


@dataclass(frozen=True)
class Member:
    """One of several writers of a folder."""

    folder: Path
    name: str
    """Of the part that it holds."""

    @property
    def path(self) -> Path:
        """Its lock."""
        return self.folder / PRIVATE / f"{self.name}.lock"

    def is_held(self) -> bool:
        """Whether it is at work."""
        if not self.path.exists():
            return False
        probe = FileLock(self.path, timeout=0, mode=0o644)
        try:
            probe.acquire()
        except Timeout:
            return True
        except OSError:  # not ours to open
            return False
        probe.release()
        return False

    def told(self) -> str:
        """Say who it is."""
        name = "who waits for its jobs" if self.name == DRIVER else self.name.replace("-", " ")
        return f"{name} ({_holder(self.path)})"


def members(folder: Path) -> list[Member]:
    """Return the writers that a folder's locks tell of, at work or killed."""
    return [Member(folder, path.stem) for path in sorted((folder / PRIVATE).glob("*.lock"))]


class FolderLock:
    """Holds a folder while a build or its pages are written to it; the process' end lets go of it."""

    def __init__(self, folder: Path, path: Path | None = None, *, beside: bool = False) -> None:
        """Hold ``folder``, or a part of it by ``path``, or for a moment ``beside`` those that hold parts."""
        self._folder, self._path, self._beside = folder, path or folder / LOCK, beside
        self._alone = path is None and not beside
        self._lock = FileLock(self._path, timeout=_PATIENCE, poll_interval=_PATIENCE / 10, mode=0o644)
        self._held: os.stat_result | None = None

    def __enter__(self) -> FolderLock:
        try:
            try:
                self._acquire()
            except FileNotFoundError:  # of a part, where no other is held
                self._path.parent.mkdir(exist_ok=True)
                self._acquire()
            self._held = self._path.stat()
        except OSError as error:
            raise OutputError(f"cannot write to {self._folder}: {error.strerror or error}") from None
        with contextlib.suppress(OSError):  # a full disk: the lock holds, only its owner is not named
            passing = f" {_PASSING}" if self._beside else ""
            self._path.write_text(f"{os.getpid()} on {platform.node()}{passing}\n", "utf-8")
        other = next((one for one in members(self._folder) if one.is_held()), None) if self._alone else None
        if other is not None:
            self.__exit__()
            raise OutputError(f"{other.told()} is writing to {self._folder}; wait until all have ended")
        return self

    def _acquire(self) -> None:
        began = time.monotonic()
        while True:
            try:
                self._lock.acquire()
                return
            except Timeout:
                told = _read(self._path)
                if time.monotonic() - began < (WAIT if told.endswith(_PASSING) else 0 if told else NAMELESS):
                    continue
                other = f"another command ({_holder(self._path)}) is writing to {self._folder}"
                raise OutputError(f"{other}; wait until it has ended, or end it") from None

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


def _read(path: Path) -> str:
    with contextlib.suppress(OSError, UnicodeDecodeError):
        return path.read_text("utf-8").strip()
    return ""


def _holder(path: Path) -> str:
    """Return which process holds a lock, and where if that is not here."""
    number, _, host = _read(path).removesuffix(_PASSING).strip().partition(" on ")
    here = host in ("", platform.node())
    return f"process {number or 'unknown'}" + ("" if here else f" on {host}")
