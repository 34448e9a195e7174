"""``featvis blocks``: which units of a layer speak for a target, at each place of a photograph."""

from __future__ import annotations

from pathlib import Path

from featvis.cli.checks import canvas_of, check_at_least, check_photo
from featvis.cli.network import Network
from featvis.cli.options import AsJson, Layer, OutOfCommand, Photo, SizeOfPhoto, Target
from featvis.cli.output import print_json, results_folder


def blocks(
    photo: Photo,
    target: Target,
    layer: Layer,
    count: int = 8,
    icons: Path | None = None,
    size: SizeOfPhoto = None,
    out: OutOfCommand = None,
    as_json: AsJson = False,
    *,
    network: Network,
) -> int:
    """List the units that speak for a target. They are a layer's; says what each contributes, and where.

    Example: featvis blocks cat.jpg --target classifier:tabby --layer blocks.4

    Args:
        --count: How many units the table lists.
        --icons: A gallery that holds pictures of the layer's units.
    """
    from featvis.spec.target import parse_request, parse_vectors

    if parse_vectors(target) is None:
        parse_request(target)
    network.check([target], [layer])
    check_at_least(1, count=count)
    canvas = canvas_of(size)
    check_photo(photo)
    folder = out or results_folder() / "blocks"
    from featvis.attribution.blocks import find_blocks, load_icons

    pictures = None if icons is None else load_icons(icons, layer)
    handle = network.load()
    from featvis.attribution.result import json_file, png
    from featvis.files import write_apart
    from featvis.photographs.photos import describe_photograph
    from featvis.results.store import safe_name

    result = find_blocks(handle, photo, target, layer, size=canvas)
    data = {**result.to_json(count), **describe_photograph(photo)}
    files = {
        folder / "blocks.png": png(result.sheet(count, pictures)),
        folder / "blocks.json": json_file(data),
    }
    sheet, _ = write_apart(files, safe_name(f"{photo.stem}-{target}-{layer}".replace(":", "-")))
    if as_json:
        print_json({**data, "sheet": str(sheet)})
        return 0
    print(f"{result.target}: score {result.score:.4g}; contributions of {layer} sum to {data['sum']:.4g}")
    for unit, value in result.strongest(count):
        row, column = divmod(int(result.contributions[unit].argmax()), result.contributions.shape[2])
        print(f"  {layer}:{unit:<5} {value:+10.4g}   most at row {row}, column {column}")
    print(sheet)
    return 0
