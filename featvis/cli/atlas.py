"""``featvis atlas``: a map of what a layer's activations are, from a folder of photographs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from featvis.cli.checks import check_at_least, check_folder, numbers_of
from featvis.cli.fields import choose_recipe
from featvis.cli.network import Network
from featvis.cli.options import AsJson, Lanes, Layer, OutOfCommand, RecipeOfLayer, Seed, Set, Steps
from featvis.cli.output import is_quiet, note, print_json, results_folder
from featvis.errors import OutputError, RecipeError, count_of, unknown
from featvis.read import read_json


@dataclass
class Cells:
    """What becomes of the activations.

    Args:
        --beside LAYER: A layer that is drawn beside the first one, of the same positions and with its layout.
        --beside-model MODEL: The network of that layer. [the same]
        --count: How many activations are sampled.
        --grids NUMBERS: How many cells each zoom is wide and high, with commas between them.
        --least: How many activations a cell holds at least; others are left out.
        --layout tsne|pca|umap: How activations are laid out; umap needs the extra featvis[atlas].
        --whiten/--no-whiten: Whether cells are rendered as what sets them apart from all activations.
        --scales NUMBERS: The photographs are shown at each of these; 1 has the network's input as its shorter
            side.
        --patches: How many patches of photographs the page shows for each cell.
        --title: The page's heading. [the layer's name]
    """

    beside: str | None = None
    beside_model: str | None = None
    count: int = 20_000
    grids: str = "10,20"
    least: int = 4
    layout: str = "tsne"
    whiten: bool = True
    scales: str = "1"
    patches: int = 4
    title: str = ""


def atlas(
    photos: Path,
    layer: Layer,
    *,
    cells: Cells,
    recipe: RecipeOfLayer = None,
    settings: Set = None,
    cell: int = 96,
    steps: Steps = None,
    lanes: Lanes = None,
    seed: Seed = 0,
    out: OutOfCommand = None,
    as_json: AsJson = False,
    network: Network,
) -> int:
    """Draw a map of a layer's activations. Cells that the folder has already are not rendered again.

    Example: featvis atlas photos/ --layer blocks.4 --grids 10,20

    Args:
        photos: A folder of photographs.
        --cell: The side of each cell's picture in pixels.
    """
    chosen = choose_recipe(recipe, {"steps": steps, "lanes": lanes}, settings)
    if "size" in chosen.changes:
        raise RecipeError("a map's cells are squares: give --cell, not --set size")
    if not photos.is_dir():
        what = "is a file, not a folder" if photos.exists() else "does not exist"
        raise OutputError(f"the folder of photographs {str(photos)!r} {what}")
    scales = numbers_of("--scales", cells.scales, float)
    grids = numbers_of("--grids", cells.grids, int)
    if cells.least < 1:
        raise RecipeError(f"--least is at least 1, got {cells.least}")
    check_at_least(1, cell=cell)
    check_at_least(2, count=cells.count)
    check_at_least(0, patches=cells.patches, seed=seed)
    if cells.layout not in ("tsne", "pca", "umap"):
        raise RecipeError(unknown("layout", cells.layout, ("tsne", "pca", "umap"), "tsne, pca or umap"))
    if cells.beside_model is not None and cells.beside is None:
        raise RecipeError("--beside-model is the network of --beside LAYER; name that layer")
    network.check(layers=[layer, cells.beside if cells.beside_model is None else None])
    folder = out or results_folder() / "atlas"
    check_folder(folder)
    from featvis.explore.atlas import ABOUT
    from featvis.explore.atlas import atlas as draw

    handle = network.load()
    beside = None
    if cells.beside is not None:
        other = None if cells.beside_model is None else Network(cells.beside_model, device=network.device)
        beside = cells.beside if other is None else (other.load(), cells.beside)
    try:
        made = draw(
            handle,
            layer,
            photos,
            folder,
            beside=beside,
            count=cells.count,
            grids=grids,
            least=cells.least,
            layout=cells.layout,
            whiten=cells.whiten,
            scales=scales,
            patches=cells.patches,
            title=cells.title,
            seed=seed,
            recipe=chosen.base,
            size=cell,
            progress=not is_quiet(),
            **chosen.plan_options(),
        )
    except KeyboardInterrupt:
        note(f"interrupted: what is finished is in {folder}; the same command goes on from there")
        return 130
    if as_json:
        told = read_json(folder / ABOUT)
        print_json({"page": str(made.page), **{name: told[name] for name in told if name != "grids"}})
        return 0
    photographs = count_of(made.sample.photographs, "photograph")
    print(f"{count_of(len(made.places), 'activation')} of {layer} from {photographs}")
    for sheet in made.sheets[0]:
        alike = ""
        if sheet.likeness is not None:
            alike = (
                f"; cosine of neighbours {sheet.likeness.neighbours:.2f}, of any two "
                f"{sheet.likeness.others:.2f}"
            )
        print(f"  {sheet.cells.side}x{sheet.cells.side}: {count_of(len(sheet.cells), 'cell')}{alike}")
    print(made.page)
    return 0
