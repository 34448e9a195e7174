"""A folder elsewhere as a folder here: what it holds is brought, what is written is sent.

All that reads and writes folders works in the one here, which is kept for the next time. No torch in here.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import inspect
import json
import os
import re
import shutil
import threading
import time
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO, ParamSpec, TypeVar

from filelock import FileLock, Timeout

from featvis import files
from featvis.errors import FeatvisError, OutputError
from featvis.read import parse_json, read_json
from featvis.results.elsewhere import (
    Claim,
    Elsewhere,
    Seen,
    check_folder_of,
    is_address,
    path_not_address,
    schemes,
)

P = ParamSpec("P")
R = TypeVar("R")

CACHE = "FEATVIS_CACHE"
"""The environment's name for where the folders here are."""
TICK = 0.5
"""Seconds between two looks at what is to be sent."""
SPARE = 20.0
"""How many times longer than its sending took a file is left alone before it is sent again."""
MANIFEST = "manifest.json"
PATIENCE = 1.0
"""Seconds that is waited for who only asks whether a folder is written to."""
AGAIN = (1.0, 5.0)
"""Seconds after which what could not be sent is sent again, before that is an error."""
SENDERS = 16
"""How many files are on their way at once."""
_KINDS = "png npy json jsonl toml html css js webp wav gif mp4 jpg jpeg safetensors zip md csv svg"
_FILES = re.compile(rf".+\.({_KINDS.replace(' ', '|')})|\.nojekyll", re.IGNORECASE)
_LATER = (".html", ".js", ".css"), (".json", ".jsonl", ".toml")
"""What is sent after what it tells of: pages after pictures, the manifest last."""


def folders_here() -> Path:
    """Return where the folders here are."""
    own = os.environ.get(CACHE)
    kept = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return (Path(own) if own else Path(kept) / "featvis").resolve() / "elsewhere"


@dataclass
class _Known:
    """A file as it was brought or sent last."""

    here: tuple[int, int]
    """Its size and when it was written here, in nanoseconds."""
    mark: str
    """What tells it from another one there."""


