"""Layers: a list of a network's layers that shows which of them are worth climbing."""

from __future__ import annotations

from collections.abc import Iterable

from featvis.models.layers.measure import KINDS, LayerInfo
from featvis.notebook import folded, plain, table


class Layers(list[LayerInfo]):
    """A network's layers, as :attr:`ModelHandle.layers` gives them; notebooks show it as a table.

    >>> import featvis as fv, torch
    >>> network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.Identity(), torch.nn.Dropout())
    >>> model = fv.load_model(network, mean=(0.5,) * 3, std=(0.5,) * 3, input_size=16)
    >>> model.layers
    Layers(3 layers of Sequential, 1 worth climbing: 0)
    >>> [layer.name for layer in model.layers.worth_climbing]
    ['0']
    """

    def __init__(self, layers: Iterable[LayerInfo] = (), network: str = "") -> None:
        super().__init__(layers)
        self.network = network

    @property
    def worth_climbing(self) -> Layers:
        """Those whose units can be climbed and are not those of the layer before, handed on."""
        return Layers((layer for layer in self if not _why_not(layer)), self.network)

    def __repr__(self) -> str:
        worth = self.worth_climbing
        names = [layer.name[:60] for layer in worth[:4]] + (["…"] if len(worth) > 4 else [])
        return f"Layers({self._count()}, {len(worth)} worth climbing: {', '.join(names)})"

    def _count(self) -> str:
        count = "1 layer" if len(self) == 1 else f"{len(self)} layers"
        return f"{count} of {self.network}" if self.network else count

    def _repr_html_(self) -> str:
        worth = self.worth_climbing
        outer = [layer for layer in worth if layer.depth < 2]
        inner = [layer for layer in worth if layer.depth >= 2]
        rest = [layer for layer in self if _why_not(layer)]
        parts = [f"<div>{plain(self._count())}, {len(worth)} worth climbing</div>"]
        parts += [_table(outer)] if outer else []
        parts += [folded(f"{len(inner)} inside of these", _table(inner))] if inner else []
        if rest:
            rows = [(layer.name, layer.module, _why_not(layer)) for layer in rest]
            parts.append(folded(f"{len(rest)} not worth climbing", table(("layer", "module", "why"), rows)))
        return f"<div>{''.join(parts)}</div>"


def _table(layers: Iterable[LayerInfo]) -> str:
    rows = [
        (
            layer.name,
            layer.module,
            layer.units,
            "x".join(map(str, layer.shape[1:])),
            KINDS.get(layer.kind, layer.kind),
        )
        for layer in layers
    ]
    return table(("layer", "module", "units", "shape", "layout"), rows)


def _why_not(layer: LayerInfo) -> str:
    """Return why a layer is not worth climbing; empty if it is."""
    if layer.passes:
        return "hands on what it is given"
    return layer.fault or ("" if layer.is_clear else layer.kind)
