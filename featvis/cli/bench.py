"""``featvis bench``: how close a step comes to the bare forward and backward pass on this machine."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from featvis.cli.checks import check_at_least
from featvis.cli.fields import choose_recipe
from featvis.cli.network import Network
from featvis.cli.options import (
    JsonFile,
    Lanes,
    LastLayer,
    Precision,
    RecipeOfLayer,
    Set,
    Size,
    Steps,
    Threads,
)


def bench(
    layer: LastLayer = None,
    recipe: RecipeOfLayer = None,
    settings: Set = None,
    size: Size = None,
    lanes: Lanes = None,
    steps: Steps = None,
    precision: Precision = None,
    threads: Threads = None,
    rounds: Annotated[int, typer.Option("--rounds", help="How many steps are timed.")] = 20,
    json_file: JsonFile = None,
    *,
    network: Network,
) -> int:
    """Time the engine's step beside the bare pass. Takes them in turn; says where the time goes."""
    options = {
        "size": size,
        "lanes": lanes,
        "steps": steps,
        "precision": precision,
        "threads": threads,
    }
    chosen = choose_recipe(recipe, options, settings)
    check_at_least(1, rounds=rounds)
    handle = network.load()
    from featvis.files import write_whole
    from featvis.run.bench import bench as measure

    found = measure(
        handle,
        layer or handle.output_layer,
        rounds=rounds,
        recipe=chosen.base,
        **chosen.plan_options(),
    )
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
