"""An objective that is driven to a score, or into a band of scores, and no further."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from featvis.errors import UserError
from featvis.models.layers.network import NetworkAt
from featvis.objectives.base import Objective, copy_with, number
from featvis.objectives.shown import Activations


class Within(Objective):
    """min(s, low) - max(s - high, 0) of another objective's score s.

    Below the band its slope is the objective's own, above it the reverse, inside it nothing: penalties
    then have the picture to themselves.
    """

    def __init__(self, objective: Objective, bands: Sequence[tuple[float, float]]) -> None:
        self.objective = objective
        self.bands = tuple(bands)
        self.layers = objective.layers
        self._edges: Tensor | None = None

    def score(self, activations: Activations, images: Tensor) -> Tensor:  # noqa: D102
        scores = self.objective(activations, images)
        if self._edges is None or self._edges.device != scores.device:
            self._edges = torch.tensor(self.bands, dtype=torch.float32).to(scores.device)
        edges = self._edges.repeat(len(scores) // len(self.bands), 1)
        return scores.minimum(edges[:, 0]) - (scores - edges[:, 1]).clamp(min=0)

    def bind(self, network: NetworkAt) -> Objective:  # noqa: D102
        bound = self.objective.bind(network)
        return copy_with(self, objective=bound, layers=bound.layers)

    def place(self) -> tuple[str, tuple[int, int]] | None:  # noqa: D102
        return self.objective.place()

    def moved(self, position: tuple[int, int]) -> Objective:  # noqa: D102
        return copy_with(self, objective=self.objective.moved(position))

    def gather(self, lanes: int) -> tuple[Objective, dict[str, tuple[int, ...]]]:  # noqa: D102
        found, only = self.objective.gather(lanes)
        return copy_with(self, objective=found), only

    def describe(self) -> str:  # noqa: D102
        bands = ",".join(f"{number(low)}..{number(high)}" for low, high in self.bands)
        return f"within({self.objective.describe()}, {bands})"

    def stacks_with(self) -> tuple[object, ...]:  # noqa: D102
        return (Within, self.objective.stacks_with())

    @classmethod
    def stack(cls, objectives: Sequence[Any]) -> Objective:  # noqa: D102
        inner = [one.objective for one in objectives]
        together = inner[0] if all(one is inner[0] for one in inner) else type(inner[0]).stack(inner)
        return Within(together, [band for one in objectives for band in one.bands])


def within(objective: Objective, low: float, high: float | None = None) -> Within:
    """Drive an objective's score to ``low``, or to anywhere from ``low`` to ``high``, and no further.

    The strongest stimulus is often none that nature has; a photograph's score as the aim asks for a
    natural one. The picture of such an objective is scored by the same rule.

    Args:
        objective: any.
        low: a finite score.
        high: not below ``low``; by default ``low``.
    """
    top = low if high is None else high
    if not (math.isfinite(low) and math.isfinite(top) and low <= top):
        raise UserError(f"a band is two finite scores, low first; got {low} and {top}")
    return Within(objective, [(float(low), float(top))])
