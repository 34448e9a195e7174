"""Clipped: pixels that are faint, or that hardly matter, are mid-grey."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from featvis.images.base import ImageSpace
from featvis.images.wrapper import Around
from featvis.spec.options import AtLeastOne, Fraction, Inner, Size
from featvis.spec.register import part


@part("clipped")
class ClippedImage(Around):
    """Pixels that are faint, or that hardly matter to the score, are mid-grey (Yosinski et al. 2015).

    Of each picture, with d = x - x₀ for the inner space's image x and the start image or mid-grey x₀:

    - the share ``faint`` of the pixels whose ‖d‖ over channels is least are x₀ wherever the picture is
      decoded. They get the gradient as if they were shown, and come back once they have grown;
    - of the share ``idle`` of the pixels whose contribution |Σ_c d · ∂s/∂x| to the score s is least the
      gradient is replaced: it leads back to x₀, as strongly as the picture's others are in the mean.

    The paper sets both to zero after each step of its pixels; here they are where any space is decoded.
    What is left are the parts of the image that the unit answers to.

    Options: ``inner``, the space within, of which ``pixel`` is the paper's; ``faint``; ``idle``.
    Parameters: ``inner.…`` and ``around``.

    >>> import featvis as fv
    >>> space = fv.ClippedImage(size=(4, 6), inner={"name": "pixel", "deviation": 1.0}, faint=0.5)
    >>> parameters = {name: value[None] for name, value in space.draw(torch.Generator()).items()}
    >>> float((space.decode(parameters) == 0.5).all(1).float().mean())
    0.5
    """

    size: Size | None = None
    channels: AtLeastOne = 3
    inner: Inner = "fourier"
    faint: Fraction = 0.3
    idle: Fraction = 0.3

    def near(self, images: Tensor, around: Tensor) -> Tensor:  # noqa: D102
        clipped: Tensor = _Clipped.apply(images, around, self.faint, self.idle)
        return clipped

    def _set_within(self, space: ImageSpace) -> None:
        super()._set_within(space)
        object.__setattr__(self, "true_gradient", False)


def least(values: Tensor, share: float) -> Tensor:
    """Return which of the values ``(B, H, W)`` are among the least ``share`` of each picture's.

    >>> least(torch.tensor([[[3.0, 1.0], [2.0, 4.0]]]), 0.5).tolist()
    [[[False, True], [True, False]]]
    """
    flat = values.flatten(1)
    count = int(share * flat.shape[1])
    if count == flat.shape[1]:
        return torch.ones_like(values, dtype=torch.bool)
    return values < flat.kthvalue(count + 1, dim=1, keepdim=True).values[:, :, None]


class _Clipped(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, images: Tensor, around: Tensor, faint: float, idle: float) -> Tensor:
        away = images - around
        ctx.save_for_backward(away)
        ctx.idle = idle
        return torch.where(least(away.square().sum(1), faint)[:, None], around, images)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        (gradient,), (away,) = gradients, ctx.saved_tensors
        if ctx.idle:
            idle = least((away * gradient).sum(1).abs(), ctx.idle)[:, None]
            strengths = [(one.square().flatten(1).mean(1) + 1e-20).sqrt() for one in (gradient, away)]
            # The gradient is that of the loss: along d it leads back.
            back = away * (strengths[0] / strengths[1])[:, None, None, None]
            gradient = torch.where(idle, back, gradient)
        return gradient, None, None, None
