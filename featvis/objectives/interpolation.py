"""From one objective to another over a batch."""

from __future__ import annotations

import torch
from torch import Tensor

from featvis.objectives.base import Composite, Objective
from featvis.objectives.shown import Activations
from featvis.objectives.unit import as_objective


class Interpolation(Composite):
    """(1 − w_b)·J₁ + w_b·J₂ with w_b = b / (B − 1) for picture b of a set of B (Lucid), so coupled."""

    coupled = True

    def score(self, activations: Activations, images: Tensor) -> Tensor:  # noqa: D102
        share = torch.linspace(0, 1, images.shape[0], device=images.device)
        first, second = (objective(activations, images) for objective in self.inner)
        return (1 - share) * first + share * second

    def describe(self) -> str:  # noqa: D102
        return f"interpolation({', '.join(objective.describe() for objective in self.inner)})"


def interpolation(first: Objective | str, second: Objective | str) -> Interpolation:
    """Climb from one objective to another over a set of pictures: (1 - w)·first + w·second.

    Args:
        first: what the first picture of the set climbs, with w = 0: an objective, or the address of one unit.
        second: what the last one climbs; ``seeds=5`` of :func:`featvis.render` makes a set of five.

    >>> import featvis as fv
    >>> fv.interpolation(fv.channel("conv", 3), fv.channel("conv", 8))
    interpolation(conv:3, conv:8)
    """
    return Interpolation([as_objective(one, "interpolation") for one in (first, second)])
