"""The energy of a whole layer: what DeepDream climbs."""

from __future__ import annotations

from torch import Tensor

from featvis.models.layers.measure import LayerInfo
from featvis.models.layers.network import NetworkAt
from featvis.objectives.base import Objective, copy_with, spread_over
from featvis.objectives.shown import Activations


class LayerEnergy(Objective):
    """mean over units and positions of A² (DeepDream, Mordvintsev et al. 2015)."""

    def __init__(self, layer: str) -> None:
        self.layers = (layer,)
        self._info: LayerInfo | None = None

    def bind(self, network: NetworkAt) -> Objective:  # noqa: D102
        return copy_with(self, _info=network.layer(self.layers[0]))

    def score(self, activations: Activations, images: Tensor) -> Tensor:  # noqa: D102
        info = self._bound(self._info)
        spread = spread_over(info, activations[self.layers[0]])
        return spread.float().square().flatten(1).mean(1)

    def describe(self) -> str:  # noqa: D102
        return f"layer({self.layers[0]})"


def layer(name: str) -> LayerEnergy:
    """Climb a whole layer: the mean square of its activations (DeepDream, Mordvintsev et al. 2015).

    Args:
        name: the layer's; tokens that are no positions are left out.

    >>> import featvis as fv
    >>> fv.layer("conv")
    layer(conv)
    """
    return LayerEnergy(name)
