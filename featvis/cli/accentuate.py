"""``featvis accentuate``: a photograph made to excite units more, without ceasing to be that photograph."""

from __future__ import annotations

from featvis.cli.checks import check_at_least
from featvis.cli.network import Network
from featvis.cli.options import Photo, Recipe, Targets
from featvis.cli.photograph import Redrawing, check
from featvis.errors import TargetError


def accentuate(
    photo: Photo,
    target: Targets = None,
    weight: float = 0.1,
    near: str | None = None,
    recipe: Recipe = "accentuate",
    *,
    options: Redrawing,
    network: Network,
) -> int:
    """Accentuate what a unit sees in a photograph. It stays that photograph (Hamblin et al. 2024).

    Example: featvis accentuate cat.jpg --target classifier:tiger --near blocks.1

    Args:
        --weight: How strongly the picture is kept near the photograph; 1: as strongly as the unit is excited.
        --near: The layer whose activations are kept near the photograph's. [its pixels]
    """
    from featvis.spec.target import parse_request

    if not target:
        raise TargetError("say with --target which unit, for instance blocks.3:5 or classifier:tabby")
    for address in target:
        parse_request(address)
    network.check(target, [near])
    check_at_least(0, weight=weight)
    asked = check("accentuate", [photo], recipe, options, network)
    handle, photograph = asked.load()
    from featvis.attribution.scoring import find_target
    from featvis.objectives.accentuation import accentuation

    units = [find_target(handle, address, handle.input_size) for address in dict.fromkeys(target)]
    wanted = [(name, accentuation(unit, photograph, weight=weight, layer=near)) for unit, name in units]
    return asked.draw(handle, photograph, wanted, start=photograph)
