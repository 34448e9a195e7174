"""``featvis evaluate``: how far a folder's pictures are to be believed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from featvis.cli.network import Device, Mean, Std, UnitAxis, Weights, check_network, load_network, note
from featvis.errors import OutputError, RecipeError, UserError


def evaluate(
    folder: Annotated[Path, typer.Argument(help="A folder of pictures, or a gallery.")],
    judge: Annotated[
        list[str] | None,
        typer.Option(
            "--judge",
            "-j",
            help="A network that took no part; may be repeated. By default the embedded ones.",
        ),
    ] = None,
    examples: Annotated[
        Path | None, typer.Option("--examples", help="A folder of photographs to compare with.")
    ] = None,
    batch: Annotated[
        int, typer.Option("--batch", help="How many pictures stand together for BatchNorm statistics.")
    ] = 8,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything that was found as JSON.")] = False,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            help="The pictures' network; by default the folder's, a gallery's as its config says.",
        ),
    ] = None,
    weights: Weights = None,
    mean: Mean = None,
    std: Std = None,
    unit_axis: UnitAxis = None,
    device: Device = "auto",
) -> int:
    """Judge the saved pictures of a folder. Enters a verdict for each in the manifest and the pages."""
    if batch < 1:
        raise RecipeError(f"--batch is at least 1, got {batch}")
    if not folder.is_dir():
        raise OutputError(
            f"{folder} is a file, not a folder" if folder.exists() else f"no folder {str(folder)!r}"
        )
    if examples is not None and not examples.is_dir():
        raise UserError(f"no folder of photographs {str(examples)!r}")
    numbers = check_network(model or "x", mean, std)
    for name in judge or ():
        check_network(name, None, None)
    from featvis.trust.panel import load_network_of, name_of_network
    from featvis.trust.subjects import read_folder

    manifest = read_folder(folder)
    if (model, weights, mean, std, unit_axis) == (None,) * 5:
        own = load_network_of(folder, manifest, device)
        for line in own.notes:
            note(line)
    else:
        own = load_network(model or name_of_network(manifest), weights, numbers, unit_axis, device)
    judges = None if judge is None else [load_network(name, None, {}, None, device) for name in judge]
    from featvis.trust.evaluation import evaluate as measure

    found = measure(folder, judges=judges, model=own, examples=examples, batch=batch, say=note)
    if as_json:
        print(json.dumps(found, indent=1))
    else:
        _tell(found)
    return 0


def _tell(found: dict[str, Any]) -> None:
    for name, told in found["judges"].items():
        seen = told.get("transfer", {})
        if not seen.get("pictures"):
            print(f"{name} names no class that these are pictures of")
        else:
            low, high = seen["top1_interval"]
            print(
                f"{name}: {seen['pictures']} classes, first {seen['top1']:.1%} ({low:.1%} to {high:.1%}), "
                f"among five {seen['top5']:.1%}, mean probability {seen['probability']:.3f}, "
                f"margin {seen['margin']:.2f}"
            )
        if permuted := told.get("permuted_labels"):
            print(f"  asked for other pictures' classes: first {permuted['top1']:.1%}")
        if nature := told.get("naturalness"):
            print(
                f"  BatchNorm statistics in batches of {nature['batch']}: "
                f"D_mu {nature['shift']:.3f}, D_sigma {nature['spread']:.3f}"
            )
    looks = [one["look"] for one in found["pictures"] if "look" in one]
    for name, (low, high) in found["photographs"]["ranges"].items():
        values = [one[name] for one in looks if one[name] is not None]
        if values:
            inside = sum(low <= value <= high for value in values)
            print(
                f"{name.replace('_', ' ')}: mean {sum(values) / len(values):.3f}, {inside} of {len(looks)} "
                f"inside photographs' {low:.3g} to {high:.3g}"
            )
    for told in found["controls"]["random_weights"]:
        if told["cascade"]:
            print(
                f"{told['layer']}: {told['trained']:.1f} standard deviations above noise, "
                f"{told['cascade'][-1]['z']:.1f} with random weights"
            )
    print("verdicts:")
    for verdict, count in found["verdicts"].items():
        print(f"  {count:5d}  {verdict}")
    if found["missing"]:
        print(f"{found['missing']} pictures failed or are not in the folder: nothing is said of them")
