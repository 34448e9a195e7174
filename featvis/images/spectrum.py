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
    """Return 1 / max(|k|, 1/max(H, W)) ** exponent, the amplitudes of natural images at exponent 1.

    The power law of Lucid's Fourier images (FIELD 3.2), float64 ``(height, width // 2 + 1)``.
    """
    least = 1.0 / max(height, width)
    return frequencies(height, width).clamp(min=least) ** -exponent
