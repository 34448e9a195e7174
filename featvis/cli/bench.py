"""``featvis bench``: how close a step comes to the bare forward and backward pass on this machine."""

from __future__ import annotations

from pathlib import Path

from featvis.cli import options
from featvis.cli.checks import check_at_least
from featvis.cli.fields import choose_recipe
from featvis.cli.network import Network
from featvis.cli.output import STDOUT, print_json, write_json
from featvis.errors import count_of


def bench(
    layer: options.LastLayer = None,
    recipe: options.RecipeOfLayer = None,
    settings: options.Set = None,
    size: options.Size = None,
    lanes: options.Lanes = None,
    steps: options.Steps = None,
    precision: options.Precision = None,
    threads: options.Threads = None,
    rounds: int = 20,
    as_json: options.JsonOrFile = None,
    *,
    network: Network,
) -> int:
    """Time the engine's step beside the bare pass. Takes them in turn; says where the time goes.

    The steps that are timed are those after the recipe's redirect_steps.

    Example: featvis bench --layer blocks.3 --lanes 8

    Args:
        --rounds: How many steps are timed.
    """
    fields = {"size": size, "lanes": lanes, "steps": steps, "precision": precision, "threads": threads}
    chosen = choose_recipe(recipe, fields, settings)
    network.check(layers=[layer])
    check_at_least(1, rounds=rounds)
    handle = network.load()
    from featvis.run.bench import bench as measure

    timing = measure(
        handle, layer or handle.output_layer, rounds=rounds, recipe=chosen.base, **chosen.plan_options()
    )
    if as_json == STDOUT:
        print_json(timing.to_json())
        return 0
    height, width = timing.size
    shape = f"canvas {height}x{width}, {count_of(timing.lanes, 'lane')}, {timing.precision}"
    print(f"{timing.model} {timing.layer}, {shape}")
    print(f"on {timing.device}; milliseconds for one picture and step, medians of {rounds}")
    print(f"  bare forward and backward  {timing.bare_ms:8.3f}")
    print(f"  whole step                 {timing.step_ms:8.3f}")
    if timing.replayed:
        print("  replayed; its parts, of steps that are computed one by one:")
    for name, milliseconds in timing.breakdown.items():
        print(f"    {name:<24} {milliseconds:8.3f}")
    print(f"efficiency {timing.efficiency:.2f}, peak memory {timing.peak_mb:.0f} MB")
    print(f"{timing.pictures_per_minute:.1f} pictures a minute at {count_of(timing.steps, 'step')}")
    if as_json is not None:
        write_json(Path(as_json), timing.to_json())
    return 0
