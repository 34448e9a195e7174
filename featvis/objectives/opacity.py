"""A penalty on alpha, for pictures with transparency."""

from __future__ import annotations

from torch import Tensor

from featvis.objectives.base import Objective
from featvis.objectives.shown import Activations
from featvis.spec.register import part


@part("alpha")
class Opacity(Objective):
    """How opaque an image of the space ``alpha`` is: the mean of its last channel.

    Subtracted, and not a factor of the score: a factor 1 - mean α would reward opacity where the score
    is negative. Of each picture alone: a mean over a batch would couple its pictures.
    """

    def score(self, activations: Activations, images: Tensor) -> Tensor:  # noqa: D102
        return images[:, -1].flatten(1).mean(1)

    def describe(self) -> str:  # noqa: D102
        return "alpha()"