class Mirror:
    """A folder here that is kept like one elsewhere."""

    def __init__(self, address: str, *, writes: bool, only: Collection[str] = ()) -> None:
        """Find where the folder here is.

        Args:
            address: of the folder elsewhere.
            writes: whether it is written to: by one command at a time.
            only: names of files and, with a slash behind, of folders in it that are brought and sent; all
                if it is empty.
        """
        self.place = Elsewhere(address)
        self.writes, self._only = writes, tuple(only)
        digest = hashlib.sha256(self.place.told.encode()).hexdigest()[:20]
        self._own = folders_here() / digest
        self.folder = self._own / (re.sub(r"[^\w.+@,=-]+", "_", self.place.told.rpartition("/")[2]) or "root")
        """The folder here."""
        self.there: dict[str, Seen] = {}
        """What was elsewhere when it was looked at last."""
        self._known: dict[str, _Known] = {}
        self._log: IO[str] | None = None
        self._writing = FileLock(self._own / "writing.lock", mode=0o644)
        self._syncing = FileLock(self._own / "syncing.lock", mode=0o644)
        self._claim: Claim | None = None
        self._problem: OutputError | None = None
        self._turn = threading.Lock()
        self._waiting: dict[str, None] = {}
        self._not_before: dict[str, float] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._work, name="featvis-sender", daemon=True)

    def open(self) -> None:
        """Bring what is there and not here, and from now on send what is written.

        Raises:
            OutputError: there is no reading or writing, or another command writes there.
        """
        try:
            self._own.mkdir(parents=True, exist_ok=True)
            self._take()
        except BaseException as error:
            self._let_go()
            if isinstance(error, OSError):
                raise OutputError(f"cannot write {self._own}: {error.strerror or error}") from None
            raise
        if self.writes:
            self._thread.start()
        _open.append(self)

    def _take(self) -> None:
        if self.writes:
            try:
                self._writing.acquire(timeout=PATIENCE)
            except Timeout:
                raise OutputError(
                    f"another command on this machine is writing to {self.place.told}; wait until it has "
                    "ended, or end it"
                ) from None
            self._claim = Claim(self.place)
        with self._syncing:
            if not self.writes:
                try:
                    self._writing.acquire(timeout=0)
                except Timeout:  # what its writer has here is newer than what is there
                    self.there = self.place.list()
                    return
                self._writing.release()
            self._read_log()
            self._bring()

    def close(self, *, failed: bool) -> None:
        """Send the rest, and let go of both folders.

        Args:
            failed: whether the command did; an error is told then, and what is gone here stays there.

        Raises:
            OutputError: not all could be sent; the next command sends it.
        """
        _open.remove(self)
        self._ended.set()
        try:
            if self.writes:
                self._thread.join()
                try:
                    self._finish(failed=failed)
                except OutputError:
                    if not failed:
                        raise
        finally:
            self._let_go()

    def _let_go(self) -> None:
        claim, self._claim = self._claim, None
        try:
            if claim is not None:
                with contextlib.suppress(OutputError):
                    claim.release()
                    if not self._known:
                        self.place.tidy()
        finally:
            if self._log is not None:
                self._log.close()
                self._log = None
            self._writing.release()

    def _finish(self, *, failed: bool) -> None:
        if self._problem is not None:
            raise self._problem
        self._send(self._changed())
        if failed or not self.folder.is_dir():
            return
        gone = [name for name in self._known if self._is_ours(name) and not self._here(name)]
        for name in self._removed(gone):
            self.place.remove(name)
            self._forget(name)

    def _removed(self, gone: list[str]) -> list[str]:
        """Return what the command removed, of what is gone here; the rest somebody took out of the cache."""
        if MANIFEST in gone:  # no command removes it
            return []
        named: set[str] = set()
        with contextlib.suppress(OSError, ValueError, OutputError):
            told = read_json(self.folder / MANIFEST)
            entries = told.get("pictures", []) if isinstance(told, dict) else []
            named = {str(one.get("file")) for one in entries if isinstance(one, dict)}
        return [name for name in gone if name not in named]

    def note(self, path: Path) -> None:
        """Have a file sent that was written just now, if it lies in the folder here.

        Raises:
            OutputError: what was to be sent before could not be.
        """
        if not path.is_relative_to(self.folder):
            return
        if not self.writes:
            raise OutputError(f"{self.place.told} is only read by this command; {path} stays here")
        if self._problem is not None:
            raise self._problem
        with self._turn:
            self._waiting[path.relative_to(self.folder).as_posix()] = None

    def has(self, path: Path) -> bool:
        """Whether a file of the folder here is there elsewhere."""
        return path.is_relative_to(self.folder) and path.relative_to(self.folder).as_posix() in self.there

    def tell(self, text: str) -> str:
        """Return a text with the address instead of the folder here."""
        here = str(self.folder)
        if os.sep == "\\":  # as JSON writes it
            text = text.replace(here.replace("\\", "\\\\"), self.place.told)
        return text.replace(here, self.place.told)

    def _is_ours(self, name: str) -> bool:
        """Whether a file is brought and sent."""
        parts = name.split("/")
        hidden = any(part.startswith(".") for part in parts)
        if hidden and parts[0] != ".featvis" and parts != [".nojekyll"]:
            return False
        if not _FILES.fullmatch(parts[-1]):
            return False
        return not self._only or any(
            name == one or (one.endswith("/") and name.startswith(one)) for one in self._only
        )

    def _here(self, name: str) -> tuple[int, int] | None:
        try:
            told = (self.folder / name).stat()
        except OSError:
            return None
        return told.st_size, told.st_mtime_ns

    def _bring(self) -> None:
        """Let the folder here be what the one elsewhere is, but for what was not sent yet."""
        self.there = self.place.list()
        if MANIFEST not in self.there and MANIFEST in self._only:
            self._only = ()  # it is made anew from the pictures
        ours = {name: seen for name, seen in self.there.items() if self._is_ours(name)}
        wanted = []
        for name, seen in ours.items():
            known = self._known.get(name)
            if known is None or known.mark != seen.mark or self._here(name) is None:
                wanted.append((name, seen))
        shutil.rmtree(self._own / "incoming", ignore_errors=True)
        with ThreadPoolExecutor(SENDERS) as pool:
            list(pool.map(lambda one: self._fetch(*one), wanted))
        for name in [name for name in self._known if self._is_ours(name) and name not in ours]:
            if self._here(name) == self._known[name].here:
                (self.folder / name).unlink(missing_ok=True)
            self._forget(name)

    def _fetch(self, name: str, seen: Seen) -> None:
        content, path = self.place.read(name), self.folder / name
        part = self._own / "incoming" / hashlib.sha256(name.encode()).hexdigest()
        try:
            part.parent.mkdir(parents=True, exist_ok=True)
            path.parent.mkdir(parents=True, exist_ok=True)
            part.write_bytes(content)
            if seen.when is not None:  # small versions are made anew that are older than their pictures
                os.utime(part, (seen.when, seen.when))
            part.replace(path)
        except OSError as error:
            raise OutputError(f"cannot write {path}: {error.strerror or error}") from None
        here = self._here(name)
        if here is not None:
            self._remember(name, _Known(here, seen.mark))

    def _changed(self) -> list[str]:
        """Return the names of what is not elsewhere as it is here."""
        names = [
            path.relative_to(self.folder).as_posix() for path in self.folder.rglob("*") if path.is_file()
        ]
        return [
            name
            for name in sorted(names)
            if self._is_ours(name) and (name not in self._known or self._known[name].here != self._here(name))
        ]

    def _work(self) -> None:
        """Send what was noted while the command goes on."""
        while not self._ended.wait(TICK):
            try:
                if self._claim is not None:
                    self._claim.beat()
                now = time.monotonic()
                with self._turn:
                    names = [name for name in self._waiting if self._not_before.get(name, 0.0) <= now]
                    for name in names:
                        del self._waiting[name]
                self._send([name for name in names if self._is_ours(name)])
            except OutputError as error:
                self._problem = error
                return

    def _send(self, names: Collection[str]) -> None:
        """Send files, many at once, but what tells of others after them."""
        ranked: dict[int, list[str]] = {}
        for name in names:
            rank = next((place for place, ends in enumerate(_LATER, 1) if name.endswith(ends)), 0)
            ranked.setdefault(3 if name == MANIFEST else rank, []).append(name)
        with ThreadPoolExecutor(min(SENDERS, max(1, len(names)))) as pool:
            for rank in sorted(ranked):
                list(pool.map(self._put, ranked[rank]))

    def _put(self, name: str) -> None:
        if self._problem is not None:
            return
        began = time.monotonic()
        try:
            with (self.folder / name).open("rb") as stream:
                told = os.fstat(stream.fileno())
                content = stream.read()
        except OSError:  # removed meanwhile
            return
        for pause in (*AGAIN, None):
            try:
                seen = self.place.put(name, content)
                break
            except OutputError as error:
                if pause is None or self._problem is not None:
                    self._problem = error
                    raise
                time.sleep(pause)
        self._remember(name, _Known((told.st_size, told.st_mtime_ns), seen.mark))
        now = time.monotonic()
        self._not_before[name] = now + SPARE * (now - began)

    def _read_log(self) -> None:
        """Read what is known of files, line by line, and begin the list anew without what is outdated."""
        path = self._own / "known.jsonl"
        with contextlib.suppress(OSError):
            for line in path.read_text("utf-8").splitlines():
                with contextlib.suppress(ValueError, KeyError, TypeError):  # torn by a kill
                    told = parse_json(line)
                    if told["mark"] is None:
                        self._known.pop(told["name"], None)
                    else:
                        self._known[told["name"]] = _Known((told["size"], told["at"]), told["mark"])
        fresh = path.with_name("known.part")
        fresh.write_text("".join(map(_line, self._known, self._known.values())), "utf-8")
        fresh.replace(path)
        self._log = path.open("a", encoding="utf-8")

    def _remember(self, name: str, known: _Known) -> None:
        with self._turn:
            self._known[name] = known
            self._write(_line(name, known))

    def _forget(self, name: str) -> None:
        with self._turn:
            self._known.pop(name, None)
            self._write(json.dumps({"name": name, "mark": None}) + "\n")

    def _write(self, line: str) -> None:
        if self._log is not None:
            with contextlib.suppress(OSError):  # a full disk: more is sent again than must be
                self._log.write(line)
                self._log.flush()


