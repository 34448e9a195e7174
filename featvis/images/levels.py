"""The levels of a pyramid: their sizes, and the matrices that bring them to the canvas."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional

Size = tuple[int, int]


@lru_cache(maxsize=64)
def level_sizes(levels: str, canvas: Size) -> tuple[Size, ...]:
    """Return (height, width) of each level, the whole canvas last; no size twice.

    >>> level_sizes("four", (24, 16))
    ((3, 2), (6, 4), (12, 8), (24, 16))
    >>> [height for height, width in level_sizes("fourth", (12, 12))]
    [1, 5, 9, 12]
    """
    longer = max(canvas)
    sides = {
        "four": [longer / 2**n for n in range(4)],
        "octaves": [longer / 2**n for n in range(longer.bit_length())],
        "fourth": [*range(1, longer, 4), longer],
        "all": [*range(1, longer + 1)],
    }[levels]
    height, width = canvas
    sizes = {(max(1, round(height * side / longer)), max(1, round(width * side / longer))) for side in sides}
    return tuple(sorted(sizes))


@lru_cache(maxsize=2048)
def resizing(length: int, side: int, interpolation: str, device: torch.device) -> Tensor:
    """Return the matrix ``(length, side)`` that interpolates ``side`` values at ``length`` places.

    What ``torch.nn.functional.interpolate`` does along one axis, corners not aligned. As a product it
    has the same bits at every run, which the interpolation's backward pass on a GPU has not.
    """
    with torch.inference_mode(False):  # it is kept, and a later run climbs through it
        basis = torch.eye(side)[:, None, :, None]
        if side == length:
            return torch.eye(side, device=device)
        mixed = functional.interpolate(basis, (length, 1), mode=interpolation, align_corners=False)
        return mixed[:, 0, :, 0].T.contiguous().to(device)


def raise_level(values: Tensor, canvas: Size, interpolation: str) -> Tensor:
    """Bring a level ``(…, h, w)`` to the canvas."""
    height, width = values.shape[-2:]
    raised = values
    if width != canvas[1]:
        raised = raised @ resizing(canvas[1], width, interpolation, values.device).mT
    if height != canvas[0]:
        raised = resizing(canvas[0], height, interpolation, values.device) @ raised
    return raised


def sum_levels(levels: Sequence[Tensor], canvas: Size, interpolation: str) -> Tensor:
    """Return the sum of all levels on the canvas, ``(…, C, H, W)``."""
    raised = [raise_level(level, canvas, interpolation) for level in levels]
    raw = raised[-1]
    for level in raised[:-1]:
        raw = raw + level
    return raw


def draw_levels(
    levels: str, canvas: Size, channels: int, deviation: float, generator: torch.Generator
) -> list[Tensor]:
    """Draw each level, normal, the smallest first."""
    sizes = level_sizes(levels, canvas)
    return [torch.randn((channels, *size), generator=generator) * deviation for size in sizes]
