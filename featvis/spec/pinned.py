"""Files that a recipe names, tied to what they hold, and what they hold where a process has no such file."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from featvis.errors import BoundsError, OutputError, RecipeError
from featvis.read import check_file, expand, reason_of

PIN = "#sha256:"
"""Between a file's path and the digest of its content."""
STATISTICS_BYTES = 512 << 20
"""The largest file of statistics: magnitudes of 8,192 x 8,192 pixels take 400 MB."""
_FOLDER: ContextVar[Path | None] = ContextVar("_FOLDER", default=None)
_CONTENTS: dict[str, bytes] = {}
"""What files hold that another process read for this one, by ``PATH#sha256:DIGEST``."""


@contextmanager
def files_inside(folder: Path) -> Iterator[None]:
    """Within it a recipe that names a file outside the folder is refused: it was read, not typed."""
    before = _FOLDER.set(folder)
    try:
        yield
    finally:
        _FOLDER.reset(before)


def pin(value: str, made: str = "fv.image_statistics(folder, out=...)") -> str:
    """Tie a file's path to what the file holds, so that another content makes another recipe."""
    if value in _CONTENTS:
        return value
    path, _, pinned = value.partition(PIN)
    folder = _FOLDER.get()
    try:
        place = expand(path)
        if folder is not None and not place.resolve().is_relative_to(folder.resolve()):
            raise BoundsError(f"{path!r}, a file outside {str(folder)!r}")
        check_file(place, STATISTICS_BYTES, "file of statistics")
        with place.open("rb") as stream:
            digest = _digest(hashlib.file_digest(stream, "sha256"))
    except (OSError, RuntimeError, OutputError) as error:  # RuntimeError: links in a circle
        hint = f"{made} makes such a file"
        raise ValueError(f"{path!r} cannot be read ({reason_of(error)}); {hint}") from None
    if pinned and pinned != digest:
        raise ValueError(f"{path!r} {_OTHER}")
    return f"{path}{PIN}{digest}"


_OTHER = "holds other statistics than those the recipe was made with"


def _digest(hashed: Any) -> str:
    digest: str = hashed.hexdigest()[:32]
    return digest


@contextmanager
def opened(pinned: str) -> Iterator[Path]:
    """Give the path of a file that a recipe names as ``PATH#sha256:DIGEST``, and was checked with it."""
    if pinned not in _CONTENTS:
        yield expand(pinned.rpartition(PIN)[0])
        return
    with tempfile.TemporaryDirectory(prefix="featvis-") as folder:
        place = Path(folder) / Path(pinned.rpartition(PIN)[0]).name
        place.write_bytes(_CONTENTS[pinned])
        yield place


def contents_of(recipe: Any) -> dict[str, bytes]:
    """Return what the files hold that a recipe names, at any depth, for another process.

    Raises:
        RecipeError: a file is gone, or holds something else by now.
    """
    found: dict[str, bytes] = {}
    for text in texts_in(recipe):
        path, mark, digest = text.rpartition(PIN)
        if not mark or text in found:
            continue
        try:
            content = _CONTENTS[text] if text in _CONTENTS else expand(path).read_bytes()
        except OSError as error:
            raise RecipeError(f"{path!r} cannot be read: {reason_of(error)}") from None
        if _digest(hashlib.sha256(content)) != digest:
            raise RecipeError(f"{path!r} {_OTHER}")
        found[text] = content
    return found


def take_contents(contents: Mapping[str, bytes]) -> None:
    """Keep what files hold that another process has read: this one needs no such files."""
    _CONTENTS.update(contents)


def texts_in(data: Any) -> Iterator[str]:
    """Yield the texts in plain data, but for the names of its fields.

    >>> list(texts_in({"name": "clipped", "inner": {"statistics": "a"}, "more": ["b", 1]}))
    ['clipped', 'a', 'b']
    """
    if isinstance(data, str):
        yield data
    elif isinstance(data, Mapping):
        for value in data.values():
            yield from texts_in(value)
    elif isinstance(data, list | tuple):
        for value in data:
            yield from texts_in(value)


def unpinned(data: Any) -> Any:
    """Return plain data where a file counts by what it holds, not by where it lies.

    >>> unpinned({"statistics": "mine/photos.safetensors#sha256:12ab", "size": 3})
    {'statistics': '12ab', 'size': 3}
    """
    if isinstance(data, str):
        return data.rpartition(PIN)[2]
    if isinstance(data, Mapping):
        return {name: unpinned(value) for name, value in data.items()}
    return [unpinned(value) for value in data] if isinstance(data, list | tuple) else data
