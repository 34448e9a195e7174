"""Files that appear whole or not at all. No torch in here."""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import IO

from featvis.errors import OutputError

watchers: list[Callable[[Path], None]] = []
"""Called with each file that appeared: what keeps a folder elsewhere like one here."""


def to_bytes(text: str) -> bytes:
    r"""Return a text in UTF-8; what of a file's name is none stands as JSON and Python write it.

    >>> to_bytes("é \udce9")
    b'\xc3\xa9 \\udce9'
    """
    return text.encode("utf-8", "backslashreplace")


def write_whole(path: Path, content: bytes | Callable[[IO[bytes]], None], *, sync: bool = True) -> Path:
    """Write a file so that it appears whole or not at all.

    Args:
        path: where to; folders on the way are made.
        content: its bytes, or what writes them to a stream.
        sync: whether to wait until it is on the disk; what can be made again in a moment need not.

    Raises:
        OutputError: the place cannot be written.
    """
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and not path.is_file():
            raise OutputError(f"cannot write {path}: it is there and no regular file")
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
        temporary = Path(name)
        with os.fdopen(handle, "wb") as stream:
            stream.write(content) if isinstance(content, bytes) else content(stream)
            stream.flush()
            if sync:
                os.fsync(stream.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from None
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
    for watcher in watchers:
        watcher(path)
    return path


def write_apart(files: Mapping[Path, bytes], told: str = "") -> list[Path]:
    """Write files that belong together, none of them over anything else; return where they are.

    What holds these very bytes already is left alone. Where a file of one of the names holds something
    else, all of them get names that end with ``told`` and a digest of what they hold.

    Args:
        files: their contents.
        told: what tells them from others, in a file's name.

    Raises:
        OutputError: a place cannot be written.

    >>> with tempfile.TemporaryDirectory() as folder:
    ...     place = Path(folder) / "weights.png"
    ...     names = [write_apart({place: content}, "conv")[0].name for content in (b"one", b"two", b"one")]
    >>> names
    ['weights.png', 'weights-conv-3fc4ccfe.png', 'weights.png']
    """
    if any(path.exists() and not _holds(path, content) for path, content in files.items()):
        digest = hashlib.sha256(b"\0".join(files.values())).hexdigest()[:8]
        ending = f"-{told}-{digest}" if told else f"-{digest}"
        files = {
            path.with_name(f"{path.stem}{ending}{path.suffix}"): content for path, content in files.items()
        }
    return [path if _holds(path, content) else write_whole(path, content) for path, content in files.items()]


def _holds(path: Path, content: bytes) -> bool:
    try:
        return path.is_file() and path.stat().st_size == len(content) and path.read_bytes() == content
    except OSError:
        return False


def write_anew(path: Path, content: bytes) -> Path:
    """Write a file whose name somebody chose, if none is there that holds something else.

    Raises:
        OutputError: one is there, or the place cannot be written.

    >>> with tempfile.TemporaryDirectory() as folder:
    ...     place = write_anew(Path(folder) / "mine.png", b"one")
    ...     write_anew(place, b"one") == place
    True
    """
    if path.is_file() and not _holds(path, content):
        raise OutputError(f"{path} is there and holds something else; choose another --out, or remove it")
    return path if _holds(path, content) else write_whole(path, content)


def check_inside(path: Path, folder: Path) -> None:
    """Raise OutputError if a link leads the folder of ``path`` out of ``folder``; anybody may have made it.

    >>> check_inside(Path("out/layer/0001.png"), Path("out"))
    """
    try:
        inside = path.parent.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError):  # links in a circle
        inside = False
    if not inside:
        raise OutputError(f"{path.parent} leads out of {folder}; nothing is written there")


def clear_leftovers(paths: Iterable[Path], endings: str) -> None:
    """Remove what a killed :func:`write_whole` left half-written.

    Args:
        paths: those that may be; others among them stay.
        endings: of the whole files' names, with ``|`` between them.
    """
    ours = re.compile(rf"\..+\.({endings})\.\w+\.part")
    for path in [path for path in paths if ours.fullmatch(path.name) and path.is_file()]:
        path.unlink(missing_ok=True)
