"""From one objective to another over a batch."""

from __future__ import annotations

import torch
from torch import Tensor

from featvis.models.layers.network import NetworkAt
from featvis.objectives.base import Objective
from featvis.objectives.shown import Activations


class Interpolation(Objective):
    """(1 − w_b)·J₁ + w_b·J₂ with w_b = b / (B − 1) for picture b of B (Lucid).

    Coupled: a picture's place in its set says what it climbs.
    """

    coupled = True

    def __init__(self, first: Objective, second: Objective) -> None:
        self.first, self.second = first, second
        self.layers = tuple(dict.fromkeys((*first.layers, *second.layers)))
        self.references = {**first.references, **second.references}

    def bind(self, network: NetworkAt) -> Objective:  # noqa: D102
        return Interpolation(self.first.bind(network), self.second.bind(network))

    def score(self, activations: Activations, images: Tensor) -> Tensor:  # noqa: D102
        share = torch.linspace(0, 1, images.shape[0], device=images.device)
        first, second = self.first(activations, images), self.second(activations, images)
        return (1 - share) * first + share * second

    def describe(self) -> str:  # noqa: D102
        return f"interpolation({self.first.describe()}, {self.second.describe()})"


def interpolation(first: Objective, second: Objective) -> Interpolation:
    """Climb from one objective to another over a set: with ``seeds=5`` in five steps."""
    return Interpolation(first, second)