def _line(name: str, known: _Known) -> str:
    size, at = known.here
    return json.dumps({"name": name, "size": size, "at": at, "mark": known.mark}) + "\n"


_open: list[Mirror] = []


def _note(path: Path) -> None:
    for mirror in _open:
        mirror.note(path)


files.watchers.append(_note)


def is_there(path: Path) -> bool:
    """Whether a file is there, here or in the folder elsewhere that its folder is kept like."""
    return path.is_file() or any(mirror.has(path) for mirror in _open)


def address_of(folder: Path) -> str | None:
    """Return the address of the folder that one here is kept like, if it is open."""
    return next((mirror.place.told for mirror in _open if folder.is_relative_to(mirror.folder)), None)


def with_addresses(text: str) -> str:
    """Return a text with addresses instead of the folders here that are open."""
    for mirror in _open:
        text = mirror.tell(text)
    return text


def told_of(folder: Path) -> str:
    """Return how a folder is named to people: by its address, if it has one."""
    return folder.as_posix() if address_of(folder) is None else with_addresses(str(folder))


@contextlib.contextmanager
def mirrored(address: str, *, writes: bool, only: Collection[str] = ()) -> Iterator[Path]:
    """Open what is at an address as a path here: a folder, or a file if its name ends like one.

    Args:
        address: of a folder or file.
        writes: whether it is written to.
        only: as for :class:`Mirror`.

    Raises:
        OutputError: it cannot be read or written, or not all could be sent.
    """
    parent, _, name = address.rstrip("/").rpartition("/")
    one = name if _FILES.fullmatch(name) and not parent.endswith(("/", ":")) else ""
    mirror = Mirror(parent if one else address, writes=writes, only=(one,) if one else only)
    mirror.open()
    failed = True
    try:
        yield mirror.folder / one
        failed = False
    except FeatvisError as error:
        error.args = tuple(mirror.tell(text) if isinstance(text, str) else text for text in error.args)
        error.typed = mirror.tell(error.typed)
        raise
    finally:
        mirror.close(failed=failed)


