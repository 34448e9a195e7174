"""Gradients through dead ReLUs: an image that gets none at a ReLU is given the one that would wake it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from featvis.models.borrow.rectifiers import RectifierMode, clamp, clamp_gradient


class _Redirected(torch.autograd.Function):
    """Clamps to [0, ceiling]; the backward pass redirects an image's gradient where all of it is blocked."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, ceiling: float, in_place: bool, lanes: Tensor | None) -> Tensor:
        ctx.lanes = lanes
        return clamp(ctx, inputs, ceiling, in_place)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        (inputs,) = ctx.saved_tensors
        (gradient,) = gradients
        plain = clamp_gradient(ctx, inputs, gradient)
        alive = plain.flatten(1).any(1)
        if ctx.lanes is not None:
            alive = alive | ~ctx.lanes
        # On the CPU the common case, no image blocked, is known at once; a GPU is not made to wait for it.
        if alive.device.type == "cpu" and bool(alive.all()):
            return plain, None, None, None
        nothing = torch.zeros((), dtype=gradient.dtype, device=gradient.device)
        # The loop descends on minus the score: a negative gradient asks for a larger activation.
        wakes = torch.where(gradient < 0, inputs <= ctx.ceiling, inputs >= 0)
        redirected = torch.where(wakes, gradient, nothing)
        shape = (-1, *[1] * (gradient.dim() - 1))
        return torch.where(alive.view(shape), plain, redirected), None, None, None


class RedirectedReLU(RectifierMode):
    """Within this context every ReLU and ReLU6, module or function, redirects blocked gradients.

    Lucid's rule, for each image on its own and on both sides of a ReLU6: where the usual gradient is zero for
    the whole image, an activation below 0 passes what would raise it, one above 6 what would lower it.
    """

    def __init__(self, lanes: Tensor | None = None) -> None:
        """Redirect for every image, or only where ``lanes`` ``(B,)`` is true."""
        super().__init__()
        self._lanes = lanes

    def rectify(self, inputs: Tensor, ceiling: float, in_place: bool) -> Tensor:  # noqa: D102
        rectified: Tensor = _Redirected.apply(inputs, ceiling, in_place, self._lanes)
        return rectified
