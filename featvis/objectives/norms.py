"""How far images are from mid-grey: any Lᵖ, and the farthest pixel; subtract them, or list them in a recipe.

As means over pixels and channels, so that a weight means the same at every canvas.
"""

from __future__ import annotations

from torch import Tensor

from featvis.objectives.base import Objective, number
from featvis.objectives.shown import Activations
from featvis.spec.options import AtLeastTwo
from featvis.spec.register import part


@part("lp")
class Lp(Objective):
    """Distance from mid-grey that weighs far pixels more: ½ (1e-6 + mean |2(x - .5)|ᵖ)^(1/p) of each image.

    ``p`` is 6 in Mahendran and Vedaldi 2015.
    """

    p: AtLeastTwo = 6

    def score(self, activations: Activations, images: Tensor) -> Tensor:  # noqa: D102
        # The distance is at most .5: its powers are taken of twice it, for .5⁶ is little beside 1e-6.
        powers = (2 * (images - 0.5)).abs() ** self.p
        return (powers.flatten(1).mean(1) + 1e-6) ** (1 / self.p) / 2

    def describe(self) -> str:  # noqa: D102
        return f"lp({number(self.p)})"


@part("linf")
class LInf(Objective):
    """Distance from mid-grey of the pixel that is farthest from it: max |x - .5| of each image."""

    def score(self, activations: Activations, images: Tensor) -> Tensor:  # noqa: D102
        return (images - 0.5).abs().flatten(1).amax(1)

    def describe(self) -> str:  # noqa: D102
        return "linf()"


def lp(p: int = 6) -> Objective:
    """Lᵖ distance of the images from mid-grey, a mean over pixels and channels, to be subtracted.

    Args:
        p: from 2 up (Mahendran and Vedaldi 2015 take 6).

    Raises:
        RecipeError: a smaller p.

    >>> import featvis as fv, torch
    >>> fv.lp(4).score({}, torch.ones(1, 3, 8, 8))
    tensor([0.5000])
    """
    return Lp(p=p)  # type: ignore[call-arg]


def linf() -> Objective:
    """Distance of the pixel that is farthest from mid-grey, to be subtracted.

    >>> import featvis as fv, torch
    >>> fv.linf().score({}, torch.ones(1, 3, 8, 8))
    tensor([0.5000])
    """
    return LInf()
