"""Penalties on the images themselves: total variation, L1, L2; subtract them, or list them in a recipe.

Each is a mean over pixels and channels, so that a weight means the same at every canvas.
"""

from __future__ import annotations

from torch import Tensor

from featvis.objectives.base import Objective
from featvis.objectives.shown import Activations
from featvis.spec.register import part


@part("total_variation")
class TotalVariation(Objective):
    """How much neighbouring pixels differ, mean |Δ rows| + mean |Δ columns|."""

    def score(self, activations: Activations, images: Tensor) -> Tensor:  # noqa: D102
        rows = (images[:, :, 1:] - images[:, :, :-1]).abs().flatten(1)
        columns = (images[:, :, :, 1:] - images[:, :, :, :-1]).abs().flatten(1)
        total = images.new_zeros(images.shape[0])
        # A canvas one pixel wide has no neighbours along that axis.
        for differences in (rows, columns):
            if differences.shape[1]:
                total = total + differences.mean(1)
        return total

    def describe(self) -> str:  # noqa: D102
        return "total_variation()"


@part("l1")
class L1(Objective):
    """Distance from mid-grey, the mean |x - .5| of each image."""

    def score(self, activations: Activations, images: Tensor) -> Tensor:  # noqa: D102
        return (images - 0.5).abs().flatten(1).mean(1)

    def describe(self) -> str:  # noqa: D102
        return "l1()"


@part("l2")
class L2(Objective):
    """Distance from mid-grey, √(1e-6 + mean (x - .5)²) of each image."""

    def score(self, activations: Activations, images: Tensor) -> Tensor:  # noqa: D102
        return ((images - 0.5).square().flatten(1).mean(1) + 1e-6).sqrt()

    def describe(self) -> str:  # noqa: D102
        return "l2()"


def total_variation() -> Objective:
    """Total variation of the images, to be subtracted: mean |Δ rows| + mean |Δ columns|.

    >>> import featvis as fv, torch
    >>> fv.total_variation().score({}, torch.ones(1, 3, 8, 8))
    tensor([0.])
    """
    return TotalVariation()


def l1() -> Objective:
    """Mean distance of the images from mid-grey, to be subtracted.

    >>> import featvis as fv, torch
    >>> fv.l1().score({}, torch.ones(1, 3, 8, 8))
    tensor([0.5000])
    """
    return L1()


def l2() -> Objective:
    """Root mean square distance of the images from mid-grey, to be subtracted.

    >>> import featvis as fv, torch
    >>> fv.l2().score({}, torch.ones(1, 3, 8, 8))
    tensor([0.5000])
    """
    return L2()
