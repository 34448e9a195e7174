"""A direction in the space of a layer's units."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from featvis.errors import TargetError
from featvis.models.layers.measure import LayerInfo
from featvis.models.layers.network import NetworkAt
from featvis.objectives.base import Objective, copy_with, digest_of, number, spread_over, vector_of
from featvis.objectives.shown import Activations


class Direction(Objective):
    """mean over positions of ⟨a, v⟩ · max(.1, cos(a, v))^p (Lucid); with p = 0 the plain inner product."""

    constants = ("vectors",)

    def __init__(self, layer: str, vectors: Tensor, power: float = 0.0) -> None:
        self.layers = (layer,)
        self.vectors = vectors  # (1 or B, units)
        self.power = power
        self._info: LayerInfo | None = None

    def bind(self, network: NetworkAt) -> Objective:  # noqa: D102
        info = network.layer(self.layers[0])
        if self.vectors.shape[1] != info.units:
            raise TargetError(
                f"a direction of {info.name} has {info.units} components, got {self.vectors.shape[1]}"
            )
        return copy_with(self, _info=info)

    def score(self, activations: Activations, images: Tensor) -> Tensor:  # noqa: D102
        info = self._bound(self._info)
        spread = spread_over(info, activations[self.layers[0]]).float()  # (B, units, positions)
        vectors = self.vectors.to(spread.device).expand(spread.shape[0], -1)
        dot: Tensor = torch.einsum("bup,bu->bp", spread, vectors)
        if self.power == 0:
            return dot.mean(1)
        norms = (spread.norm(dim=1) + 1e-4) * (vectors.norm(dim=1) + 1e-4)[:, None]
        towards: Tensor = (dot / norms).clamp(min=0.1) ** self.power
        return (dot * towards).mean(1)

    def describe(self) -> str:  # noqa: D102
        digest = digest_of(self.vectors.cpu().double())
        power = f", power={number(self.power)}" if self.power else ""
        return f"direction({self.layers[0]}, {digest}{power})"

    def stacks_with(self) -> tuple[object, ...]:  # noqa: D102
        return (Direction, self.layers, self.power)

    @classmethod
    def stack(cls, objectives: Sequence[Any]) -> Objective:  # noqa: D102
        first: Direction = objectives[0]
        return copy_with(first, vectors=torch.cat([objective.vectors for objective in objectives]))


def direction(layer: str, vector: Tensor | Sequence[float], power: float = 0.0) -> Direction:
    """Climb a direction of a layer's units: the mean over positions of ⟨a, v⟩ · max(.1, cos(a, v))^p (Lucid).

    Args:
        layer: the layer's name.
        vector: one component for each unit, ``(units,)``.
        power: p, from 0 up; a larger one asks for the direction more than for strength.

    Raises:
        TargetError: no vector, not finite or zero, or a negative power; once bound, other units.

    >>> import featvis as fv
    >>> fv.direction("conv", [1.0, 0.0, -1.0]).layers
    ('conv',)
    """
    return Direction(layer, vector_of("a direction", vector, power)[None], power)
