"""``featvis blocks``: which units of a layer speak for a target, at each place of a photograph."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from featvis.cli.checks import canvas_of, check_at_least, check_photo
from featvis.cli.fields import choose_recipe
from featvis.cli.network import Network
from featvis.cli.options import (
    AsJson,
    Layers,
    OutOfCommand,
    Photo,
    RecipeOfLayer,
    Seed,
    Set,
    SizeOfPhoto,
    Steps,
    Target,
)
from featvis.cli.output import is_quiet, note, print_json, results_folder
from featvis.cli.photograph import layers_of
from featvis.errors import RecipeError
from featvis.read import read_json


@dataclass
class Grid:
    """What --grid makes of each place.

    Args:
        --grid: Make a page: what each layer sees at every place of the photograph, its units and groups, and
            what they say for the target and against others.
        --against UNIT: A target that the first one is set against; may be repeated. With --grid.
        --groups: Into how many groups a layer's units fall. With --grid.
        --tile: The side of each place's picture in pixels. With --grid.
    """

    grid: bool = False
    against: list[str] | None = None
    groups: int = 6
    tile: int = 64
    recipe: RecipeOfLayer = None
    settings: Set = None
    steps: Steps = None
    seed: Seed = 0


def blocks(
    photo: Photo,
    target: Target,
    layer: Layers = None,
    count: int = 8,
    icons: Path | None = None,
    size: SizeOfPhoto = None,
    out: OutOfCommand = None,
    as_json: AsJson = False,
    *,
    page: Grid,
    network: Network,
) -> int:
    """List the units that speak for a target. They are a layer's; says what each contributes, and where.

    Example: featvis blocks cat.jpg --target classifier:tabby --layer blocks.4 --grid

    Args:
        --count: How many units the table lists.
        --icons: A gallery that holds pictures of the layer's units.
    """
    from featvis.spec.target import parse_request, parse_vectors

    names = layers_of(layer)
    targets = [target, *(page.against or ())]
    for one in targets:
        if parse_vectors(one) is None:
            parse_request(one)
    network.check(targets, names)
    check_at_least(1, count=count, groups=page.groups, tile=page.tile)
    check_at_least(0, seed=page.seed)
    canvas = canvas_of(size)
    check_photo(photo)
    if page.grid:
        return _page(photo, targets, names, icons, canvas, out, page, network, as_json=as_json)
    given = {
        "--against": page.against,
        "--recipe": page.recipe,
        "--set": page.settings,
        "--steps": page.steps,
    }
    if useless := [name for name, value in given.items() if value]:
        raise RecipeError(f"{useless[0]} is of the page that --grid makes; give --grid, too")
    if len(names) > 1:
        raise RecipeError("the table is of one layer; --grid makes a page of several")
    (name,) = names
    folder = out or results_folder() / "blocks"
    from featvis.attribution.blocks import find_blocks, load_icons

    pictures = None if icons is None else load_icons(icons, name)
    handle = network.load()
    from featvis.attribution.result import json_file, png
    from featvis.files import write_apart
    from featvis.photographs.photos import describe_photograph
    from featvis.results.store import safe_name

    result = find_blocks(handle, photo, target, name, size=canvas)
    data = {**result.to_json(count), **describe_photograph(photo)}
    files = {
        folder / "blocks.png": png(result.sheet(count, pictures)),
        folder / "blocks.json": json_file(data),
    }
    sheet, _ = write_apart(files, safe_name(f"{photo.stem}-{target}-{name}".replace(":", "-")))
    if as_json:
        print_json({**data, "sheet": str(sheet)})
        return 0
    print(f"{result.target}: score {result.score:.4g}; contributions of {name} sum to {data['sum']:.4g}")
    for unit, value in result.strongest(count):
        row, column = divmod(int(result.contributions[unit].argmax()), result.contributions.shape[2])
        print(f"  {name}:{unit:<5} {value:+10.4g}   most at row {row}, column {column}")
    print(sheet)
    return 0


def _page(
    photo: Path,
    targets: list[str],
    names: list[str],
    icons: Path | None,
    canvas: tuple[int, int] | None,
    out: Path | None,
    page: Grid,
    network: Network,
    *,
    as_json: bool,
) -> int:
    chosen = choose_recipe(page.recipe, {"steps": page.steps}, page.settings)
    if "size" in chosen.changes:
        raise RecipeError("pictures of places are squares: give --tile, not --set size")
    from featvis.explore.building_blocks import ABOUT, building_blocks
    from featvis.results.store import safe_name

    told = safe_name(f"{photo.stem}-{'-'.join(targets)}-{'-'.join(names)}".replace(":", "-"))
    folder = out or results_folder() / "blocks" / told
    try:
        made = building_blocks(
            network.load(),
            photo,
            targets,
            names,
            folder,
            groups=page.groups,
            canvas=canvas,
            icons=icons,
            seed=page.seed,
            recipe=chosen.base,
            size=page.tile,
            progress=not is_quiet(),
            **chosen.plan_options(),
        )
    except KeyboardInterrupt:
        note(f"interrupted: what is finished is in {folder}; the same command goes on from there")
        return 130
    if as_json:
        print_json({"page": str(made.page), **read_json(folder / ABOUT)})
        return 0
    for one in made.layers:
        for number, name in enumerate(made.targets):
            total = float(one.contributions[number].sum())
            print(
                f"{one.layer} for {name}: score {one.scores[number]:.4g}, contributions {total:.4g}, left "
                f"{one.rest(number):.4g}"
            )
    print(made.page)
    return 0
