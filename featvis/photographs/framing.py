"""How a photograph is laid on a canvas, and back from places on the canvas to the photograph's pixels."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Size = tuple[int, int]
Interval = tuple[int, int]  # The first row (or column) and the one after the last

LONGEST = 4
"""A canvas is at most this many times as long as it is short; of a longer photograph the middle is shown."""


@dataclass(frozen=True)
class Frame:
    """The region of a photograph that is shown to a network, and the canvas that it fills."""

    photo: Size
    canvas: Size
    top: float
    left: float
    height: float
    width: float

    def lay(self, photo: Image.Image, how: Image.Resampling) -> NDArray[np.uint8]:
        """Return the canvas ``(C, H, W)``: the region resized, antialiased."""
        region = (self.left, self.top, self.left + self.width, self.top + self.height)
        if region == (0, 0, photo.width, photo.height) and self.canvas == self.photo:
            shown = photo
        else:
            shown = photo.resize((self.canvas[1], self.canvas[0]), how, box=region)
        levels = np.asarray(shown)
        # Copied, for what Pillow shares is read-only, which torch does not take.
        return np.array(levels[None] if levels.ndim == 2 else levels.transpose(2, 0, 1), order="C")

    def box(self, rows: Interval | None, columns: Interval | None) -> tuple[int, int, int, int]:
        """Return (top, left, height, width) in the photograph of rows and columns of the canvas.

        What is shown in part is taken whole. None stands for all rows or columns that were shown.
        """
        top, bottom = _back(rows, self.canvas[0], self.top, self.height, self.photo[0])
        left, right = _back(columns, self.canvas[1], self.left, self.width, self.photo[1])
        return top, left, bottom - top, right - left


def _back(span: Interval | None, canvas: int, start: float, extent: float, photo: int) -> Interval:
    first, end = (0, canvas) if span is None else (max(span[0], 0), min(span[1], canvas))
    # A millionth of a pixel: what floating point may be off by does not add a row.
    low = math.floor(start + first * extent / canvas + 1e-6)
    high = math.ceil(start + end * extent / canvas - 1e-6)
    low = min(max(low, 0), photo - 1)
    return low, min(max(high, low + 1), photo)


def frame_whole(photo: Size, short: int, multiple: int = 1) -> Frame:
    """Show the whole photograph: its shorter side becomes ``short``, the other that plus a ``multiple``."""
    height, width = photo
    scale = short / min(photo)
    length = min(max(photo) * scale, LONGEST * short)
    long = round(length) if multiple == 1 else short + multiple * round((length - short) / multiple)
    if height == width:
        return Frame(photo, (short, short), 0, 0, height, width)
    shown = min(float(max(photo)), LONGEST * min(photo))
    cut = (max(photo) - shown) / 2
    if height > width:
        return Frame(photo, (long, short), cut, 0, shown, width)
    return Frame(photo, (short, long), 0, cut, height, shown)


def frame_middle(photo: Size, canvas: Size) -> Frame:
    """Show the largest region of the canvas's proportions from the photograph's middle."""
    scale = max(canvas[0] / photo[0], canvas[1] / photo[1])
    height, width = min(canvas[0] / scale, photo[0]), min(canvas[1] / scale, photo[1])
    return Frame(photo, canvas, (photo[0] - height) / 2, (photo[1] - width) / 2, height, width)


def least_multiple(runs: Callable[[Size], bool], short: int) -> int | None:
    """Return the least step in which a canvas of side ``short`` may grow longer; None if it may not."""
    for step in (1, 2, 4, 7, 8, 14, 16, 32, 64):
        if runs((short, short + step)) and runs((short + step, short)):
            return step
    return None
