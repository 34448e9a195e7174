"""``featvis layers``: what a network's layers are, and which units they have."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from featvis.cli.network import Device, Mean, Std, UnitAxis, Weights, check_network, load_network
from featvis.errors import TargetError

if TYPE_CHECKING:
    from featvis.models.layers.measure import LayerInfo


def layers(
    model: Annotated[str, typer.Argument(help="The network, as for --model.")] = "efficientnet_lite0",
    weights: Weights = "none",
    size: Annotated[str | None, typer.Option("--size", help="The canvas: 224, or HEIGHTxWIDTH.")] = None,
    search: Annotated[
        str, typer.Option("--search", help="Only layers whose name or module holds this.")
    ] = "",
    fields: Annotated[
        bool, typer.Option("--fields/--no-fields", help="Measure receptive fields (takes seconds).")
    ] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    mean: Mean = None,
    std: Std = None,
    unit_axis: UnitAxis = None,
    device: Device = "cpu",
) -> int:
    """List a network's layers. Module, layout, units, shape, receptive field and stride; needs no weights."""
    from featvis.spec.recipe import Recipe

    canvas = None if size is None else Recipe(size=size).size
    numbers = check_network(model, mean, std)
    handle = load_network(model, weights, numbers, unit_axis, device)
    shown = canvas or handle.input_size
    found = handle.layers_with_receptive_fields(shown) if fields else list(handle.at(shown).layers.values())
    chosen = [one for one in found if search.lower() in f"{one.name} {one.module}".lower()]
    if not chosen:
        raise TargetError(f"no layer of {model} holds {search!r}; it has {len(found)} layers")
    if as_json:
        print(json.dumps([_as_data(one) for one in chosen], indent=1))
        return 0
    print(f"{model}, canvas {shown[0]}x{shown[1]}, trained at {handle.input_size[0]}x{handle.input_size[1]}")
    rows: list[tuple[str, ...]] = [("layer", "module", "layout", "units", "shape", "field", "stride")]
    rows += [_as_row(one) for one in chosen]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    for one in chosen:
        if not one.is_clear:
            print(f"{one.name}: {one.kind}")
    return 0


def _as_row(layer: LayerInfo) -> tuple[str, ...]:
    from featvis.models.layers.measure import KINDS

    field = "" if layer.kind not in ("map", "map_last") or layer.stride is None else "> canvas"
    if layer.receptive_field is not None:
        field = _by(layer.receptive_field)
    return (
        layer.name,
        layer.module,
        KINDS.get(layer.kind, "unclear"),
        str(layer.units) if layer.is_clear else "?",
        _by(layer.shape[1:]),
        field,
        "" if layer.stride is None else _by(layer.stride),
    )


def _as_data(layer: LayerInfo) -> dict[str, Any]:
    return {
        "name": layer.name,
        "module": layer.module,
        "kind": layer.kind,
        "units": layer.units if layer.is_clear else None,
        "axis": layer.axis if layer.is_clear else None,
        "shape": list(layer.shape),
        "receptive_field": layer.receptive_field,
        "stride": layer.stride,
        "calls": layer.calls,
    }


def _by(numbers: tuple[int, ...]) -> str:
    return "x".join(str(number) for number in numbers)
