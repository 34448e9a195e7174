"""Pictures in motion: GIF and MP4 files, of the way of a run or of one picture turning into another."""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from featvis import parts
from featvis.errors import CanvasError, OutputError, RecipeError
from featvis.files import write_whole
from featvis.images.base import ImageSpace
from featvis.pictures import Picture, to_levels

KINDS = ("gif", "mp4")
Frame = Picture | Image.Image | Tensor | NDArray[np.uint8]


def video(frames: Iterable[Frame], path: str | Path, fps: float = 12.0) -> Path:
    """Write a GIF or, with the extra ``featvis[video]``, an MP4 (H.264); it appears whole or not at all.

    Args:
        frames: one after another, of one size: pictures, PIL images, float tensors ``(C, H, W)`` in [0, 1],
            or 8-bit levels ``(C, H, W)`` as in :attr:`Picture.snapshots`.
        path: its ending says which, ``.gif`` or ``.mp4``. An MP4's sides are even: an odd one gets its last
            row or column twice.
        fps: frames a second; a GIF counts hundredths of seconds, two at least.

    Raises:
        OutputError: another ending, no encoder for MP4, a place that cannot be written.
        CanvasError: no frame, or frames of two sizes.
    """
    target = Path(path)
    kind = target.suffix.lower().removeprefix(".")
    check_video(kind, fps)
    arrays = [_array(frame) for frame in frames]
    if not arrays:
        raise CanvasError("a video needs at least one frame")
    sizes = {array.shape for array in arrays}
    if len(sizes) > 1:
        told = " and ".join(f"{shape[0]}x{shape[1]}" for shape in sorted(sizes))
        raise CanvasError(f"frames of one video have one size, got {told}")
    return write_whole(target, _gif(arrays, fps) if kind == "gif" else _mp4(arrays, fps))


def check_video(kind: str, fps: float = 12.0) -> None:
    """Check that such a video can be written.

    Raises:
        OutputError: neither ``gif`` nor ``mp4``, or no encoder is installed.
        RecipeError: no possible number of frames a second.
    """
    if kind not in KINDS:
        raise OutputError(f"a video is .gif or .mp4, got {kind!r}")
    if not 0 < fps <= 50:
        raise RecipeError(f"fps is a number above 0, up to 50; got {fps}")
    if kind == "mp4":
        _encoder()


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
    """
    if len(pictures) < 2 or frames < 1:
        raise RecipeError(f"it takes two pictures and a frame; got {len(pictures)} and {frames}")
    first = pictures[0]
    channels = int(first.levels.shape[0])
    space: ImageSpace = parts.make("images", first.recipe["space"], size=first.size, channels=channels)
    if not space.fits:
        raise RecipeError(f"the image space {first.recipe['space']['name']!r} cannot show any image")
    points = [space.fit(picture.image) for picture in pictures]
    shown = []
    with torch.no_grad():
        for one, other in itertools.pairwise(points):
            for number in range(frames):
                between = {name: one[name].lerp(other[name], number / frames)[None] for name in one}
                shown.append(space.decode(between)[0])
        shown.append(space.decode({name: value[None] for name, value in points[-1].items()})[0])
    return shown


def _array(frame: Frame) -> NDArray[np.uint8]:
    """``(H, W, 3)``."""
    if isinstance(frame, Image.Image):
        return np.asarray(frame.convert("RGB"))
    levels = frame
    if isinstance(levels, Picture):
        levels = levels.levels
    if isinstance(levels, Tensor):
        levels = to_levels(levels.clamp(0, 1))
    if levels.ndim != 3 or levels.shape[0] not in (1, 3):
        raise CanvasError(f"a frame has 1 or 3 channels, (C, H, W); got shape {tuple(levels.shape)}")
    return np.ascontiguousarray(np.broadcast_to(levels, (3, *levels.shape[1:])).transpose(1, 2, 0))


def _gif(arrays: Sequence[NDArray[np.uint8]], fps: float) -> bytes:
    images = [Image.fromarray(array) for array in arrays]
    buffer = io.BytesIO()
    each = max(2, round(100 / fps)) * 10
    images[0].save(buffer, "GIF", save_all=True, append_images=images[1:], duration=each, loop=0)
    return buffer.getvalue()


def _mp4(arrays: Sequence[NDArray[np.uint8]], fps: float) -> bytes:
    from fractions import Fraction

    av = _encoder()
    height, width = arrays[0].shape[:2]
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1000))
        stream.height, stream.width = height + height % 2, width + width % 2
        stream.pix_fmt, stream.options = "yuv420p", {"crf": "16"}
        for array in arrays:
            even = np.pad(array, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
            for packet in stream.encode(av.VideoFrame.from_ndarray(even, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return buffer.getvalue()


def _encoder() -> Any:
    try:
        import av
    except ImportError:
        raise OutputError("mp4 needs PyAV: pip install 'featvis[video]'; gif needs nothing more") from None
    return av
