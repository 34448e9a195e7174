"""``featvis dream``: a photograph, with more of whatever a layer finds in it."""

from __future__ import annotations

from typing import Annotated

import typer

from featvis.cli.network import Device, Mean, Model, Std, UnitAxis, Weights
from featvis.cli.photograph import Canvas, Layers, Out, Photo, Recipes, Seed, Steps, check, layers_of
from featvis.errors import RecipeError


def dream(
    photo: Photo,
    layer: Layers = None,
    octaves: Annotated[
        int, typer.Option("--octaves", help="Canvases, small ones first; below 48 pixels none is used.")
    ] = 4,
    octave_scale: Annotated[
        float, typer.Option("--octave-scale", help="How much larger each is than the one before.")
    ] = 1.4,
    recipe: Recipes = "dream",
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
    """Dream on a photograph. Climbs a layer's energy over octaves (Mordvintsev et al. 2015)."""
    names = layers_of(layer)
    if octaves < 1 or not octave_scale > 1:
        raise RecipeError(
            f"--octaves is at least 1 and --octave-scale above 1, got {octaves} and {octave_scale}"
        )
    asked = check(
        "dream",
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
    from featvis.objectives.layer import layer as energy
    from featvis.run.redraw import octaves as stages_of

    stages = stages_of((photograph.shape[1], photograph.shape[2]), octaves, octave_scale)
    # A gradient's length is over all pixels; each shall move as far as on the canvas that the recipe names.
    length, (height, width) = asked.recipe.gradient_norm, asked.recipe.size
    if length is not None:
        length *= (photograph.shape[1] * photograph.shape[2] / (height * width)) ** 0.5
    asked.recipe = asked.recipe.but(size=tuple(photograph.shape[1:]), stages=stages, gradient_norm=length)
    return asked.draw(handle, photograph, [(name, energy(name)) for name in names], start=photograph)
