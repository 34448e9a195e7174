"""How pictures that no screen shows as they are, of other than 1 or 3 channels or of one row, are shown."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

_PAPER = (255, 255, 255)
_LINES = ((31, 119, 180), (214, 39, 40), (44, 160, 44), (148, 103, 189), (255, 127, 14), (23, 190, 207))
PLOT_HEIGHT = 64  # Rows of one signal's strip


def has_own_view(levels: NDArray[np.uint8]) -> bool:
    """Whether 8-bit levels ``(C, H, W)`` are shown otherwise than they are saved."""
    return levels.shape[1] == 1 or levels.shape[0] not in (1, 3)


def make_view(levels: NDArray[np.uint8]) -> Image.Image:
    """Return an RGB or gray image that shows 8-bit levels ``(C, H, W)``.

    - One row, a signal: each channel a line in a strip of its own, whose height is the range 0 to 255.
    - 1 and 3 channels: as they are.
    - 2 channels: red and green; blue stays at mid-grey.
    - 4 channels and more: the first three principal components over the pixels as red, green and blue, on
      the first one's scale, around mid-grey (for looking only; nothing is scored so).
    """
    channels, height, _ = levels.shape
    if height == 1:
        return plot_signal(levels[:, 0])
    if channels == 1:
        return Image.fromarray(np.ascontiguousarray(levels[0]))
    if channels == 3:
        shown = levels
    elif channels == 2:
        shown = np.concatenate([levels, np.full_like(levels[:1], 128)])
    else:
        shown = principal_colors(levels)
    return Image.fromarray(np.ascontiguousarray(shown.transpose(1, 2, 0)))


def principal_colors(levels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the first three principal components of ``(C, H, W)`` as 8-bit ``(3, H, W)``.

    Three standard deviations of the first component are half the range; a component's sign is such that
    its largest loading is positive, so that the same picture always has the same colours.
    """
    channels, height, width = levels.shape
    values = levels.reshape(channels, -1).astype(np.float64)
    values -= values.mean(1, keepdims=True)
    _, axes = np.linalg.eigh(values @ values.T / values.shape[1])
    axes = axes[:, ::-1][:, :3]
    largest = np.take_along_axis(axes, np.abs(axes).argmax(0)[None], 0)
    components = (axes * np.where(largest < 0, -1.0, 1.0)).T @ values
    spread = max(float(components[0].std()), 1e-9)
    shown = 128 + components / (3 * spread) * 127
    return np.clip(np.round(shown), 0, 255).astype(np.uint8).reshape(3, height, width)


def plot_signal(values: NDArray[np.uint8], height: int = PLOT_HEIGHT) -> Image.Image:
    """Plot 8-bit signals ``(C, T)``, at least 256 wide: one strip for each channel, 255 its upper edge."""
    channels, length = values.shape
    across = max(1, math.ceil(256 / length))
    width = length * across
    sheet = Image.new("RGB", (width, channels * (height + 1) - 1), _PAPER)
    draw = ImageDraw.Draw(sheet)
    for channel in range(channels):
        top = channel * (height + 1)
        middle = top + (height - 1) / 2
        draw.line([(0, middle), (width - 1, middle)], fill=(224, 224, 224))
        if channel:
            draw.line([(0, top - 1), (width - 1, top - 1)], fill=(176, 176, 176))
        points = [
            (place * across + across / 2, top + (height - 1) * (1 - float(level) / 255))
            for place, level in enumerate(values[channel])
        ]
        draw.line(points if length > 1 else [*points, (width - 1, points[0][1])], fill=_LINES[channel % 6])
    return sheet
