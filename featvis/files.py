"""Files that appear whole or not at all. No torch in here."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO

from featvis.errors import OutputError


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
    return path


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
