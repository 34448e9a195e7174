"""Image files: any of them read as its maker saw it, and written in the format that its name tells."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from featvis.errors import FeatvisWarning, OutputError

# Formats whose decoders only decode: an EPS file, for one, would be run by Ghostscript.
_FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "MPO", "PNG", "PPM", "QOI", "TIFF", "WEBP")
_WRITTEN: dict[str, tuple[str, dict[str, Any]]] = {
    ".png": ("PNG", {"compress_level": 6}),
    ".jpg": ("JPEG", {"quality": 95, "subsampling": 0}),
    ".jpeg": ("JPEG", {"quality": 95, "subsampling": 0}),
    ".webp": ("WEBP", {"lossless": True}),
    ".tif": ("TIFF", {"compression": "tiff_deflate"}),
    ".tiff": ("TIFF", {"compression": "tiff_deflate"}),
    ".bmp": ("BMP", {}),
}
_SAMPLE_FORMAT = 339  # A tag of TIFF: 1 is unsigned, 2 signed, 3 floating point
_OPAQUE = ("JPEG", "BMP")


def read_image(path: str | Path, channels: int, *, say: bool = True) -> Image.Image:
    """Read an image upright, as RGB or grey.

    The orientation that a camera wrote is applied. What is transparent is laid on white; levels of 16 bits or
    more and floating-point ones become 8-bit ones; of an animation or of several pages the first counts.

    Args:
        path: the file.
        channels: 3 for RGB, else grey.
        say: whether to warn where only the first of several frames was read.

    Raises:
        OutputError: no file, or no image that can be read.
    """
    path = Path(path)
    if not path.is_file():
        raise OutputError(f"no image {str(path)!r}" if not path.is_dir() else f"{path} is a folder, no image")
    try:
        Image.init()
        readable = [name for name in _FORMATS if name in Image.OPEN]
        with Image.open(path, formats=readable) as opened:
            if opened.width * opened.height > (Image.MAX_IMAGE_PIXELS or float("inf")):
                raise ValueError(f"{opened.width} x {opened.height} pixels are more than are decoded")
            # Several pictures in one file of a camera are one photograph, with its previews.
            frames = getattr(opened, "n_frames", 1) if say and opened.format != "MPO" else 1
            opened.load()
            signed = getattr(opened, "tag_v2", {}).get(_SAMPLE_FORMAT) in (2, (2,))
            image = _plain(_upright(opened), "RGB" if channels == 3 else "L", signed=signed)
    except UnidentifiedImageError:
        raise OutputError(f"{path} is no readable image: {_unknown(path)}") from None
    except Exception as error:  # on broken files decoders raise whatever they like
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        raise OutputError(f"{path} is no readable image: {reason}") from None
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


def _unknown(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            begin = stream.read(4)
    except OSError as error:
        return str(error.strerror or error)
    if begin in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return "a TIFF of a kind that Pillow does not read; save it with 8 or 16 bits"
    return "no format that is known"


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # a damaged note on orientation does not make a picture unreadable
        return image


def _plain(image: Image.Image, mode: str, *, signed: bool) -> Image.Image:
    if image.mode.startswith(("I", "F")):
        levels = np.asarray(image)
        if image.mode == "I" and not signed:
            levels = levels.view(np.uint32)
        return Image.fromarray(_as_8_bit(levels, image.mode)).convert(mode)
    if image.mode in ("LAB", "HSV"):
        image = image.convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert(mode)
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
