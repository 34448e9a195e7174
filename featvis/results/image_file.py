"""Image files: any of them read as its maker saw it, and written in the format that its name tells."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from featvis.errors import FeatvisWarning, OutputError
from featvis.read import open_image

_BAND = 256  # Rows of a transparent image that are laid on white at once
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


def read_image(path: str | Path, channels: int, *, say: bool = True, most: int | None = None) -> Image.Image:
    """Read an image upright, as RGB or grey.

    The orientation that a camera wrote is applied. What is transparent is laid on white; levels of 16 bits or
    more and floating-point ones become 8-bit ones; of an animation or of several pages the first counts.

    Args:
        path: the file.
        channels: 3 for RGB, else grey.
        say: whether to warn where only the first of several frames was read.
        most: pixels that it may have, beside Pillow's own limit.

    Raises:
        OutputError: no file, or no image that can be read.
    """
    with open_image(Path(path)) as opened:
        if most is not None and opened.width * opened.height > most:
            raise OutputError(f"{path}: {opened.height}x{opened.width} pixels are too large for a canvas")
        # Several pictures in one file of a camera are one photograph, with its previews.
        frames = getattr(opened, "n_frames", 1) if say and opened.format != "MPO" else 1
        opened.load()
        image = _plain(_upright(opened), "RGB" if channels == 3 else "L")
    if frames > 1:
        warnings.warn(f"{path} has {frames} frames; the first is read", FeatvisWarning, stacklevel=2)
    return image


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


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # a damaged note on orientation does not make a picture unreadable
        return image


def _plain(image: Image.Image, mode: str) -> Image.Image:
    if image.mode.startswith(("I", "F")):
        return Image.fromarray(_as_8_bit(np.asarray(image), image.mode)).convert(mode)
    if image.has_transparency_data:
        laid = Image.new(mode, image.size)
        for top in range(0, image.height, _BAND):  # by bands, for a large image takes gigabytes
            band = image.crop((0, top, image.width, min(top + _BAND, image.height))).convert("RGBA")
            white = Image.new("RGBA", band.size, "white")
            laid.paste(Image.alpha_composite(white, band).convert(mode), (0, top))
        return laid
    return image.convert(mode)


def _as_8_bit(levels: NDArray[np.generic], mode: str) -> NDArray[np.uint8]:
    """Bring 16-bit, 32-bit or floating-point levels to 0 … 255, by the range that they use."""
    numbers: NDArray[np.floating] = levels.astype(np.float32)
    np.nan_to_num(numbers, copy=False, posinf=0, neginf=0)
    top = float(numbers.max(initial=0))
    if top > 65535:
        numbers *= 255 / top
    elif mode.startswith("I;16") or top > 255:
        numbers /= 257  # 65535 / 255
    elif mode == "F" and top <= 1:
        numbers *= 255
    np.clip(np.rint(numbers, out=numbers), 0, 255, out=numbers)
    return numbers.astype(np.uint8)
