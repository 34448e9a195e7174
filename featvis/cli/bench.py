"""``featvis bench``: how close a step comes to the bare forward and backward pass on this machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from featvis.cli.network import Device, Mean, Model, Std, UnitAxis, Weights, check_network, load_network
from featvis.errors import RecipeError


def bench(
    model: Model = "efficientnet_lite0",
    layer: Annotated[str | None, typer.Option("--layer", "-l", help="By default the network's last.")] = None,
    weights: Weights = None,
    recipe: Annotated[
        str | None, typer.Option("--recipe", "-r", help="A recipe's name or TOML file.")
    ] = None,
    size: Annotated[str | None, typer.Option("--size", help="The canvas: 224, or HEIGHTxWIDTH.")] = None,
    lanes: Annotated[
        int | None, typer.Option("--lanes", help="Pictures that one step computes together.")
    ] = None,
    steps: Annotated[
        int | None, typer.Option("--steps", help="Steps of a picture, to tell pictures a minute.")
    ] = None,
    precision: Annotated[str | None, typer.Option("--precision", help="float32 or bfloat16.")] = None,
    threads: Annotated[int | None, typer.Option("--threads", help="CPU threads.")] = None,
    rounds: Annotated[int, typer.Option("--rounds", help="How many steps are timed.")] = 20,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures to this file.")] = None,
    mean: Mean = None,
    std: Std = None,
    unit_axis: UnitAxis = None,
    device: Device = "auto",
) -> int:
    """Time the engine's step beside the bare pass. Takes them in turn; says where the time goes."""
    from featvis.spec.recipe import Recipe

    changes: dict[str, Any] = {
        "size": size,
        "lanes": lanes,
        "steps": steps,
        "precision": precision,
        "threads": threads,
    }
    changes = {name: value for name, value in changes.items() if value is not None}
    (Recipe.load(recipe) if recipe is not None else Recipe()).but(**changes)
    if rounds < 1:
        raise RecipeError(f"--rounds is at least 1, got {rounds}")
    numbers = check_network(model, mean, std)
    handle = load_network(model, weights, numbers, unit_axis, device)
    from featvis.files import write_whole
    from featvis.run.bench import bench as measure

    found = measure(handle, layer or handle.output_layer, rounds=rounds, recipe=recipe, **changes)
    height, width = found.size
    print(f"{found.model} {found.layer}, canvas {height}x{width}, {found.lanes} lanes, {found.precision}")
    print(f"on {found.device}; milliseconds for one picture and step, medians of {rounds}")
    print(f"  bare forward and backward  {found.bare_ms:8.3f}")
    print(f"  whole step                 {found.step_ms:8.3f}")
    for name, milliseconds in found.breakdown.items():
        print(f"    {name:<24} {milliseconds:8.3f}")
    print(f"efficiency {found.efficiency:.2f}, peak memory {found.peak_mb:.0f} MB")
    print(f"{found.pictures_per_minute:.1f} pictures a minute at {found.steps} steps")
    if json_file is not None:
        write_whole(json_file, (json.dumps(found.to_json(), indent=1) + "\n").encode())
    return 0
