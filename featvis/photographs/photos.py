"""The files of a folder, and reading one of them as a photograph, whatever it turns out to be."""

from __future__ import annotations

import hashlib
import os
import stat
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps

from featvis.errors import UserError
from featvis.read import open_image

Read = TypeVar("Read")


_BAND = 256  # Rows of a large image that are brought to 8 bits, or laid on white, at once


@dataclass(frozen=True)
class Listing:
    """The files of a folder, sorted by relative path."""

    folder: Path
    names: tuple[str, ...]  # Relative paths with forward slashes
    fingerprint: str
    """SHA-256 of every file's relative path, size and time of last change in nanoseconds."""


def list_files(folder: Path, out: Path | None = None) -> Listing:
    """List the files of a folder and its sub-folders; hidden ones and our own output are left out.

    Links to folders are followed, each once. The fingerprint is of paths, sizes and times, not of contents:
    a folder of a million photographs is known again in seconds. A copy with new times counts as another
    folder, which costs a pass and no more.
    """
    if not folder.is_dir():
        what = "is a file, not a folder" if folder.exists() else "does not exist"
        raise UserError(f"the folder of photographs {str(folder)!r} {what}")
    own = _own_output(folder, out)
    digest, listed, visited = hashlib.sha256(), [], set()

    def refuse(error: OSError) -> None:
        if Path(str(error.filename)) == folder:
            raise UserError(f"cannot read the folder of photographs {folder}: {error.strerror or error}")

    for place, folders, files in os.walk(folder, followlinks=True, onerror=refuse):
        about_folder = os.stat(place)
        if (about_folder.st_dev, about_folder.st_ino) in visited:  # a link back to a folder above it
            folders.clear()
            continue
        visited.add((about_folder.st_dev, about_folder.st_ino))
        folders[:] = sorted(
            name for name in folders if name[0] != "." and Path(place, name).resolve() not in own
        )
        for name in files:
            path = Path(place, name)
            if name[0] == "." or path.resolve() in own:
                continue
            try:
                about = path.stat()
            except OSError:
                continue  # a link that leads nowhere
            if stat.S_ISREG(about.st_mode):
                listed.append((path.relative_to(folder).as_posix(), about.st_size, about.st_mtime_ns))
    for name, size, changed in sorted(listed):
        digest.update(f"{name}\0{size}\0{changed}\n".encode("utf-8", "surrogateescape"))
    return Listing(folder, tuple(name for name, _, _ in sorted(listed)), digest.hexdigest())


def _own_output(folder: Path, out: Path | None) -> set[Path]:
    if out is None:
        return set()
    own = {out.resolve() / "examples", out.resolve() / "examples.json"}
    return own if out.resolve() == folder.resolve() else {*own, out.resolve()}


@contextmanager
def quiet_decoders() -> Iterator[None]:
    """Within it no decoder warns: what cannot be read is counted, what can be read is read."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="PIL")
        yield


def read_photo(path: Path, channels: int) -> Image.Image | None:
    """Read a photograph upright, as RGB or grey; None if the file is none that can be read.

    The orientation that a camera wrote is applied. What is transparent is laid on white; 16-bit levels
    become 8-bit ones; of an animation the first frame counts. A picture with more pixels than
    Pillow's limit for decompression bombs is not decoded.
    """
    try:
        with open_image(path) as opened:
            opened.load()
            return _plain(_upright(opened), "RGB" if channels == 3 else "L")
    except Exception:  # on broken files decoders raise whatever they like
        return None


def _upright(image: Image.Image) -> Image.Image:
    try:
        if image.getexif().get(ExifTags.Base.Orientation, 1) not in range(2, 9):
            return image  # transposed by Pillow it would be a copy, and a large image takes gigabytes
        return ImageOps.exif_transpose(image)
    except Exception:  # a damaged note on orientation does not make a picture unreadable
        return image


def _plain(image: Image.Image, mode: str) -> Image.Image:
    if image.mode.startswith(("I", "F")):
        return Image.fromarray(_as_8_bit(image)).convert(mode)
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


def _as_8_bit(image: Image.Image) -> NDArray[np.uint8]:
    """Bring 16-bit or floating point levels to 0 … 255, by the range that they use."""

    def numbers_of(band: Image.Image) -> NDArray[np.float32]:
        return np.nan_to_num(np.asarray(band).astype(np.float32))

    top = max(float(numbers_of(band).max(initial=0)) for _, band in _bands(image))
    eight_bit = np.empty((image.height, image.width), np.uint8)
    for row, band in _bands(image):
        numbers: NDArray[np.floating] = numbers_of(band)
        if image.mode.startswith("I;16") or top > 255:
            numbers = numbers / 257  # 65535 / 255
        elif image.mode == "F" and top <= 1:
            numbers = numbers * 255
        eight_bit[row : row + band.height] = np.clip(np.rint(numbers), 0, 255).astype(np.uint8)
    return eight_bit


def resampling(interpolation: str) -> Image.Resampling:
    """Return Pillow's filter for a network's way of resizing; all but ``nearest`` are antialiased."""
    known = interpolation in ("nearest", "bilinear", "lanczos")
    return Image.Resampling[interpolation.upper() if known else "BICUBIC"]


def read_ahead(read: Callable[[str], Read], names: Sequence[str], ahead: int) -> Iterator[Read]:
    """Give what ``read`` returns for each name, in order, while threads read up to ``ahead`` further ones."""
    waiting: deque[Future[Read]] = deque()
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1), "featvis-read") as threads:
        try:
            for name in names:
                waiting.append(threads.submit(read, name))
                if len(waiting) > ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
