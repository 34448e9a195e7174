"""Bilinear resampling of images at given places, with a backward pass that gives the same bits twice."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from featvis.devices import is_gpu
from featvis.transforms.base import Size

Pad = Literal["reflect", "edge", "gray"]
_MODES = {"reflect": "reflection", "edge": "border", "gray": "zeros"}
GRAY = 0.5
FIXED_POINT_BITS = 30
"""The largest gradient of a step becomes 2^30; a sum of 2^32 of them would still fit 64 bits."""


def resample(images: Tensor, values: Tensor, shown_size: Size, pad: Pad) -> Tensor:
    """Look at ``images`` ``(B, C, H, W)`` in [0, 1] through affine maps ``(B, 6)``: ``(B, C, *shown_size)``.

    Bilinear; ``values`` as ``affine_grid`` wants them, columns first. On a CPU by ``grid_sample``. A GPU's
    adds up its gradient in whatever order its threads arrive, so there the same is done by sums without an
    order. Apple's has no reflection and no float64: there by lookups, whose gradient PyTorch adds up.
    """
    grid = make_grid(values, shown_size)
    shifted = images - GRAY if pad == "gray" else images
    if is_gpu(images.device):
        shown: Tensor = _Ordered.apply(shifted, grid, pad)
    elif images.device.type == "mps":
        shown = _looked_up(shifted, grid, pad)
    else:
        shown = functional.grid_sample(shifted, grid, padding_mode=_MODES[pad], align_corners=False)
    return shown + GRAY if pad == "gray" else shown


def averaged(images: Tensor, least: float, shown_size: Size) -> Tensor:
    """Average away detail that would alias where even the ``least`` window is shown much smaller."""
    shrink = int(least * min(images.shape[2] / shown_size[0], images.shape[3] / shown_size[1]))
    if shrink < 2:
        return images
    # Adaptive, so that a remainder of rows or columns is not cut off and nothing moves.
    if images.device.type != "cpu":
        # The same means as products of matrices, whose gradient has one order.
        down, across = (_means(side, side // shrink, images.device) for side in images.shape[2:])
        return down @ images @ across.mT
    return functional.adaptive_avg_pool2d(images, (images.shape[2] // shrink, images.shape[3] // shrink))


@lru_cache(maxsize=32)
def _means(before: int, after: int, device: torch.device) -> Tensor:
    """What each of ``after`` means takes of each of ``before`` pixels, ``(after, before)``."""
    with torch.inference_mode(False):  # it is kept, and a later run climbs through it
        taken = functional.adaptive_avg_pool1d(torch.eye(before)[None], after)[0]
        return taken.T.contiguous().to(device)


def make_grid(values: Tensor, shown_size: Size) -> Tensor:
    """Return where each pixel that is seen looks, ``(B, *shown_size, 2)``, as ``grid_sample`` wants it.

    The same as ``functional.affine_grid``, by sums of a row's and a column's share instead of a
    product of small matrices, which on a CPU takes longer than the resample itself.
    """
    rows, columns = (
        (torch.arange(side, device=values.device, dtype=values.dtype) * 2 + (1 - side)) / side
        for side in shown_size
    )
    grid = values.new_empty((values.shape[0], *shown_size, 2))
    for axis in (0, 1):
        across, down, offset = values[:, 3 * axis : 3 * axis + 3, None].unbind(1)
        torch.add((down * rows + offset)[:, :, None], (across * columns)[:, None, :], out=grid[..., axis])
    return grid


def _looked_up(images: Tensor, grid: Tensor, pad: Pad) -> Tensor:
    """Return what ``grid_sample`` returns, as four lookups."""
    batch, channels, height, width = images.shape
    flat = images.flatten(2)
    shown: Tensor | None = None
    for index, weight in _taps(grid, height, width, pad):
        picked = flat.gather(2, index[:, None].expand(-1, channels, -1)) * weight[:, None]
        shown = picked if shown is None else shown + picked
    assert shown is not None
    return shown.view(batch, channels, *grid.shape[1:3])


class _Ordered(torch.autograd.Function):
    """grid_sample as four lookups; the gradient is added up in whole numbers, for which no order matters."""

    @staticmethod
    def forward(ctx: Any, images: Tensor, grid: Tensor, pad: Pad) -> Tensor:
        ctx.shape, ctx.grid, ctx.pad = images.shape, grid, pad
        return _looked_up(images, grid, pad)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        batch, channels, height, width = ctx.shape
        gradient = gradients[0].flatten(2)
        # A power of two for each picture on its own, found on the device: nothing waits, no mate matters.
        largest = gradient.abs().amax((1, 2)).clamp(min=torch.finfo(torch.float32).tiny)
        exponent = FIXED_POINT_BITS - torch.frexp(largest.double()).exponent
        scale = torch.ldexp(torch.ones_like(largest, dtype=torch.float64), exponent)[:, None, None]
        total = torch.zeros((batch, channels, height * width), dtype=torch.int64, device=gradient.device)
        for index, weight in _taps(ctx.grid, height, width, ctx.pad):
            share = (gradient * weight[:, None]).double().mul_(scale).round_().to(torch.int64)
            total.scatter_add_(2, index[:, None].expand(-1, channels, -1), share)
        return (total.double() / scale).to(gradient.dtype).view(ctx.shape), None, None


def _taps(grid: Tensor, height: int, width: int, pad: Pad) -> list[tuple[Tensor, Tensor]]:
    """The four pixels round each place and their weights, each ``(B, places)``."""
    column = ((grid[..., 0] + 1) * width - 1) / 2
    row = ((grid[..., 1] + 1) * height - 1) / 2
    if pad != "gray":
        column, row = (_within(place, side, pad) for place, side in ((column, width), (row, height)))
    left, top = column.floor(), row.floor()
    taps = []
    for y, x in ((top + down, left + right) for down in (0, 1) for right in (0, 1)):
        weight = (1 - (row - y).abs()) * (1 - (column - x).abs())
        inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
        index = y.clamp(0, height - 1).long() * width + x.clamp(0, width - 1).long()
        taps.append((index.flatten(1), torch.where(inside, weight, torch.zeros_like(weight)).flatten(1)))
    return taps


def _within(place: Tensor, side: int, pad: Pad) -> Tensor:
    """Bring places beyond the border back: mirrored at the outer edge of the last pixel, or held."""
    if pad == "reflect":
        turned = (place + 0.5).abs().remainder(2 * side)
        place = torch.minimum(turned, 2 * side - turned) - 0.5
    return place.clamp(0, side - 1)
