"""An objective that is driven to a score, or into a band of scores, and no further."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from featvis.errors import UserError
from featvis.objectives.base import Composite, Objective, number, stack
from featvis.objectives.shown import Activations
from featvis.objectives.unit import as_objective


class Within(Composite):
    """min(s, low) - max(s - high, 0) of another objective's score s.

    Below the band its gradient is the objective's own, above it the reverse, inside it nothing: penalties
    then have the picture to themselves.
    """

    def __init__(self, objective: Objective, bands: Sequence[tuple[float, float]]) -> None:
        self.bands = tuple(bands)
        self._edges: Tensor | None = None
        super().__init__([objective])

    def score(self, activations: Activations, images: Tensor) -> Tensor:  # noqa: D102
        scores = self.inner[0](activations, images)
        if self._edges is None or self._edges.device != scores.device:
            self._edges = torch.tensor(self.bands, dtype=torch.float32).to(scores.device)
        edges = self._edges.repeat(len(scores) // len(self.bands), 1)
        return scores.minimum(edges[:, 0]) - (scores - edges[:, 1]).clamp(min=0)

    def describe(self) -> str:  # noqa: D102
        bands = ",".join(f"{number(low)}..{number(high)}" for low, high in self.bands)
        return f"within({self.inner[0].describe()}, {bands})"

    def stacks_with(self) -> tuple[object, ...]:  # noqa: D102
        return (Within, self.inner[0].stacks_with())

    @classmethod
    def stack(cls, objectives: Sequence[Any]) -> Objective:  # noqa: D102
        inner = [objective.inner[0] for objective in objectives]
        return Within(stack(inner), [band for objective in objectives for band in objective.bands])


def within(objective: Objective | str, low: float, high: float | None = None) -> Within:
    """Drive an objective's score to ``low``, or to anywhere from ``low`` to ``high``, and no further.

    The strongest stimulus is often none that nature has; a photograph's score as the aim asks for a natural
    one. The picture of such an objective is scored by the same rule.

    Args:
        objective: any, or the address of one unit.
        low: a finite score.
        high: not below ``low``; by default ``low``.

    Raises:
        UserError: the scores are not finite, or not low first.

    >>> import featvis as fv
    >>> fv.within(fv.channel("conv", 5), 1.5, 2)
    within(conv:5, 1.5..2)
    """
    top = low if high is None else high
    if not (math.isfinite(low) and math.isfinite(top) and low <= top):
        raise UserError(f"a band is two finite scores, low first; got {low} and {top}")
    return Within(as_objective(objective, "within"), [(float(low), float(top))])
