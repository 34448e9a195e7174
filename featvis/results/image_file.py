"""Image files, written in the format that their name tells."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from PIL import Image

from featvis.errors import OutputError

_WRITTEN: dict[str, tuple[str, dict[str, Any]]] = {
    ".png": ("PNG", {"compress_level": 6}),
    ".jpg": ("JPEG", {"quality": 95, "subsampling": 0}),
    ".jpeg": ("JPEG", {"quality": 95, "subsampling": 0}),
    ".webp": ("WEBP", {"lossless": True}),
    ".tif": ("TIFF", {"compression": "tiff_deflate"}),
    ".tiff": ("TIFF", {"compression": "tiff_deflate"}),
    ".bmp": ("BMP", {}),
}
_OPAQUE = ("JPEG", "BMP")


def check_image_name(path: str | Path) -> tuple[str, dict[str, Any]]:
    """Return the format that a file's name tells and how it is written; an OutputError if none is known."""
    suffix = Path(path).suffix.lower() or ".png"
    if suffix not in _WRITTEN:
        raise OutputError(f"{path}: images are written as {', '.join(_WRITTEN)}, not as {suffix}")
    return _WRITTEN[suffix]


def encode_image(image: Image.Image, path: str | Path) -> bytes:
    """Return the bytes of an image file of this name."""
    kind, options = check_image_name(path)
    if image.has_transparency_data and kind in _OPAQUE:
        raise OutputError(f"{path}: {kind} holds no transparency; .png, .webp and .tif do")
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()
