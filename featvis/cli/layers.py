"""``featvis layers``: what a network's layers are, and which units they have."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from featvis.cli.checks import canvas_of
from featvis.cli.network import UntrainedNetwork
from featvis.cli.options import AsJson, Search, SizeOfNetwork
from featvis.errors import TargetError

if TYPE_CHECKING:
    from featvis.models.layers.measure import LayerInfo


def layers(
    network: UntrainedNetwork,
    size: SizeOfNetwork = None,
    search: Search = "",
    fields: bool = True,
    as_json: AsJson = False,
) -> int:
    """List a network's layers. Module, layout, units, shape, receptive field and stride; needs no weights.

    Example: featvis layers torchvision:resnet50 --search layer3

    Args:
        --fields/--no-fields: Measure receptive fields (takes seconds).
    """
    canvas = canvas_of(size)
    handle = network.load()
    shown = canvas or handle.input_size
    every = handle.layers_with_receptive_fields(shown) if fields else list(handle.at(shown).layers.values())
    chosen = [layer for layer in every if search.lower() in f"{layer.name} {layer.module}".lower()]
    if not chosen:
        raise TargetError(f"no layer of {network.model} holds {search!r}; it has {len(every)} layers")
    if as_json:
        print(json.dumps([_as_data(layer) for layer in chosen], indent=1))
        return 0
    print(f"{network.model}, canvas {_by(shown)}, trained at {_by(handle.input_size)}")
    rows: list[tuple[str, ...]] = [("layer", "module", "layout", "units", "shape", "field", "stride")]
    rows += [_as_row(layer) for layer in chosen]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    for layer in chosen:
        if not layer.is_clear:
            print(f"{layer.name}: {layer.kind}")
    return 0


def _as_row(layer: LayerInfo) -> tuple[str, ...]:
    from featvis.models.layers.measure import KINDS

    field = "" if layer.kind not in ("map", "map_last") or layer.stride is None else "> canvas"
    if layer.receptive_field is not None:
        field = _by(layer.receptive_field)
    units = str(layer.units) if layer.is_clear else "?"
    stride = "" if layer.stride is None else _by(layer.stride)
    layout = KINDS.get(layer.kind, "unclear")
    return layer.name, layer.module, layout, units, _by(layer.shape[1:]), field, stride


def _as_data(layer: LayerInfo) -> dict[str, Any]:
    names = ("name", "module", "kind", "units", "axis", "shape", "receptive_field", "stride", "calls")
    data = {name: getattr(layer, name) for name in names}
    return data if layer.is_clear else {**data, "units": None, "axis": None}


def _by(numbers: tuple[int, ...]) -> str:
    return "x".join(str(number) for number in numbers)
