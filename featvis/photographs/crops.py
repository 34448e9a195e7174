"""What the units saw in their best photographs, cut out and written as small WebP files."""

from __future__ import annotations

import io
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from PIL import Image

from featvis.files import check_inside, write_whole
from featvis.photographs.photos import quiet_decoders, read_photo

LONGEST_SIDE = 160
_QUALITY = 85


def write_crops(
    folder: Path,
    out: Path,
    units: Collection[dict[str, Any]],
    *,
    channels: int,
    say: Callable[[str], None] | None = None,
) -> None:
    """Cut the crops of a result's units, relative to ``out``; ``file`` is None without a photograph."""
    by_photo: dict[str, list[dict[str, Any]]] = {}
    for unit in units:
        for example in unit["examples"]:
            if example["file"] is not None:
                by_photo.setdefault(example["image"], []).append(example)
    if say is not None and by_photo:
        crops = sum(map(len, by_photo.values()))
        say(f"cutting {crops:,} crops from {len(by_photo):,} photographs")
    with quiet_decoders():
        for name in sorted(by_photo):
            photo = read_photo(folder / name, channels)
            for example in by_photo[name]:
                path = out / example["file"]
                if photo is None or not _lies_in(photo, example["box"]):
                    example["file"] = None
                else:
                    check_inside(path, out)
                    write_whole(path, encode_crop(photo, example["box"]))


def _lies_in(photo: Image.Image, box: tuple[int, int, int, int] | None) -> bool:
    """Whether a box that may have been read from a file is one of this photograph."""
    if box is None:
        return True
    top, left, height, width = box
    return height > 0 < width and top + height <= photo.height and left + width <= photo.width


def encode_crop(photo: Image.Image, box: tuple[int, int, int, int] | None) -> bytes:
    """Return a box (top, left, height, width; None for all), at most 160 pixels long, as a WebP file."""
    shown = photo
    if box is not None:
        top, left, height, width = box
        shown = photo.crop((left, top, left + width, top + height))
    scale = LONGEST_SIDE / max(shown.size)
    if scale < 1:
        small = (max(1, round(shown.width * scale)), max(1, round(shown.height * scale)))
        shown = shown.resize(small, Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    shown.save(buffer, "WEBP", quality=_QUALITY)
    return buffer.getvalue()
