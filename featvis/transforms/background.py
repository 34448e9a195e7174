"""Random backgrounds behind images with alpha."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

from featvis.squash import squash
from featvis.transforms.base import Size, Transform

WAVES = 6  # The most waves of a background along a side
FIELDS = 4  # One for all channels, and three that the channels take in turn
COMMON, OWN = 0.8, 0.6  # Shares of the common and of a channel's own field: squares sum to 1
GRAY = 0.5


class Background(Transform):
    """α · x + (1 - α) · background: images ``(B, C + 1, H, W)`` become ``(B, C, H, W)`` (Lucid).

    A background is sigmoid of a sum of waves, 0 to 6 along each side, of normal amplitudes that fall as
    1 / max(|k|, 1)^exponent, with standard deviation ``deviation`` over all: another at every step of every
    picture, periodic, from 676 drawn numbers. No part of recipes: it stands before a run's transforms
    where the image space has alpha.
    """

    part_name = "background"
    numbers = FIELDS * (2 * WAVES + 1) ** 2

    def __init__(self, deviation: float = 1.0, exponent: float = 1.0) -> None:
        self.deviation, self.exponent = deviation, exponent

    def prepare(self, uniform: Tensor, progress: Tensor, canvas: Size, shown_size: Size) -> Tensor:
        """Return the amplitudes of every step, ``(lanes, steps, 676)``."""
        # Half a unit in the last place from the ends, where a normal number is infinite.
        normal = math.sqrt(2) * torch.erfinv((2 * uniform - 1).clamp(-1 + 1e-6, 1 - 1e-6))
        waves = _waves()
        length = torch.sqrt(waves[:, None] ** 2 + waves[None] ** 2)
        falling = length.clamp(min=1) ** -self.exponent
        # cos² + sin² = 1 along both sides, so the variance is the sum over pairs of waves, each pair once.
        variance = falling[waves_once()][:, waves_once()].square().sum()
        scaled = falling * (self.deviation / variance.sqrt())
        return (normal.view(*normal.shape[:2], FIELDS, -1) * scaled.flatten()).flatten(2)

    def apply(self, images: Tensor, values: Tensor, field: Tensor | None, shown_size: Size) -> Tensor:
        """Lay images over each picture's background."""
        return over(images, self.backgrounds(values, images.shape[1] - 1, images.shape[2:]))

    def backgrounds(self, values: Tensor, channels: int, size: Size | torch.Size) -> Tensor:
        """Return the backgrounds ``(B, C, H, W)`` of amplitudes ``(B, 676)``."""
        down, across = (_basis(side, values.device) for side in size)
        side = 2 * WAVES + 1
        fields = down @ values.view(-1, FIELDS, side, side) @ across.mT
        # Slices: a list of places would be copied to the device at every step.
        turns = -(-channels // (FIELDS - 1))
        own = torch.cat([fields[:, 1:]] * turns, 1)[:, :channels]
        return squash(COMMON * fields[:, :1] + OWN * own)


def over(images: Tensor, background: Tensor | float = GRAY) -> Tensor:
    """Lay images ``(B, C + 1, H, W)``, the last channel alpha, over a background: ``(B, C, H, W)``."""
    alpha = images[:, -1:]
    return alpha * images[:, :-1] + (1 - alpha) * background


def _waves() -> Tensor:
    """How many waves along a side each function of the basis has: 0, then each twice."""
    return torch.tensor([0.0, *(float(k) for k in range(1, WAVES + 1) for _ in range(2))])


def waves_once() -> list[int]:
    """Return the places of 0, 1, 2 … waves in the basis, each once."""
    return [0, *range(1, 2 * WAVES + 1, 2)]


@lru_cache(maxsize=16)
def _basis(side: int, device: torch.device) -> Tensor:
    """1, cos and sin of 1 to 6 waves at the pixels' centres, ``(side, 13)``."""
    with torch.inference_mode(False):  # it is kept, and a later run climbs through it
        turns = 2 * math.pi * (torch.arange(side, dtype=torch.float64) + 0.5) / side
        columns = [torch.ones_like(turns)]
        for waves in range(1, WAVES + 1):
            columns += [torch.cos(waves * turns), torch.sin(waves * turns)]
        return torch.stack(columns, 1).float().to(device)
