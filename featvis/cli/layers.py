"""``featvis layers``: what a network's layers are, and which units they have."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from featvis.cli.checks import canvas_of
from featvis.cli.network import UntrainedNetwork
from featvis.cli.options import AsJson, Search, SizeOfNetwork
from featvis.cli.output import print_json
from featvis.errors import TargetError, count_of

if TYPE_CHECKING:
    from featvis.models.layers.measure import LayerInfo
    from featvis.models.layers.network import NetworkAt


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
    if canvas is not None and handle.signal and "x" not in str(size):
        canvas = (1, canvas[1])
    shown = canvas or handle.input_size
    measured = handle.layers_with_receptive_fields(shown) if fields else None
    network_at = handle.at(shown)
    every = _with_further_names(
        list(network_at.layers.values()) if measured is None else measured, network_at
    )
    chosen = [layer for layer in every if search.lower() in f"{layer.name} {layer.module}".lower()]
    if not chosen:
        has = count_of(len(every), "layer")
        raise TargetError(f"no layer of {network.model} holds {search!r}; it has {has}")
    if as_json:
        print_json([_as_data(layer, network_at, fields=fields) for layer in chosen])
        return 0
    print(f"{network.model}, canvas {_by(shown)}, trained at {_by(handle.input_size)}")
    rows: list[tuple[str, ...]] = [("layer", "module", "layout", "units", "shape", "field", "stride")]
    rows += [_as_row(layer, network_at, fields=fields) for layer in chosen]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    for layer in chosen:
        if not layer.is_clear:
            print(f"{layer.name}: {layer.kind}")
    return 0


def _with_further_names(layers: list[LayerInfo], network: NetworkAt) -> list[LayerInfo]:
    """Return the layers with the calls and second names that they have besides, each after its layer."""
    own = {id(module): name for name, module in network.module.named_modules()}
    modules = dict(network.module.named_modules(remove_duplicate=False))
    further: dict[str, list[LayerInfo]] = {}
    for name, info in network.others.items():
        first = own[id(modules[name])] if name in modules else name.rpartition("#")[0]
        further.setdefault(first, []).append(info)
    found = []
    for layer in layers:
        found.append(layer)
        for info in further.get(layer.name, ()):
            # What was measured holds under each of a module's names, and it was of the last call.
            same = info.name in modules or info.name == f"{layer.name}#{layer.calls}"
            found.append(replace(info, receptive_field=layer.receptive_field) if same else info)
    return found


def _is_measured(layer: LayerInfo, network: NetworkAt, *, fields: bool) -> bool:
    """Whether it was measured how much of the canvas a layer's positions see: of its last call."""
    name, call, number = layer.name.rpartition("#")
    return fields and (not call or number == str(network.layers[name].calls))


def _as_row(layer: LayerInfo, network: NetworkAt, *, fields: bool) -> tuple[str, ...]:
    from featvis.models.layers.measure import KINDS

    field = "" if layer.kind not in ("map", "map_last") or layer.stride is None else "> canvas"
    if layer.receptive_field is not None:
        field = _by(layer.receptive_field)
    elif field and not _is_measured(layer, network, fields=fields):
        field = "not measured"
    units = str(layer.units) if layer.is_clear else "?"
    stride = "" if layer.stride is None else _by(layer.stride)
    layout = KINDS.get(layer.kind, "unclear")
    return layer.name, layer.module, layout, units, _by(layer.shape[1:]), field, stride


def _as_data(layer: LayerInfo, network: NetworkAt, *, fields: bool) -> dict[str, Any]:
    """Return what is known of a layer: null is a field beyond the canvas; one not measured has no entry."""
    names = ("name", "module", "kind", "units", "axis", "shape", "receptive_field", "stride", "calls")
    data = {name: getattr(layer, name) for name in names}
    if not _is_measured(layer, network, fields=fields):
        del data["receptive_field"]
    return data if layer.is_clear else {**data, "units": None, "axis": None}


def _by(numbers: tuple[int, ...]) -> str:
    return "x".join(str(number) for number in numbers)
