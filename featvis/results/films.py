"""Pictures in motion: GIF and MP4 files, of the way of a run or of one picture turning into another."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from featvis.errors import CanvasError, RecipeError
from featvis.files import write_whole
from featvis.images.base import ImageSpace
from featvis.results.encoders import check_video, encode
from featvis.results.frames import Frame, each_frame
from featvis.results.picture import Picture
from featvis.spec import register


def video(frames: Frame | Iterable[Frame], path: str | Path, fps: float = 12.0) -> Path:
    """Write a GIF or, with the extra ``featvis[video]``, an MP4 (H.264), whole or not at all; give its path.

    Args:
        frames: one after another, of one size: pictures, files, PIL images, tensors or arrays ``(C, H, W)``
            in [0, 1], or of 8-bit levels as in :attr:`Picture.snapshots`.
        path: its ending says which, ``.gif`` or ``.mp4``. An MP4's sides are even: an odd one gets its last
            row or column twice.
        fps: frames a second; a GIF counts hundredths of seconds, two at least.

    Raises:
        OutputError: another ending, no encoder for MP4, a place that cannot be written.
        RecipeError: no possible number of frames a second.
        CanvasError: no frame, frames of two sizes, or one of other channels or beyond [0, 1].

    >>> import featvis as fv, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     fv.video(torch.rand(3, 3, 16, 24), f"{folder}/noise.gif", fps=10).name
    'noise.gif'
    """
    target = Path(path)
    return write_whole(target, make_video(frames, target.suffix.lower().removeprefix("."), fps))


def make_video(frames: Frame | Iterable[Frame], kind: str, fps: float = 12.0) -> bytes:
    """Return the file of a video, as :func:`video` writes it; ``kind`` is ``gif`` or ``mp4``."""
    check_video(kind, fps)
    arrays = [_array(levels) for _, levels in each_frame(frames, "a frame")]
    if not arrays:
        raise CanvasError("a video needs at least one frame")
    sizes = {array.shape for array in arrays}
    if len(sizes) > 1:
        shapes = " and ".join(f"{shape[0]}x{shape[1]}" for shape in sorted(sizes))
        raise CanvasError(f"frames of one video have one size, got {shapes}")
    return encode(arrays, kind, fps)


def morph(pictures: Sequence[Picture], frames: int = 24) -> list[Tensor]:
    """Turn each picture into the next one, by the straight line between them in the first one's image space.

    Args:
        pictures: two or more of one size; each is shown as it is saved, to within a level.
        frames: how many from one picture to the next, that one not counted.

    Returns:
        Float images ``(C, H, W)`` in [0, 1], ``frames`` for each pair and the last picture.

    Raises:
        RecipeError: fewer than two pictures or one frame, or an image space that cannot show any image.
        CanvasError: pictures of two sizes.

    >>> import featvis as fv
    >>> network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3))
    >>> model = fv.load_model(network, mean=(0.5,) * 3, std=(0.5,) * 3, input_size=16)
    >>> images = fv.morph(fv.render(model, "0:0:2", size=16, steps=1, transforms=[], lanes=2), frames=4)
    >>> len(images), images[0].shape
    (5, torch.Size([3, 16, 16]))
    """
    if frames < 1:
        raise RecipeError(f"a morph takes at least one frame from picture to picture, got {frames}")
    channels = int(pictures[0].levels.shape[0]) if pictures else 0
    space = check_morph([(start.recipe["space"], start.size) for start in pictures], channels=channels)
    points = [space.fit(picture.image) for picture in pictures]
    shown = []
    with torch.no_grad():
        for start, end in itertools.pairwise(points):
            for number in range(frames):
                between = {name: start[name].lerp(end[name], number / frames)[None] for name in start}
                shown.append(space.decode(between)[0])
        shown.append(space.decode({name: value[None] for name, value in points[-1].items()})[0])
    return shown


def check_morph(pictures: Sequence[tuple[dict[str, Any], tuple[int, int]]], channels: int) -> ImageSpace:
    """Return the image space in which pictures, each (space as in a recipe, size), turn into each other."""
    if len(pictures) < 2:
        raise RecipeError(f"a morph takes two pictures or more, got {len(pictures)}")
    sizes = {size for _, size in pictures}
    if len(sizes) > 1:
        shapes = " and ".join(f"{height}x{width}" for height, width in sorted(sizes))
        raise CanvasError(f"pictures of one morph have one size, got {shapes}")
    spec, size = pictures[0]
    space: ImageSpace = register.make("images", spec, size=size, channels=channels)
    if not space.fits:
        raise RecipeError(f"the image space {spec['name']!r} cannot show any image, so it cannot morph")
    return space


def _array(levels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """``(H, W, 3)``."""
    if levels.ndim != 3 or levels.shape[0] not in (1, 3):
        raise CanvasError(f"a frame has 1 or 3 channels, (C, H, W); got shape {tuple(levels.shape)}")
    return np.ascontiguousarray(np.broadcast_to(levels, (3, *levels.shape[1:])).transpose(1, 2, 0))
