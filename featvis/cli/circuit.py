"""``featvis circuit``: what feeds a unit, as a page that one can walk."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from featvis.cli.checks import canvas_of, check_at_least, check_folder
from featvis.cli.completion import complete_layers
from featvis.cli.network import Network
from featvis.cli.options import AsJson, OutOfCommand, Photographs, Recipe, Size, Steps
from featvis.cli.output import is_quiet, note, print_json, results_folder
from featvis.errors import OutputError

From = Annotated[
    list[str] | None,
    typer.Option(
        "--from",
        help="A layer that feeds the unit; may be repeated.",
        show_default="the layers with weights before it",
        autocompletion=complete_layers,
    ),
]


def circuit(
    target: str,
    sources: From = None,
    levels: int = 2,
    depth: int = 2,
    count: int = 4,
    photographs: Photographs = None,
    recipe: Recipe = "fast",
    size: Size = None,
    steps: Steps = None,
    out: OutOfCommand = None,
    as_json: AsJson = False,
    *,
    network: Network,
) -> int:
    """Show what feeds a unit, and what feeds that. Kernels of weights, or of attribution, as a page to walk.

    Example: featvis circuit blocks.3:12 --levels 1 --count 6

    Args:
        target: The unit, as LAYER:UNIT.
        --levels: How often the inputs of inputs are looked for; 1: the unit's own alone.
        --depth: How many layers back each time, where --from does not name them.
        --count: How many inputs of each layer are shown.
    """
    from featvis.spec.target import parse_request

    parse_request(target)
    network.check([target], list(sources or ()))
    check_at_least(1, levels=levels, depth=depth, count=count, steps=steps)
    canvas = canvas_of(size)
    if photographs is not None and not photographs.is_dir():
        raise OutputError(f"no folder of photographs {str(photographs)!r}")
    folder: Path = out or results_folder() / "circuit"
    check_folder(folder)

    from featvis.explore.walk import PAGE, walk_circuit

    changes = {} if steps is None else {"steps": steps}
    handle = network.load()
    found = walk_circuit(
        handle,
        target,
        sources or (),
        levels=levels,
        depth=depth,
        count=count,
        photographs=photographs,
        recipe=recipe,
        size=canvas,
        out=folder,
        say=None if is_quiet() else note,
        **changes,
    )
    if as_json:
        print_json({**found.to_json(), "page": str(folder / PAGE)})
        return 0
    first = next(iter(found.circuits.values()))
    for path in first.paths:
        print(f"{first.target} from {path.layer}: {path.way}")
        for unit, total in path.strongest(count):
            print(f"  {path.layer}:{unit:<5} {total:+10.4g}")
    print(folder / PAGE)
    return 0
