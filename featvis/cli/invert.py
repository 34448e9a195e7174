"""``featvis invert``: what a layer keeps of a photograph."""

from __future__ import annotations

from featvis.cli.network import Device, Mean, Model, Std, UnitAxis, Weights
from featvis.cli.photograph import Canvas, Layers, Out, Photo, Recipes, Seed, Steps, check, layers_of


def invert(
    photo: Photo,
    layer: Layers = None,
    recipe: Recipes = "invert",
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
    """Show what a layer keeps of a photograph. Climbs from noise to an image that gives it the same."""
    names = layers_of(layer)
    asked = check(
        "invert",
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
    from featvis.objectives.match import match

    return asked.draw(handle, photograph, [(name, match(name, photograph)) for name in names])
