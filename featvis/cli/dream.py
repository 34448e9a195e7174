"""``featvis dream``: a photograph, with more of whatever a layer finds in it."""

from __future__ import annotations

from featvis.cli.network import Network
from featvis.cli.options import Layers, Photo, Recipe
from featvis.cli.photograph import Redrawing, check, layers_of
from featvis.errors import RecipeError


def dream(
    photo: Photo,
    layer: Layers = None,
    octaves: int = 4,
    octave_scale: float = 1.4,
    recipe: Recipe = "dream",
    *,
    options: Redrawing,
    network: Network,
) -> int:
    """Dream on a photograph. Climbs a layer's energy over octaves (Mordvintsev et al. 2015).

    Example: featvis dream cat.jpg --layer blocks.4

    Args:
        --octaves: On how many canvases, from small to large; none below 48 pixels is used.
        --octave-scale: How much larger each canvas is than the one before.
    """
    names = layers_of(layer)
    network.check(layers=names)
    if octaves < 1 or not octave_scale > 1:
        problem = f"got {octaves} and {octave_scale}"
        raise RecipeError(f"--octaves is at least 1 and --octave-scale above 1, {problem}")
    asked = check("dream", [photo], recipe, options, network)
    if "stages" in asked.given:
        raise RecipeError("the stages of a dream are its octaves; give --octaves and --octave-scale")
    handle, photograph = asked.load()
    from featvis.objectives.layer import layer as energy
    from featvis.run.redraw import octaves as stages_of

    stages = stages_of((photograph.shape[1], photograph.shape[2]), octaves, octave_scale)
    # A gradient's length is over all pixels; each shall move as far as on the canvas that the recipe names.
    # A length that was typed is meant for the canvas as it is.
    length, (height, width) = asked.recipe.gradient_norm, asked.made_for
    if length is not None and "gradient_norm" not in asked.given:
        length *= (photograph.shape[1] * photograph.shape[2] / (height * width)) ** 0.5
    asked.recipe = asked.recipe.but(size=tuple(photograph.shape[1:]), stages=stages, gradient_norm=length)
    return asked.draw(handle, photograph, [(name, energy(name)) for name in names], start=photograph)
