"""image_statistics: colours and magnitudes of a folder of photographs, for image spaces to be made with."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from featvis.errors import FeatvisWarning, OutputError, RecipeError, UserError
from featvis.images.statistics import ImageStatistics, load_statistics, root_of
from featvis.models.photograph import Photograph, Photographs, each, is_picture, read_photograph, read_picture
from featvis.photographs.framing import frame_middle
from featvis.photographs.photos import list_files, quiet_decoders, read_ahead, read_photo

Canvas = NDArray[np.float64]

AHEAD = 8  # Photographs that are read while others are measured
_VALUES = 1 << 26  # The most numbers of an array that is read as an image: 4,700 x 4,700 pixels of 3 channels


def image_statistics(
    folder: Photographs,
    *,
    out: str | Path | None = None,
    size: int | tuple[int, int] = 224,
    channels: int = 3,
    say: Callable[[str], None] | None = None,
) -> ImageStatistics:
    """Measure the colour covariance and the mean magnitude spectrum of images.

    Of each image the largest middle region of the canvas' proportions is resized to it (bicubic,
    antialiased). Two passes in bounded memory: the covariance of each image's pixels about their own mean,
    averaged; then \\|rfft2\\|, orthonormal, of its channels decorrelated by that covariance, averaged:
    what Lucid's colours and the spectrum of MACO (Fel et al. 2023) are of ImageNet. Image files have 1 or 3
    channels; ``.npy`` files of ``(C, H, W)`` have any number, whole numbers from 0 to 255 or floats from 0
    to 1.

    Args:
        folder: images, flat or in sub-folders; files that are none are skipped and counted. Or a list of
            images, each a file, a PIL image, or a tensor or array ``(C, H, W)`` in [0, 1].
        out: the safetensors file to write, named in recipes as ``statistics``. If it holds the statistics of
            the same files (by path, size and time of change), size and channels, it is read instead.
        size: (height, width) to bring images to, or one number for a square; the image space ``phase``
            needs that of its canvas.
        channels: of the images.
        say: is told how far it is, a line at a time.

    Raises:
        CanvasError: an image of the list with other channels or beyond [0, 1].
        UserError: no such folder, no image of so many channels in it, an image that is none, ``out`` cannot
            be written.

    >>> import featvis as fv, tempfile
    >>> noise = np.random.default_rng(0).integers(0, 256, (16, 24, 3), dtype=np.uint8)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     Image.fromarray(noise).save(f"{folder}/noise.png")
    ...     statistics = fv.image_statistics(folder, size=(8, 12))
    >>> statistics.images, statistics.magnitudes.shape
    (1, (3, 8, 7))
    """
    canvas = (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))
    if min(canvas) < 1 or isinstance(channels, bool) or channels < 1:
        raise RecipeError(f"size and channels are at least 1, got {size} and {channels}")
    shown = _Shown(folder, canvas, channels, say or (lambda line: None))
    out = None if out is None else Path(out)
    if out is not None and shown.folder is not None and out.resolve().is_relative_to(shown.folder.resolve()):
        raise OutputError(f"{out} would lie among the photographs that it is about; name a place outside")
    if out is not None and out.exists():
        try:
            before = load_statistics(out)
        except OutputError as error:
            raise OutputError(f"{error}; it is not written over") from None
        if (before.fingerprint, before.size, before.channels) == (shown.fingerprint, canvas, channels):
            return before
    with quiet_decoders():
        measured = _measure(shown, canvas, channels)
    if out is not None:
        measured.save(out)
    return measured


def _measure(shown: _Shown, size: tuple[int, int], channels: int) -> ImageStatistics:
    covariance, mean = np.zeros((channels, channels)), np.zeros(channels)
    images = 0
    for canvas in shown.canvases("colours"):
        pixels = canvas.reshape(channels, -1)
        own = pixels.mean(1)
        centred = pixels - own[:, None]
        covariance += centred @ centred.T / centred.shape[1]
        mean += own
        images += 1
    skipped = shown.count - images
    if not images:
        what = f"no image of {channels} channels that can be read ({skipped:,} files were skipped)"
        raise UserError(f"{shown.name} holds {what}")
    covariance, mean = covariance / images, mean / images
    root = root_of(covariance)
    if np.linalg.matrix_rank(root) < channels or np.linalg.cond(root) > 1e4:
        what = "some channels hardly vary on their own; their decorrelated magnitudes are mostly rounding"
        warnings.warn(f"{shown.name}: {what}", FeatvisWarning, stacklevel=3)
    back = np.linalg.pinv(root)
    magnitudes = np.zeros((channels, size[0], size[1] // 2 + 1))
    for canvas in shown.canvases("magnitudes"):
        raw = np.einsum("ij,jhw->ihw", back, canvas)
        magnitudes += np.abs(np.fft.rfft2(raw, norm="ortho"))
    shown.say(f"{images:,} images, {skipped:,} files skipped")
    return ImageStatistics(covariance, mean, magnitudes / images, size, images, skipped, shown.fingerprint)


class _Shown:
    """The images that are measured, on the canvas, as often as they are asked for."""

    def __init__(
        self, images: Photographs, size: tuple[int, int], channels: int, say: Callable[[str], None]
    ) -> None:
        self._size, self._channels, self.say = size, channels, say
        self.folder: Path | None = None
        if isinstance(images, str | Path):
            self.folder = Path(images)
            listing = list_files(self.folder)
            self._names, self.fingerprint, self.name = listing.names, listing.fingerprint, str(listing.folder)
            self.count = len(self._names)
            return
        self._images = [_values(image, size, channels) for image in each(images, what="an image")]
        self.count, self.name = len(self._images), "the list of images"
        digest = hashlib.sha256()
        for image in self._images:
            digest.update(f"{image.shape}\n".encode() + image.tobytes())
        self.fingerprint = digest.hexdigest()

    def canvases(self, what: str) -> Iterator[Canvas]:
        spoken = 0
        for number, canvas in enumerate(self._each(), 1):
            if number >= spoken + max(1, self.count // 10):
                self.say(f"{what}: {number:,} of {self.count:,} files")
                spoken = number
            if canvas is not None:
                yield canvas

    def _each(self) -> Iterator[Canvas | None]:
        if self.folder is None:
            yield from (_lay(image, self._size) for image in self._images)
            return
        folder = self.folder
        yield from read_ahead(
            lambda name: _canvas(folder / name, self._size, self._channels), self._names, AHEAD
        )


def _values(image: Photograph, size: tuple[int, int], channels: int) -> NDArray[np.float32]:
    if not is_picture(image):
        values: NDArray[np.float32] = read_photograph(image, channels, what="an image").numpy()
        return values
    if isinstance(image, str | Path) and Path(image).suffix == ".npy":
        canvas = _array_canvas(Path(image), size, channels)
        if canvas is None:
            raise OutputError(f"{image} is no array ({channels}, H, W) of uint8, or of floats in [0, 1]")
        return canvas.astype(np.float32)
    return _framed(read_picture(image, channels, what="an image"), size).astype(np.float32)


def _canvas(path: Path, size: tuple[int, int], channels: int) -> Canvas | None:
    """Return an image in [0, 1], ``(C, H, W)``; None if the file is none of so many channels."""
    if path.suffix == ".npy":
        return _array_canvas(path, size, channels)
    if channels not in (1, 3):
        return None
    photo = read_photo(path, channels)
    return None if photo is None else _framed(photo, size)


def _framed(photo: Image.Image, size: tuple[int, int]) -> Canvas:
    frame = frame_middle((photo.height, photo.width), size)
    return frame.lay(photo, Image.Resampling.BICUBIC).astype(np.float64) / 255


def _array_canvas(path: Path, size: tuple[int, int], channels: int) -> Canvas | None:
    try:
        # Mapped, so that a header that claims more than the file holds takes no memory.
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception:  # the header is a text in Python, which is parsed: it raises whatever that does
        return None
    if not isinstance(array, np.ndarray) or array.size > _VALUES:
        return None
    whole = array.dtype == np.uint8
    of_levels = whole or np.issubdtype(array.dtype, np.floating)
    if array.ndim != 3 or len(array) != channels or 0 in array.shape or not of_levels:
        return None
    values = array.astype(np.float32) / (255 if whole else 1)
    if not (np.isfinite(values).all() and values.min() >= 0 and values.max() <= 1):
        return None
    return _lay(values, size)


def _lay(values: NDArray[Any], size: tuple[int, int]) -> Canvas:
    frame = frame_middle((values.shape[1], values.shape[2]), size)
    images = [Image.fromarray(np.ascontiguousarray(layer)) for layer in values]
    layers = [frame.lay(image, Image.Resampling.BICUBIC) for image in images]
    return np.concatenate(layers).astype(np.float64)
