"""Alignment: pictures of one batch that show a thing at the same place."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from featvis.errors import TargetError
from featvis.models.layers.measure import LayerInfo
from featvis.models.layers.network import NetworkAt
from featvis.objectives.base import Objective, copy_with, number
from featvis.objectives.shown import Activations

REACH = 4
"""Pictures farther apart in the batch are not compared."""


class Alignment(Objective):
    """−½ Σ_{|a−b| = d ≤ 4} mean (A_a − A_b)² / ρ^d for picture b, the mean over layers (Lucid). Coupled.

    A pair's distance is shared by its two, so the scores sum to −Σ_d Σ_i mean (A_i − A_{i+d})² / ρ^d.
    """

    coupled = True

    def __init__(self, layers: Sequence[str], decay: float = 2.0) -> None:
        self.layers, self.decay = tuple(layers), decay
        self._infos: tuple[LayerInfo, ...] = ()

    def bind(self, network: NetworkAt) -> Objective:  # noqa: D102
        return copy_with(self, _infos=tuple(network.layer(name) for name in self.layers))

    def score(self, activations: Activations, images: Tensor) -> Tensor:  # noqa: D102
        lanes = images.shape[0]
        total = images.new_zeros(lanes)
        for name in self.layers:
            activation = activations[name].float().flatten(1)
            for apart in range(1, min(REACH, lanes - 1) + 1):
                pairs = (activation[apart:] - activation[:-apart]).square().mean(1) / (2 * self.decay**apart)
                none = pairs.new_zeros(apart)
                total = total - torch.cat((pairs, none)) - torch.cat((none, pairs))
        return total / len(self.layers)

    def describe(self) -> str:  # noqa: D102
        return f"alignment({', '.join(self.layers)}, decay={number(self.decay)})"


def alignment(layers: str | Sequence[str], decay: float = 2.0) -> Alignment:
    """Keep the pictures of a set alike, place by place: ``fv.interpolation(a, b) + 0.1 * fv.alignment(…)``.

    At most 0, and coupled (Lucid): render it with several seeds.

    Args:
        layers: whose activations are compared, a name or several.
        decay: ρ, above 0; how much less pictures count that are one farther apart.

    Raises:
        TargetError: no layer, or a decay that is not above 0.

    >>> import featvis as fv
    >>> fv.alignment("conv").coupled
    True
    """
    names = (layers,) if isinstance(layers, str) else tuple(layers)
    if not names:
        raise TargetError("alignment: name at least one layer")
    if not decay > 0:
        raise TargetError(f"alignment: decay is above 0, got {decay}")
    return Alignment(names, decay)
