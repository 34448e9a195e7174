"""``featvis caricature``: what a layer sees in a photograph, exaggerated."""

from __future__ import annotations

from featvis.cli.checks import check_at_least
from featvis.cli.network import Network
from featvis.cli.options import Layers, Photo, Recipe
from featvis.cli.photograph import Redrawing, check, layers_of


def caricature(
    photo: Photo,
    layer: Layers = None,
    power: float = 1.0,
    recipe: Recipe = "caricature",
    *,
    options: Redrawing,
    network: Network,
) -> int:
    """Exaggerate what a layer sees. Climbs from noise to more of what it sees in a photograph.

    Example: featvis caricature cat.jpg --layer blocks.3

    Args:
        --power: The power of the cosine in the score: a larger one stays closer to the photograph
            and is weaker.
    """
    names = layers_of(layer)
    network.check(layers=names)
    check_at_least(0, power=power)
    asked = check("caricature", [photo], recipe, options, network)
    handle, photograph = asked.load()
    from featvis.objectives.caricature import caricature as more_of

    return asked.draw(handle, photograph, [(name, more_of(name, photograph, power)) for name in names])
