"""Mean and mean square of what comes into a module, or out of it, at next to no cost either way."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

MOMENTS_OF = "moments of "
"""Before a module's name: mean and mean square of what comes into it, ``(B, 2, C)``, not what it gives."""

MOMENTS_FROM = "moments from "
"""Before a module's name: mean and mean square of what it gives."""

POSITIONS = 16
"""At least so many rows and columns of a map are read; more would only cost time."""


def layer_of(name: str) -> str:
    """Return the layer of a name that may ask for its moments.

    >>> layer_of(MOMENTS_OF + "bn1"), layer_of(MOMENTS_FROM + "conv1"), layer_of("fc")
    ('bn1', 'conv1', 'fc')
    """
    return name.removeprefix(MOMENTS_OF).removeprefix(MOMENTS_FROM)


class Moments(torch.autograd.Function):
    """Passes ``inputs`` on and tells E[x] and E[x²] over a grid of positions of each channel.

    The gradient through the moments is added at those positions only to the one that comes back from
    the module: none of the map's size is made for them.
    """

    @staticmethod
    def forward(
        ctx: Any, inputs: Tensor, written: bool, owned: bool, bounds: tuple[float, float] | None
    ) -> tuple[Tensor, Tensor]:
        """Return the inputs, and the moments ``(B, 2, C)``.

        ``written``: a reader of what is passed on may write into it. A BatchNorm does not; a folded one hands
        it on to whatever comes behind. ``owned``: the gradient that comes back is nobody else's, so that it
        may be written into. ``bounds``: clamp what is passed on, an activation's work done in the same visit.
        """
        stride = max(1, min(inputs.shape[2:]) // POSITIONS)
        sample = inputs[:, :, ::stride, ::stride].float()
        if written:
            sample = sample.clone(memory_format=torch.channels_last)
            ctx.mark_dirty(inputs)
            passed = inputs
        else:
            passed = inputs.view_as(inputs)
        ctx.owned, ctx.stride, ctx.shape, ctx.bounds = owned, stride, inputs.shape, bounds
        if bounds is not None:
            passed.clamp_(*bounds)
            ctx.save_for_backward(sample, passed)
        else:
            ctx.save_for_backward(sample)
        ctx.set_materialize_grads(False)
        rows = sample.permute(0, 2, 3, 1).flatten(1, 2)  # (B, positions, C): a view where C is innermost
        return passed, torch.stack((rows.sum(1), (rows * rows).sum(1)), dim=1).div_(rows.shape[1])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, None, None, None]:
        """Add the moments' share to the gradient of the inputs."""
        passed, moments = gradients
        sample, *bounded = ctx.saved_tensors
        if bounded and passed is not None:
            passed = torch.ops.aten.hardtanh_backward(passed, bounded[0], *ctx.bounds)
        if moments is None:
            return passed, None, None, None
        positions = sample.shape[2] * sample.shape[3]
        mean = moments[:, 0, :, None, None] / positions
        square = moments[:, 1, :, None, None] * (2 / positions)
        stride = ctx.stride
        if passed is None:  # nothing behind the module is climbed
            passed = sample.new_zeros(ctx.shape)
        elif not ctx.owned and not bounded:
            passed = passed.clone(memory_format=torch.preserve_format)
        there = passed[:, :, ::stride, ::stride]
        if passed.dtype == sample.dtype:
            there.addcmul_(sample, square).add_(mean)
        else:
            there += torch.addcmul(mean, sample, square).to(passed.dtype)
        return passed, None, None, None


class MomentsFrom(torch.autograd.Function):
    """Passes on what a module gives and tells E[x] and E[x²] over a grid of its positions.

    The channels lie on ``axis``, the positions on all axes behind the first but that one. As with
    :class:`Moments`, the gradient through the moments is written at those positions only.
    """

    @staticmethod
    def forward(ctx: Any, given: Tensor, axis: int, owned: bool) -> tuple[Tensor, Tensor]:
        """Return what was given, and the moments ``(B, 2, C)``.

        ``owned``: nobody else has ``given``, so that who reads it next may write into it; or it gets a copy.
        """
        axis = axis % given.dim()
        ctx.grid, ctx.axis, ctx.shape = grid_of(given.shape, axis), axis, given.shape
        sample = given[ctx.grid].to(torch.float32, copy=True)
        if owned:
            ctx.mark_dirty(given)
            passed = given
        else:
            passed = given.clone()
        ctx.save_for_backward(sample)
        ctx.set_materialize_grads(False)
        rows = sample.movedim(axis, -1).flatten(1, -2)  # (B, positions, C)
        return passed, torch.stack((rows.sum(1), (rows * rows).sum(1)), dim=1).div_(rows.shape[1])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, None, None]:
        """Add the moments' share to the gradient of what was given."""
        passed, moments = gradients
        (sample,) = ctx.saved_tensors
        if moments is None:
            return passed, None, None
        positions = sample[0].numel() // sample.shape[ctx.axis]
        wide = [1] * sample.dim()
        wide[0], wide[ctx.axis] = sample.shape[0], sample.shape[ctx.axis]
        mean = moments[:, 0].reshape(wide) / positions
        square = moments[:, 1].reshape(wide) * (2 / positions)
        if passed is None:  # nothing behind the module is climbed
            passed = sample.new_zeros(ctx.shape)
        else:  # a sum hands the same gradient to both of its terms
            passed = passed.clone(memory_format=torch.preserve_format)
        there = passed[ctx.grid]
        there += torch.addcmul(mean, sample, square).to(passed.dtype)
        return passed, None, None


def grid_of(shape: torch.Size, axis: int) -> tuple[slice, ...]:
    """Return which positions are read: at least so many rows and columns, or their square of tokens.

    >>> grid_of(torch.Size((2, 64, 33, 40)), 1)[2:], grid_of(torch.Size((2, 197, 384)), 2)[1]
    ((slice(None, None, 2), slice(None, None, 2)), slice(None, None, 1))
    """
    places = [place for place in range(1, len(shape)) if place != axis]
    least = POSITIONS if len(places) > 1 else POSITIONS**2
    stride = max(1, min((shape[place] for place in places), default=1) // least)
    return tuple(slice(None, None, stride) if place in places else slice(None) for place in range(len(shape)))
