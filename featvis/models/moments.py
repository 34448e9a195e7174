"""Mean and mean square of what comes into a module, at next to no cost forward or backward."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

MOMENTS_OF = "moments of "
"""Before a module's name: mean and mean square of what comes into it, ``(B, 2, C)``, not what it gives."""

POSITIONS = 56
"""At least so many rows and columns of a map are read; more would only cost time."""


class Moments(torch.autograd.Function):
    """Passes ``inputs`` on and tells E[x] and E[x²] over a grid of positions of each channel.

    The gradient through the moments is added at those positions only to the one that comes back from
    the module: none of the map's size is made for them.
    """

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, alone: bool) -> tuple[Tensor, Tensor]:
        """Return the inputs, and the moments ``(B, 2, C)``.

        Args:
            ctx: autograd's.
            inputs: ``(B, C, H, W)``.
            alone: whether a BatchNorm is the one reader of what is passed on: it writes nothing in place,
                and the gradient that it sends back is nobody else's. A folded one hands on both to whatever
                comes behind it.
        """
        stride = max(1, min(inputs.shape[2:]) // POSITIONS)
        sample = inputs[:, :, ::stride, ::stride].float()
        if alone:
            passed = inputs.view_as(inputs)
        else:
            sample = sample.clone(memory_format=torch.channels_last)
            ctx.mark_dirty(inputs)
            passed = inputs
        ctx.alone, ctx.stride, ctx.shape = alone, stride, inputs.shape
        ctx.save_for_backward(sample)
        ctx.set_materialize_grads(False)
        return passed, torch.stack((sample.mean((2, 3)), (sample * sample).mean((2, 3))), dim=1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, None]:
        """Add the moments' share to the gradient of the inputs."""
        passed, moments = gradients
        if moments is None:
            return passed, None
        (sample,) = ctx.saved_tensors
        positions = sample.shape[2] * sample.shape[3]
        mean, square = (moments[:, row, :, None, None] / positions for row in (0, 1))
        share = torch.addcmul(mean, sample, 2 * square)
        stride = ctx.stride
        if passed is None:  # nothing behind the module is climbed
            passed = sample.new_zeros(ctx.shape)
        elif not ctx.alone:
            passed = passed.clone()
        passed[:, :, ::stride, ::stride] += share.to(passed.dtype)
        return passed, None
