"""Image files: any of them read as its maker saw it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps

from featvis.errors import FeatvisWarning, OutputError
from featvis.read import open_image, reason_of

_BAND = 256  # Rows of a large image that are brought to 8 bits, or laid on white, at once
_SAMPLE_FORMAT = 339  # A tag of TIFF: 1 is unsigned, 2 signed, 3 floating point


def read_image(
    photo: str | Path | Image.Image, channels: int, *, say: bool = True, most: int | None = None
) -> Image.Image:
    """Read an image upright, as RGB or grey.

    The orientation that a camera wrote is applied. What is transparent is laid on white; levels of 16 bits or
    more and floating-point ones become 8-bit ones; of an animation or of several pages the first counts.

    Args:
        photo: the file, or an image that Pillow has opened or made.
        channels: 3 for RGB, else grey.
        say: whether to warn where only the first of several frames was read.
        most: pixels that it may have, beside Pillow's own limit.

    Raises:
        OutputError: no file, or no image that can be read.
    """
    if isinstance(photo, Image.Image):
        try:
            photo.load()
            return _read(photo, channels)
        except Exception as error:  # on broken files decoders raise whatever they like
            raise OutputError(f"the PIL image cannot be read: {reason_of(error)}") from None
    path = photo
    with open_image(Path(path)) as opened:
        # A line of pixels takes matrices of its length squared.
        pixels = max(opened.width * opened.height, max(opened.size) ** 2 // 4)
        if most is not None and pixels > most:
            raise OutputError(f"{path}: {opened.height}x{opened.width} pixels are too large for a canvas")
        # Several pictures in one file of a camera are one photograph, with its previews.
        frames = getattr(opened, "n_frames", 1) if say and opened.format != "MPO" else 1
        opened.load()
        image = _read(opened, channels)
    if frames > 1:
        warnings.warn(f"{path} has {frames} frames; the first is read", FeatvisWarning, stacklevel=2)
    return image


def _read(opened: Image.Image, channels: int) -> Image.Image:
    # What no file says is signed, as NumPy's whole numbers are; TIFF says it, PNG has no sign.
    unsaid = (2,) if opened.format is None else (1,)
    signed = getattr(opened, "tag_v2", {}).get(_SAMPLE_FORMAT, unsaid) in (2, (2,))
    return _plain(_upright(opened), "RGB" if channels == 3 else "L", signed=signed)


def _upright(image: Image.Image) -> Image.Image:
    try:
        if image.getexif().get(ExifTags.Base.Orientation, 1) not in range(2, 9):
            return image  # transposed by Pillow it would be a copy, and a large image takes gigabytes
        return ImageOps.exif_transpose(image)
    except Exception:  # a damaged note on orientation does not make a picture unreadable
        return image


def _plain(image: Image.Image, mode: str, *, signed: bool) -> Image.Image:
    if image.mode.startswith(("I", "F")):
        return Image.fromarray(_as_8_bit(image, signed=signed)).convert(mode)
    if image.mode in ("LAB", "HSV"):
        image = image.convert("RGB")
    if image.has_transparency_data:
        laid = Image.new(mode, image.size)
        for top, band in _bands(image):
            seen = band.convert("RGBA")
            white = Image.new("RGBA", seen.size, "white")
            laid.paste(Image.alpha_composite(white, seen).convert(mode), (0, top))
        return laid
    return image.convert(mode)


def _bands(image: Image.Image) -> Iterator[tuple[int, Image.Image]]:
    """Give an image's rows from the top, some at a time, so that what is made of them takes little memory."""
    for top in range(0, image.height, _BAND):
        yield top, image.crop((0, top, image.width, min(top + _BAND, image.height)))


def _as_8_bit(image: Image.Image, *, signed: bool) -> NDArray[np.uint8]:
    """Bring 16-bit, 32-bit or floating-point levels to 0 … 255, by the range that they use."""

    def numbers_of(band: Image.Image) -> NDArray[np.float32]:
        levels = np.asarray(band)
        if image.mode == "I" and not signed:
            levels = levels.view(np.uint32)
        return np.nan_to_num(levels.astype(np.float32), posinf=0, neginf=0)

    top = max(float(numbers_of(band).max(initial=0)) for _, band in _bands(image))
    factor = 1.0
    if top > 65535:
        factor = 255 / top
    elif image.mode.startswith("I;16") or top > 255:
        factor = 255 / 65535
    elif image.mode == "F" and top <= 1:
        factor = 255.0
    eight_bit = np.empty((image.height, image.width), np.uint8)
    for row, band in _bands(image):
        numbers = numbers_of(band) * np.float32(factor)
        eight_bit[row : row + band.height] = np.clip(np.rint(numbers), 0, 255).astype(np.uint8)
    return eight_bit
