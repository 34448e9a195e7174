"""``featvis style``: one photograph's content in another's style."""

from __future__ import annotations

from pathlib import Path

from featvis.cli.checks import check_at_least
from featvis.cli.network import Network
from featvis.cli.options import Photo, Recipe
from featvis.cli.photograph import Redrawing, check, layers_of


def style(
    content: Photo,
    style: Path,
    content_layer: list[str] | None = None,
    style_layer: list[str] | None = None,
    weight: float = 0.3,
    recipe: Recipe = "style",
    *,
    options: Redrawing,
    network: Network,
) -> int:
    """Give a photograph another's style. Matches activations and Gram matrices (Gatys et al. 2016).

    Example: featvis style cat.jpg art.jpg --content-layer blocks.3 --style-layer blocks.0

    Args:
        style: The photograph whose style it gets.
        --content-layer: A layer whose activations are kept, best a deep one; may be repeated.
        --style-layer: A layer in which styles are compared; repeat it, best for early and deep layers.
        --weight: The weight of the style; the larger, the less is left of the content.
    """
    contents = layers_of(content_layer, "content-layer")
    styles = layers_of(style_layer, "style-layer")
    network.check(layers=[*contents, *styles])
    check_at_least(0, weight=weight)
    asked = check("style", [content, style], recipe, options, network)
    handle, photograph = asked.load()
    from featvis.objectives.match import match
    from featvis.objectives.style import style as style_of
    from featvis.photographs.photos import describe_photograph
    from featvis.run.redraw import lay_photograph

    art = lay_photograph(handle, style, (photograph.shape[1], photograph.shape[2]))
    asked.about["style"] = describe_photograph(style)
    both = match(contents, photograph) + weight * style_of(styles, art)
    return asked.draw(handle, photograph, [(style.stem, both)])
