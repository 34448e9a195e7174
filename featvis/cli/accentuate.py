"""``featvis accentuate``: a photograph made to excite units more, without ceasing to be that photograph."""

from __future__ import annotations

from typing import Annotated

import typer

from featvis.cli.network import Device, Mean, Model, Std, UnitAxis, Weights
from featvis.cli.photograph import Canvas, Out, Photo, Recipes, Seed, Steps, check
from featvis.errors import TargetError


def accentuate(
    photo: Photo,
    target: Annotated[
        list[str] | None,
        typer.Option(
            "--target",
            "-t",
            help="A unit: blocks.3:5, classifier:tabby; several, each with --target, give a picture each.",
        ),
    ] = None,
    weight: Annotated[
        float, typer.Option("--weight", help="How hard the photograph pulls; 1: as hard as the unit.")
    ] = 0.1,
    near: Annotated[
        str | None,
        typer.Option("--near", help="The layer in which to stay near it; by default in its pixels."),
    ] = None,
    recipe: Recipes = "accentuate",
    model: Model = "efficientnet_lite0",
    weights: Weights = None,
    size: Canvas = None,
    steps: Steps = None,
    seed: Seed = 0,
    out: Out = None,
    mean: Mean = None,
    std: Std = None,
    unit_axis: UnitAxis = None,
    device: Device = "auto",
) -> int:
    """Accentuate what a unit sees in a photograph. It stays that photograph (Hamblin et al. 2024)."""
    from featvis.spec.target import parse_request

    if not target:
        raise TargetError("say with --target which unit, for instance blocks.3:5 or classifier:tabby")
    for address in target:
        parse_request(address)
    if not weight >= 0:
        raise TargetError(f"--weight is at least 0, got {weight}")
    asked = check(
        "accentuate",
        [photo],
        recipe=recipe,
        size=size,
        steps=steps,
        seed=seed,
        out=out,
        model=model,
        weights=weights,
        mean=mean,
        std=std,
        unit_axis=unit_axis,
        device=device,
    )
    handle, photograph = asked.load()
    from featvis.attribution.scoring import find_target
    from featvis.objectives.accentuation import accentuation

    units = [find_target(handle, address, handle.input_size) for address in dict.fromkeys(target)]
    wanted = [(name, accentuation(unit, photograph, weight=weight, layer=near)) for unit, name in units]
    return asked.draw(handle, photograph, wanted, start=photograph)
