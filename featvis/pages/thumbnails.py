"""Small versions of pictures, for pages that show hundreds of them."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image

from featvis.errors import OutputError
from featvis.read import open_image


def read_picture_size(path: Path) -> tuple[int, int] | None:
    """Return a file's (height, width) from its first bytes; None if it does not read as a picture."""
    try:
        with open_image(path) as opened:
            return opened.height, opened.width
    except OutputError:
        return None


def read_shape(path: Path) -> tuple[int, ...]:
    """Return the shape of an ``.npy`` file's numbers from its head; empty if it does not read as one."""
    from numpy.lib import format as npy

    try:
        with path.open("rb") as file:
            major, _ = npy.read_magic(file)
            reader = npy.read_array_header_1_0 if major == 1 else npy.read_array_header_2_0
            shape, _, _ = reader(file)
    except (OSError, ValueError):
        return ()
    return tuple(int(side) for side in shape)


def make_thumbnail(path: Path, size: tuple[int, int]) -> bytes | None:
    """Make a WebP of (height, width) ``size``; None if the file does not read as a picture."""
    try:
        with open_image(path) as opened:
            shown = opened.convert("RGB")
    except OutputError:
        return None
    if (shown.height, shown.width) != size:
        shown = shown.resize((size[1], size[0]), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    shown.save(buffer, "WEBP", quality=80, method=4)
    return buffer.getvalue()


def is_outdated(thumbnail: Path, picture: Path) -> bool:
    """Whether a small version is not there, or older than its picture."""
    try:
        return thumbnail.stat().st_mtime_ns < picture.stat().st_mtime_ns
    except OSError:
        return True
