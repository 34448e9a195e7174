"""``featvis invert``: what a layer keeps of a photograph."""

from __future__ import annotations

from featvis.cli.network import Network
from featvis.cli.options import Layers, Photo, Recipe
from featvis.cli.photograph import Redrawing, check, layers_of


def invert(
    photo: Photo, layer: Layers = None, recipe: Recipe = "invert", *, options: Redrawing, network: Network
) -> int:
    """Show what a layer keeps of a photograph. Climbs from noise to an image that gives it the same.

    Example: featvis invert cat.jpg --layer blocks.0 --layer blocks.2
    """
    names = layers_of(layer)
    network.check(layers=names)
    asked = check("invert", [photo], recipe, options, network)
    handle, photograph = asked.load()
    from featvis.objectives.match import match

    return asked.draw(handle, photograph, [(name, match(name, photograph)) for name in names])
