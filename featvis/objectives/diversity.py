"""How alike the pictures of one batch are, by what goes together in them; subtract it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor
from torch.nn import functional

from featvis.models.layers.measure import LayerInfo
from featvis.models.layers.network import NetworkAt
from featvis.objectives.base import Objective, copy_with, spread_over
from featvis.objectives.shown import Activations
from featvis.spec.register import part


@part("diversity")
class Diversity(Objective):
    """Each picture's share of how alike the pictures of a batch are at a layer (Lucid).

    ⟨Ĝ_b, Σ_{a≠b} Ĝ_a⟩ / B for picture b of B, G = F Fᵀ over the positions of a layer, Ĝ = G / ‖G‖; the
    shares sum to (‖Σ Ĝ‖² - B) / B. Coupled: the pictures of a set are rendered together. Without ``layer`` it
    reads the target's own, for a class the last with a map before it. With ``relative`` a share is multiplied
    by the root mean square of its picture's activations there, as a constant, so that one weight does for
    networks of any scale.
    """

    layer: str = ""
    relative: bool = False

    coupled = True

    def beside(self, layers: Sequence[str], units: Sequence[int] = ()) -> Objective:  # noqa: D102
        return copy_with(self, _until=tuple(layers))

    def bind(self, network: NetworkAt) -> Objective:  # noqa: D102
        info = network.layer(self.layer) if self.layer else _own(network, self._until)
        return copy_with(self, layers=(info.name,), _info=info)

    def score(self, activations: Activations, images: Tensor) -> Tensor:  # noqa: D102
        info = self._bound(self._info)
        spread = spread_over(info, activations[info.name]).float()
        grams = functional.normalize((spread @ spread.mT).flatten(1), dim=1)
        alike = grams @ grams.mT
        shares: Tensor = (alike.sum(1) - alike.diagonal()) / len(grams)
        if self.relative:
            shares = shares * spread.detach().square().flatten(1).mean(1).sqrt()
        return shares

    def describe(self) -> str:  # noqa: D102
        options = [self.layer] if self.layer else []
        return f"diversity({', '.join([*options, *(['relative'] if self.relative else [])])})"

    _until: ClassVar[tuple[str, ...]] = ()
    _info: ClassVar[LayerInfo | None] = None


def _own(network: NetworkAt, until: Sequence[str]) -> LayerInfo:
    """The target's layer; if it has no positions, the last before it that has several."""
    last = max(
        (network.layer(name) for name in until or (network.output_layer,)), key=lambda info: info.order
    )
    if last.kind != "vector":
        return last
    before = [
        info
        for info in network.layers.values()
        if info.order < last.order
        and info.is_clear
        and math.prod(info.shape) // info.units - info.prefix > 1
        and network.first_without_weights(info) is None
    ]
    return max(before, key=lambda info: info.order, default=last)


def diversity(layer: str, *, relative: bool = False) -> Objective:
    """How alike the pictures of a set are at a layer, to be subtracted: ``… - 10 * fv.diversity("conv")``.

    Coupled (Lucid): render it with ``seeds=4``, and the four pictures are computed together.

    Args:
        layer: the layer's name.
        relative: multiply by the root mean square of the picture's activations there, as a constant.

    >>> import featvis as fv
    >>> fv.channel("conv", 3) - 10 * fv.diversity("conv")
    1*conv:3 + -10*diversity(conv)
    """
    return Diversity(layer=layer, relative=relative)  # type: ignore[call-arg]