def takes_addresses(*names: str, writes: bool) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Let a function's arguments of these names be addresses; it gets paths here.

    Args:
        *names: of the arguments.
        writes: whether it writes there.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        signature = inspect.signature(function)

        @functools.wraps(function)
        def run(*args: P.args, **kwargs: P.kwargs) -> R:
            for name in names:
                if isinstance(kwargs.get(name), int | float):
                    raise OutputError(f"{name} is a folder or a file, a text or a Path, got {kwargs[name]!r}")
            if not any(map(_may_be_remote, (*args, *kwargs.values()))):
                return function(*args, **kwargs)
            bound = signature.bind(*args, **kwargs)
            with contextlib.ExitStack() as stack:
                for name in names:
                    value = bound.arguments.get(name)
                    if writes:
                        check_folder_of(value)
                    if isinstance(value, Path) and _was_remote(value):
                        raise path_not_address(value)
                    if isinstance(value, str) and is_address(value):
                        bound.arguments[name] = stack.enter_context(mirrored(value, writes=writes))
                return function(*bound.args, **bound.kwargs)

        return run

    return decorate


def _may_be_remote(value: object) -> bool:
    return "://" in value if isinstance(value, str) else isinstance(value, Path) and _was_remote(value)


def _was_remote(path: Path) -> bool:
    """Whether a path was made of an address. A folder here may be called ``run:``, and some are."""
    match = re.match(r"([A-Za-z][A-Za-z0-9+.-]+):[\\/]", str(path))
    return match is not None and match[1].lower() in schemes() and not path.exists()
