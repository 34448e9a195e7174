"""A folder elsewhere, by its address: ``s3://bucket/path``. Files are put there whole or not at all.

Whatever fsspec knows is an address; fsspec is imported only where one is given. No torch in here.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import re
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from featvis.errors import OutputError, unknown
from featvis.read import parse_json

LOCK = ".featvis-lock"
BEAT = 30.0
"""Seconds between two signs of life of who writes there."""
STALE = 180.0
"""Seconds without one after which another may write."""
_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://.+", re.DOTALL)
_BEGIN = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_PUT_WHOLE = {"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "oci", "oss", "r2", "tos", "obs"}
"""Where an object appears at once; elsewhere a file is written beside its place, and moved."""
_SUCH_AS = "give a folder, or an address such as s3://BUCKET/PATH"
_PACKAGES = {"smbclient": "smbprotocol", "pyarrow.fs": "pyarrow", "requests": "requests"}


def is_address(value: object) -> bool:
    """Whether this is a folder's or file's address, and no path here.

    >>> [is_address(text) for text in ("s3://bucket/path", "gallery/small", "C://gallery", "https://a.b/c")]
    [True, False, False, False]
    """
    match = _ADDRESS.fullmatch(value) if isinstance(value, str) else None
    return match is not None and match[1].lower() not in ("http", "https")  # which cannot be listed


def check_folder_of(value: object) -> None:
    """Refuse what looks like an address but names no folder: as a path it would be one named ``http:``.

    Raises:
        OutputError: it is an address of the web, or has nothing behind its ``://``.
    """
    if isinstance(value, str) and _BEGIN.match(value) and not is_address(value):
        raise OutputError(f"nothing can be written to {value}; {_SUCH_AS}")


def without_password(address: str) -> str:
    """Return an address as it may be shown.

    >>> without_password("sftp://me:secret@host/path/")
    'sftp://me@host/path'
    """
    return re.sub(r"(://[^/@:]*):[^/@]*@", r"\1@", address).rstrip("/")


@dataclass(frozen=True)
class Seen:
    """What a listing tells of a file."""

    size: int
    mark: str
    """Another one whenever the file is another."""
    when: float | None
    """When it was written, in seconds since 1970."""


class Elsewhere:
    """The files below an address."""

    def __init__(self, address: str) -> None:
        """Find what reads and writes there; nothing is asked of it yet.

        Raises:
            OutputError: nothing that is installed does.
        """
        self.told = without_password(address)
        """The address as it may be shown."""
        scheme = address.partition("://")[0].lower()
        try:
            from fsspec.core import url_to_fs
            from fsspec.registry import available_protocols
        except ImportError:
            raise OutputError(f"{self.told} needs fsspec: pip install 'featvis[remote]'") from None
        if scheme not in available_protocols():
            raise OutputError(unknown("kind of address", f"{scheme}://", _endings(available_protocols())))
        try:
            self._files, root = url_to_fs(address)
        except ImportError as error:
            missing = getattr(error.__cause__, "name", None) or error.name
            if not missing:
                raise OutputError(f"{self.told}: {_reason(error)}") from None
            package = _PACKAGES.get(missing, missing.partition(".")[0])
            raise OutputError(f"{self.told} needs {package}: pip install {package}") from None
        except (TypeError, AttributeError) as error:  # what stands for its address is not all that it needs
            raise OutputError(f"{self.told}: {_lacks(scheme, error)}") from None
        except Exception as error:  # of whatever package reads such addresses
            reason = _lacks(scheme, error) if "target_protocol" in str(error) else _reason(error)
            raise OutputError(f"{self.told}: {reason}") from None
        self._root = str(root).rstrip("/")
        self._whole = scheme in _PUT_WHOLE

    def list(self) -> dict[str, Seen]:
        """Return the files there by their names below the address, none if nothing is there."""
        with self._telling("read"):
            self._files.invalidate_cache()
            try:
                found = self._files.find(self._root, detail=True)
            except FileNotFoundError:
                return {}
        files = {
            str(place)[len(self._root) :].lstrip("/"): _seen(info)
            for place, info in found.items()
            if info.get("type") == "file" and str(place).startswith(self._root)
        }
        return {name: seen for name, seen in files.items() if _is_below(name)}

    def read(self, name: str) -> bytes:
        """Return what a file holds."""
        with self._telling("read", name):
            content: bytes = self._files.cat_file(self._at(name))
        return content

    def put(self, name: str, content: bytes) -> Seen:
        """Write a file, over one of this name."""
        place = self._at(name)
        with self._telling("write", name):
            if self._whole:
                self._files.pipe_file(place, content)
            else:
                parent, _, own = place.rpartition("/")
                beside = f"{parent}/.{own}.{secrets.token_hex(4)}.part"
                self._files.makedirs(parent, exist_ok=True)
                try:
                    self._files.pipe_file(beside, content)
                    self._move(beside, place)
                except BaseException:
                    with contextlib.suppress(Exception):
                        self._files.rm_file(beside)
                    raise
            return _seen(self._files.info(place))

    def _move(self, beside: str, place: str) -> None:
        try:
            self._files.mv(beside, place)
        except FileExistsError:  # some servers move over nothing
            self._files.rm_file(place)
            self._files.mv(beside, place)

    def create(self, name: str, content: bytes) -> bool:
        """Write a file if there is none of this name; return whether it was."""
        place = self._at(name)
        with self._telling("write", name):
            if not self._whole:
                self._files.makedirs(place.rpartition("/")[0], exist_ok=True)
            try:
                self._files.pipe_file(place, content, mode="create")
            except Exception:
                self._files.invalidate_cache()
                if not self._files.exists(place):
                    raise
                return False
            self._files.invalidate_cache()
            return bool(self._files.cat_file(place) == content)  # not all that take this word heed it

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        with self._telling("remove", name), contextlib.suppress(FileNotFoundError):
            self._files.rm_file(self._at(name))

    def tidy(self) -> None:
        """Remove the folder itself where it is an empty one."""
        if not self._whole:
            with contextlib.suppress(Exception):
                self._files.rmdir(self._root)

    def _at(self, name: str) -> str:
        return f"{self._root}/{name}"

    @contextlib.contextmanager
    def _telling(self, what: str, name: str = "") -> Iterator[None]:
        try:
            yield
        except Exception as error:  # each package has errors of its own
            place = f"{self.told}/{name}".rstrip("/")
            raise OutputError(f"cannot {what} {place}: {_reason(error)}") from None


class Claim:
    """Holds a folder elsewhere for one writer, by a file there that says who it is, again and again."""

    def __init__(self, place: Elsewhere) -> None:
        """Take the folder.

        Raises:
            OutputError: another holds it, or it cannot be written.
        """
        self._place, self._own = place, secrets.token_hex(8)
        self._beaten = time.monotonic()
        for _ in range(3):
            if place.create(LOCK, self._content()):
                return
            if self._is_free(other := self._read()):
                place.remove(LOCK)
                continue
            who = f"process {other.get('process')} on {str(other.get('host')).partition(' ')[0]}"
            raise OutputError(
                f"another command ({who}) is writing to {place.told}; wait until it has ended, or end it; if "
                f"it was killed, the folder is free {STALE / 60:.0f} minutes later"
            )
        raise OutputError(f"others are beginning to write to {place.told}; try again")

    def _content(self) -> bytes:
        told = {"process": os.getpid(), "host": this_host(), "at": time.time(), "own": self._own}
        return json.dumps(told).encode()

    def _read(self) -> dict[str, Any]:
        try:
            return _table(self._place.read(LOCK))
        except OutputError:
            return {}

    def _is_free(self, other: dict[str, Any]) -> bool:
        at, process = other.get("at"), other.get("process")
        if not isinstance(at, int | float) or not isinstance(process, int):
            return True  # let go of just now, or no lock of ours
        return time.time() - at > STALE or (other.get("host") == this_host() and not _is_alive(process))

    def beat(self) -> None:
        """Say now and then that the writer is at work.

        Raises:
            OutputError: the folder is another's now.
        """
        if time.monotonic() - self._beaten < BEAT:
            return
        try:
            content = self._place.read(LOCK)
            if _table(content).get("own") == self._own:
                self._place.put(LOCK, self._content())
                self._beaten = time.monotonic()
                return
        except OutputError:  # the network may be back in a while
            if time.monotonic() - self._beaten > STALE / 2:
                raise
            return
        raise OutputError(f"another command writes to {self._place.told} now; nothing more is sent there")

    def release(self) -> None:
        """Let go of the folder."""
        if self._read().get("own") == self._own:
            self._place.remove(LOCK)


def _table(content: bytes) -> dict[str, Any]:
    try:
        told = parse_json(content)
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}


def this_host() -> str:
    """Return what machine this is, and which of its containers: their processes are counted apart."""
    try:
        return f"{platform.node()} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return platform.node()


def _is_alive(process: int) -> bool:
    if os.name == "nt":  # there os.kill ends a process
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True


def _is_below(name: str) -> bool:
    """Whether a name leads to a place below the folder, here too."""
    return bool(name) and "\\" not in name and not {"", ".", ".."} & {*name.split("/")}


def _seen(info: dict[str, Any]) -> Seen:
    size = int(info.get("size") or 0)
    tag = next((info[name] for name in ("ETag", "etag", "md5Hash", "content_md5") if info.get(name)), None)
    times = (info.get(name) for name in ("mtime", "LastModified", "last_modified", "updated", "created"))
    when = next((when for when in map(_seconds, times) if when is not None), None)
    return Seen(size, f"{size} {when if tag is None else str(tag).strip(chr(34))}", when)


def _seconds(value: object) -> float | None:
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            return None
    if isinstance(value, datetime):
        return value.timestamp()
    return float(value) if isinstance(value, int | float) else None


def _lacks(scheme: str, error: Exception) -> str:
    """Return why a kind of address leads nowhere by itself, from what its package says to programmers."""
    names = re.findall(r"'(\w+)'", str(error)) if "__init__() missing" in str(error) else []
    if not names:
        return f"{scheme}:// is no kind of place by itself; {_SUCH_AS}"
    return f"{scheme}:// needs {' and '.join(names)}, which this address does not tell; {_SUCH_AS}"


def _reason(error: BaseException) -> str:
    """Return what an error of somebody else's says, in one line."""
    if isinstance(error, NotImplementedError) and not str(error):
        return "nothing that is installed can do that there"
    if isinstance(error, OSError) and error.strerror:
        return str(error.strerror)
    text = " ".join(str(error).split())
    return text[:300] if text else type(error).__name__


def _endings(schemes: Any) -> list[str]:
    return [f"{scheme}://" for scheme in schemes]


def schemes() -> set[str]:
    """Return the beginnings of addresses that may be read or written: of what is installed, or could be."""
    try:
        from fsspec.registry import available_protocols
    except ImportError:
        return {*_PUT_WHOLE, "file", "ftp", "memory", "sftp", "smb"}
    return {*available_protocols()}


def path_not_address(path: Path) -> OutputError:
    """Return the error for an address that was made a path."""
    scheme, _, rest = path.as_posix().partition(":/")
    return OutputError(
        f"{scheme}:// was made a Path, which drops a slash; give it as text: '{scheme}://{rest}'"
    )
