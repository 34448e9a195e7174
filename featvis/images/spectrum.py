"""Spectra of real images of any height and width."""

from __future__ import annotations

import torch
from torch import Tensor


def frequencies(height: int, width: int) -> Tensor:
    """Return |k| in cycles per pixel for the bins of ``rfft2``: ``(height, width // 2 + 1)``."""
    rows = torch.fft.fftfreq(height, dtype=torch.float64)[:, None]
    columns = torch.fft.rfftfreq(width, dtype=torch.float64)[None, :]
    return torch.sqrt(rows**2 + columns**2)


def falling_amplitudes(height: int, width: int, exponent: float) -> Tensor:
    """Return 1 / max(|k|, 1/max(H, W)) ** exponent (Lucid), float64 ``(height, width // 2 + 1)``."""
    least = 1.0 / max(height, width)
    return frequencies(height, width).clamp(min=least) ** -exponent


BEND, LAST = 0.06, 0.25
"""Cycles per pixel where the spectrum of photographs bends, and beyond which it is left empty."""

CHANNEL_SHARES = (1.0, 1.035, 0.816)
"""Root mean square of the three decorrelated channels of photographs, to the first; measured on the
spectrum that was published with MACO (Fel et al. 2023)."""


def photograph_magnitudes(channels: int, height: int, width: int) -> Tensor:
    """Return what photographs' decorrelated channels have on the average at the bins of ``rfft2``.

    A formula in place of measured magnitudes, fitted to those that were published with MACO (Fel et al.
    2023): f^-1.3 up to 0.06 cycles per pixel, on from there as f^-1.8 up to 0.25, nothing
    beyond, nothing at 0. Float64 ``(C, height, width // 2 + 1)``, up to a factor.
    """
    cycles = frequencies(height, width)
    steep = BEND**0.5 * cycles**-1.8
    falling = torch.where(cycles <= BEND, cycles**-1.3, steep)
    falling[(cycles == 0) | (cycles > LAST)] = 0
    shares = CHANNEL_SHARES if channels == 3 else (1.0,) * channels
    return torch.tensor(shares, dtype=torch.float64)[:, None, None] * falling
