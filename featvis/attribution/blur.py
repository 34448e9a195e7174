"""Gaussian blur, for baselines, for masks and for comparing maps."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional


def blur(images: Tensor, sigma: float, radius: int | None = None) -> Tensor:
    """Return images ``(B, C, H, W)`` under a Gaussian of ``sigma`` pixels, edges repeated.

    It is cut off after 3 sigma, or at ``radius``.
    """
    if sigma <= 0:
        return images
    reach = math.ceil(3 * sigma) if radius is None else radius
    at = torch.arange(-reach, reach + 1, dtype=images.dtype, device=images.device)
    kernel = torch.exp(-0.5 * (at / sigma) ** 2)
    kernel = kernel / kernel.sum()
    channels = images.shape[1]
    padded = functional.pad(images, (reach, reach, 0, 0), mode="replicate")
    rows = functional.conv2d(padded, kernel.view(1, 1, 1, -1).expand(channels, 1, 1, -1), groups=channels)
    if images.shape[2] == 1:  # a signal's one row, repeated, is itself
        return rows
    padded = functional.pad(rows, (0, 0, reach, reach), mode="replicate")
    return functional.conv2d(padded, kernel.view(1, 1, -1, 1).expand(channels, 1, -1, 1), groups=channels)


def shorter_side(size: tuple[int, int]) -> int:
    """Return a canvas's shorter side, by which windows and blurs are measured; of a signal, its length.

    >>> shorter_side((48, 64)), shorter_side((1, 512))
    (48, 512)
    """
    return min(size) if min(size) > 1 else max(size)
