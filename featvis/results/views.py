"""How pictures are shown that no screen shows as they are: signals, videos, not 1 or 3 channels."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

_PAPER = (255, 255, 255)
_LINES = ((31, 119, 180), (214, 39, 40), (44, 160, 44), (148, 103, 189), (255, 127, 14), (23, 190, 207))
PLOT_HEIGHT = 64  # Rows of one signal's strip
PLOT_WIDTH = (
    1024  # Columns of a strip at most: of a longer signal each shows the least and the greatest value
)
WINDOW = 128  # Samples of a spectrum in a spectrogram
DECIBELS = 60  # From a spectrogram's white to its black


def has_own_view(levels: NDArray[np.uint8], frames: int | None = None) -> bool:
    """Whether 8-bit levels ``(C, H, W)`` are shown otherwise than they are saved."""
    return frames is not None or levels.shape[1] == 1 or levels.shape[0] not in (1, 3)


def make_view(levels: NDArray[np.uint8], frames: int | None = None) -> Image.Image:
    """Return an RGB or gray image that shows 8-bit levels ``(C, H, W)``.

    - A video, whose channels are those of all ``frames``: a sheet of its frames, in rows, each as below.
    - One row, a signal: each channel a line in a strip of its own, whose height is the range 0 to 255; below
      it, of 512 values or more, its spectrogram.
    - 1 and 3 channels: as they are.
    - 2 channels: red and green; blue stays at mid-grey.
    - 4 channels and more: the first three principal components over the pixels as red, green and blue, on
      the first one's scale, around mid-grey (for looking only; nothing is scored so).
    """
    if frames is not None:
        return _sheet(make_frames(levels, frames))
    channels, height, _ = levels.shape
    if height == 1:
        return _plot_all(levels[:, 0])
    return _as_image(principal_colors(levels) if channels > 3 else levels)


def _as_image(levels: NDArray[np.uint8]) -> Image.Image:
    """Return 1, 2 or 3 channels as an image."""
    if len(levels) == 1:
        return Image.fromarray(np.ascontiguousarray(levels[0]))
    if len(levels) == 2:
        levels = np.concatenate([levels, np.full_like(levels[:1], 128)])
    return Image.fromarray(np.ascontiguousarray(levels.transpose(1, 2, 0)))


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


def make_frames(levels: NDArray[np.uint8], frames: int) -> list[Image.Image]:
    """Return the frames of a video whose 8-bit levels ``(frames * C, H, W)`` stand one after another.

    Frames of 4 channels and more have colours in common: the principal components are those of all.
    """
    _, height, width = levels.shape
    each = levels.reshape(frames, -1, height, width)
    if each.shape[1] > 3:
        joined = np.ascontiguousarray(each.transpose(1, 0, 2, 3)).reshape(each.shape[1], -1, width)
        each = principal_colors(joined).reshape(3, frames, height, width).transpose(1, 0, 2, 3)
    return [_as_image(frame) for frame in each]


def _sheet(tiles: list[Image.Image]) -> Image.Image:
    columns = math.ceil(math.sqrt(len(tiles)))
    width, height = tiles[0].width + 1, tiles[0].height + 1
    rows = math.ceil(len(tiles) / columns)
    sheet = Image.new(tiles[0].mode, (columns * width - 1, rows * height - 1), "white")
    for place, tile in enumerate(tiles):
        sheet.paste(tile, (place % columns * width, place // columns * height))
    return sheet


def _plot_all(values: NDArray[np.uint8]) -> Image.Image:
    plot = plot_signal(values)
    if values.shape[1] < 4 * WINDOW:
        return plot
    below = np.concatenate([spectrogram(channel) for channel in values])
    stretched = Image.fromarray(below).resize((plot.width, len(below)), Image.Resampling.NEAREST)
    whole = Image.new("RGB", (plot.width, plot.height + 1 + len(below)), (176, 176, 176))
    whole.paste(plot, (0, 0))
    whole.paste(stretched.convert("RGB"), (0, plot.height + 1))
    return whole


def spectrogram(values: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return 8-bit levels ``(65, columns)`` of a signal's spectra: time to the right, high notes at the top.

    Black is the loudest, white is 60 dB below. A column is a Hann window of 128 values, a quarter on from the
    one before.
    """
    signal = values.astype(np.float64) / 127.5 - 1
    windows = np.lib.stride_tricks.sliding_window_view(signal, WINDOW)[:: WINDOW // 4]
    windows = (windows - windows.mean(1, keepdims=True)) * np.hanning(WINDOW)
    power = np.abs(np.fft.rfft(windows, axis=1)).T[::-1] ** 2
    below = 10 * np.log10(np.maximum(power, 1e-12) / max(float(power.max()), 1e-6))
    levels: NDArray[np.uint8] = np.round(255 * np.clip(-below / DECIBELS, 0, 1)).astype(np.uint8)
    return levels


def plot_signal(values: NDArray[np.uint8], height: int = PLOT_HEIGHT) -> Image.Image:
    """Plot 8-bit signals ``(C, T)``, at least 256 wide: one strip for each channel, 255 its upper edge."""
    channels, length = values.shape
    if length > PLOT_WIDTH:
        return _plot_long(values, height)
    across = max(1, math.ceil(256 / length))
    width = length * across
    sheet, draw = _strips(channels, width, height)
    for channel in range(channels):
        top = channel * (height + 1)
        points = [
            (place * across + across / 2, top + (height - 1) * (1 - float(level) / 255))
            for place, level in enumerate(values[channel])
        ]
        draw.line(points if length > 1 else [*points, (width - 1, points[0][1])], fill=_LINES[channel % 6])
    return sheet


def _plot_long(values: NDArray[np.uint8], height: int) -> Image.Image:
    """Plot signals of more values than columns: in each column a line from the least to the greatest."""
    channels, length = values.shape
    sheet, draw = _strips(channels, PLOT_WIDTH, height)
    edges = np.linspace(0, length, PLOT_WIDTH + 1).astype(int)
    for channel in range(channels):
        top = channel * (height + 1)
        least = np.minimum.reduceat(values[channel], edges[:-1])
        most = np.maximum.reduceat(values[channel], edges[:-1])
        for column in range(PLOT_WIDTH):
            ends = [top + (height - 1) * (1 - float(level[column]) / 255) for level in (least, most)]
            draw.line([(column, ends[0]), (column, ends[1])], fill=_LINES[channel % 6])
    return sheet


def _strips(channels: int, width: int, height: int) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    """Return a sheet with a strip for each channel, its middle marked."""
    sheet = Image.new("RGB", (width, channels * (height + 1) - 1), _PAPER)
    draw = ImageDraw.Draw(sheet)
    for channel in range(channels):
        top = channel * (height + 1)
        middle = top + (height - 1) / 2
        draw.line([(0, middle), (width - 1, middle)], fill=(224, 224, 224))
        if channel:
            draw.line([(0, top - 1), (width - 1, top - 1)], fill=(176, 176, 176))
    return sheet, draw
