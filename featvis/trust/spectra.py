"""A picture's spectrum: how fast it falls, and how much of it is fine detail."""

from __future__ import annotations

import math

import torch
from torch import Tensor

LUMINANCE = (0.2126, 0.7152, 0.0722)
"""Of red, green and blue (ITU-R BT.709), on the values as they are saved."""
_BINS_PER_OCTAVE = 3


def luminance(image: Tensor) -> Tensor:
    """Return ``(H, W)`` of an image ``(C, H, W)``: weighted for three channels, else their mean."""
    if image.shape[0] != 3:
        return image.mean(0)
    return (image * image.new_tensor(LUMINANCE)[:, None, None]).sum(0)


def spectrum(image: Tensor) -> tuple[float, float]:
    """Return the slope of an image's amplitude spectrum, and the share of its power above a quarter cycle.

    Luminance, mean removed, Hann window, P = |FFT|²; the radial mean of P in bins of a third of an octave;
    the slope of ½ log P on log f over [2/N, ¼] cycles a pixel, N the shorter side; and the share of all power
    at f > ¼ cycle a pixel. White noise has slope 0 and, windowed, as much of its power there as the plane has
    area, 1 - π/16 = .804. Both are NaN for an image of one value, the slope for a tiny one.
    """
    plane = luminance(image.double())
    plane = plane - plane.mean()
    window = [torch.hann_window(side, periodic=False, dtype=torch.float64) for side in plane.shape]
    plane = plane * window[0][:, None] * window[1]
    # The window brings a mean back; it is no structure.
    power = torch.fft.fft2(plane - plane.mean()).abs().square()
    total = float(power.sum())
    if total < 1e-12:
        return math.nan, math.nan
    rows, columns = (torch.fft.fftfreq(side, dtype=torch.float64) for side in plane.shape)
    radius = (rows[:, None].square() + columns.square()).sqrt()
    share = float(power[radius > 0.25].sum()) / total
    return _slope(radius.flatten(), power.flatten(), 2 / min(plane.shape)), share


def _slope(radius: Tensor, power: Tensor, lowest: float) -> float:
    inside = (radius >= lowest - 1e-9) & (radius <= 0.25 + 1e-9)
    radius, power = radius[inside], power[inside]
    if radius.numel() == 0:
        return math.nan
    bins = ((radius / lowest).log2() * _BINS_PER_OCTAVE + 1e-6).floor().long()
    counts = torch.bincount(bins).double()
    filled = counts > 0
    mean_power = torch.bincount(bins, power)[filled] / counts[filled]
    mean_radius = torch.bincount(bins, radius.log())[filled] / counts[filled]
    if len(mean_power) < 3 or not bool((mean_power > 0).all()):
        return math.nan
    across, up = mean_radius - mean_radius.mean(), mean_power.log() / 2
    return float((across * (up - up.mean())).sum() / across.square().sum())
