"""Folders of photographs for the tests."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image

from featvis.photographs.photos import read_photo, resampling


def photo(seed, height, width):
    """A photograph of soft blobs, so that resizing leaves something of it."""
    chance = np.random.default_rng(seed)
    coarse = chance.integers(0, 256, (max(2, height // 6), max(2, width // 6), 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def shapes(count, seed=3):
    """Heights and widths, half of them of a few shapes that come again."""
    chance = np.random.default_rng(seed)
    often = [(40, 60), (60, 40), (48, 48)]
    return [
        often[n % 3] if n % 2 else tuple(int(side) for side in chance.integers(24, 90, 2))
        for n in range(count)
    ]


def write_folder(folder, count=60, broken=True):
    """Photographs of many shapes and formats in sub-folders, between them files that are none."""
    kinds = ["png", "jpg", "webp", "bmp", "gif"]
    for n, (height, width) in enumerate(shapes(count)):
        place = folder / ["cats", "dogs", "."][n % 3]
        place.mkdir(parents=True, exist_ok=True)
        kind = kinds[n % len(kinds)]
        photo(n, height, width).save(place / f"photo {n:03d}.{kind}")
    if broken:
        (folder / "cats" / "notes.txt").write_text("no photograph")
        (folder / "dogs" / "empty.png").write_bytes(b"")
        whole = (folder / "photo 002.webp").read_bytes()
        (folder / "cut short.webp").write_bytes(whole[: len(whole) // 2])
        whole = next(folder.glob("*/*.png")).read_bytes()
        (folder / "cut short.png").write_bytes(whole[: len(whole) // 2])
        (folder / ".hidden.png").write_bytes(whole)
        (folder / "gone.png").symlink_to(folder / "nowhere.png")


def shown(model, path, short):
    """The canvas of a photograph as the interface describes it, made here without featvis' own frames."""
    read = read_photo(path, model.channels)
    scale = short / min(read.size)
    size = tuple(short if side == min(read.size) else round(side * scale) for side in read.size)
    levels = np.asarray(read.resize(size, resampling(model.interpolation)), dtype=np.float32)
    levels = levels[None] if levels.ndim == 2 else levels.transpose(2, 0, 1)
    return torch.from_numpy(levels.copy())[None] / 255
