"""``featvis blocks``: which units of a layer speak for a target, at each place of a photograph."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from featvis.cli.network import Device, Mean, Model, Std, UnitAxis, Weights, check_network, load_network
from featvis.errors import OutputError, RecipeError


def blocks(
    photo: Annotated[Path, typer.Argument(help="A photograph.")],
    target: Annotated[str, typer.Option("--target", "-t", help="One unit, for instance classifier:tabby.")],
    layer: Annotated[str, typer.Option("--layer", "-l", help="The layer whose units contribute.")],
    count: Annotated[int, typer.Option("--count", help="How many units the table lists.")] = 8,
    icons: Annotated[
        Path | None, typer.Option("--icons", help="A gallery that holds pictures of the layer's units.")
    ] = None,
    model: Model = "efficientnet_lite0",
    weights: Weights = None,
    size: Annotated[
        str | None,
        typer.Option("--size", help="The canvas: 224, or HEIGHTxWIDTH; by default the whole photograph."),
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder.")] = Path("gallery/blocks"),
    mean: Mean = None,
    std: Std = None,
    unit_axis: UnitAxis = None,
    device: Device = "auto",
) -> int:
    """List the units that speak for a target. One layer's, with what each contributes to it and where."""
    from featvis.spec.recipe import Recipe
    from featvis.spec.target import parse_request

    parse_request(target)
    if count < 1:
        raise RecipeError(f"--count is at least 1, got {count}")
    canvas = None if size is None else Recipe().but(size=size).size
    numbers = check_network(model, mean, std)
    if not photo.is_file():
        raise OutputError(f"no photograph {str(photo)!r}")
    from featvis.attribution.blocks import find_blocks, load_icons

    pictures = None if icons is None else load_icons(icons, layer)
    handle = load_network(model, weights, numbers, unit_axis, device)
    from featvis.attribution.result import png
    from featvis.files import write_whole

    found = find_blocks(handle, photo, target, layer, size=canvas)
    told = found.to_json(count)
    write_whole(out / "blocks.png", png(found.sheet(count, pictures)))
    write_whole(out / "blocks.json", (json.dumps(told, indent=1) + "\n").encode())
    print(f"{found.target}: score {found.score:.4g}; contributions of {layer} sum to {told['sum']:.4g}")
    for unit, value in found.strongest(count):
        row, column = divmod(int(found.contributions[unit].argmax()), found.contributions.shape[2])
        print(f"  {layer}:{unit:<5} {value:+10.4g}   most at row {row}, column {column}")
    print(out / "blocks.png")
    return 0
