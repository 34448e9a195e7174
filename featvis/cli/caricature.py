"""``featvis caricature``: what a layer sees in a photograph, exaggerated."""

from __future__ import annotations

from typing import Annotated

import typer

from featvis.cli.network import Device, Mean, Model, Std, UnitAxis, Weights
from featvis.cli.photograph import Canvas, Layers, Out, Photo, Recipes, Seed, Steps, check, layers_of
from featvis.errors import TargetError


def caricature(
    photo: Photo,
    layer: Layers = None,
    power: Annotated[
        float, typer.Option("--power", help="Of the cosine: larger is more faithful and less strong.")
    ] = 1.0,
    recipe: Recipes = "caricature",
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
    """Exaggerate what a layer sees. Climbs from noise to more of what it sees in a photograph."""
    names = layers_of(layer)
    if not power >= 0:
        raise TargetError(f"--power is at least 0, got {power}")
    asked = check(
        "caricature",
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
    from featvis.objectives.caricature import caricature as more_of

    return asked.draw(handle, photograph, [(name, more_of(name, photograph, power)) for name in names])
