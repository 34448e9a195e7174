"""``featvis style``: one photograph's content in another's style."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from featvis.cli.network import Device, Mean, Model, Std, UnitAxis, Weights
from featvis.cli.photograph import Canvas, Out, Photo, Recipes, Seed, Steps, check, layers_of
from featvis.errors import TargetError


def style(
    content: Photo,
    style: Annotated[Path, typer.Argument(help="The photograph whose style it gets.")],
    content_layer: Annotated[
        list[str] | None,
        typer.Option("--content-layer", help="Where its content is kept, best a deep one."),
    ] = None,
    style_layer: Annotated[
        list[str] | None,
        typer.Option("--style-layer", help="Where styles are compared, best several, early ones too."),
    ] = None,
    weight: Annotated[
        float, typer.Option("--weight", help="Of the style; the larger, the less is left of the content.")
    ] = 0.3,
    recipe: Recipes = "style",
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
    """Give a photograph another's style. Matches activations and Gram matrices (Gatys et al. 2016)."""
    contents = layers_of(content_layer, "content-layer")
    styles = layers_of(style_layer, "style-layer")
    if not weight >= 0:
        raise TargetError(f"--weight is at least 0, got {weight}")
    asked = check(
        "style",
        [content, style],
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
    from featvis.objectives.style import style as style_of
    from featvis.run.redraw import lay_photograph, tell_photograph

    art = lay_photograph(handle, style, (photograph.shape[1], photograph.shape[2]))
    asked.told["style"] = tell_photograph(style)
    both = match(contents, photograph) + weight * style_of(styles, art)
    return asked.draw(handle, photograph, [(style.stem, both)])
