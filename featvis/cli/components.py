"""``featvis components``: the directions of a layer that photographs use."""

from __future__ import annotations

from pathlib import Path

from featvis.cli.checks import canvas_of, check_at_least
from featvis.cli.network import Network
from featvis.cli.options import AsJson, OutFile, Seed, SizeOfPhoto
from featvis.cli.output import note, print_json
from featvis.errors import OutputError, RecipeError, count_of, unknown

DIRECTIONS = Path("directions.safetensors")
"""Where they go if nobody says where; those of other layers, photographs and methods then lie beside."""


def components(
    layer: str,
    photos: list[Path],
    method: str = "nmf",
    count: int = 8,
    seed: Seed = 0,
    size: SizeOfPhoto = None,
    out: OutFile = DIRECTIONS,
    as_json: AsJson = False,
    *,
    network: Network,
) -> int:
    """Reduce a layer to a few directions. They are found over photographs and saved as rows of one file.

    Example: featvis components blocks.3 photos/ --count 8

    Args:
        layer: A layer whose output is a map (B, C, H, W).
        photos: Photographs, or folders of them.
        --method nmf|pca: Non-negative matrix factorization, or principal components.
        --count: How many directions are found.
    """
    if method not in ("nmf", "pca"):
        raise RecipeError(unknown("method", method, ("nmf", "pca"), "methods: nmf, pca"))
    network.check(layers=[layer])
    check_at_least(1, count=count)
    check_at_least(0, seed=seed)
    canvas = canvas_of(size)
    for path in photos:
        if not path.exists():
            raise OutputError(f"no photograph or folder {str(path)!r}")

    import torch

    from featvis.attribution.attribute import photo_levels
    from featvis.attribution.components import find_components
    from featvis.files import write_anew, write_apart
    from featvis.photographs.photos import list_files
    from featvis.results.store import safe_name

    handle = network.load()
    images = []
    for path in photos:
        for file in [path / name for name in list_files(path).names] if path.is_dir() else [path]:
            try:
                images.append(torch.from_numpy(photo_levels(handle, file, canvas)).float() / 255)
            except OutputError:
                if file is path:
                    raise
                note(f"{file} is no readable photograph and is left out")
    if not images:
        raise OutputError("no photograph in what was given")
    directions = find_components(handle, layer, images, method, count, seed=seed)
    content = directions.to_bytes()
    if out == DIRECTIONS:
        (out,) = write_apart({out: content}, safe_name(f"{layer}-{method}"))
    else:
        write_anew(out, content)
    kind = "squares" if method == "nmf" else "variance"
    explained = f"{directions.explained:.1%} of the activations' {kind}"
    if as_json:
        told = {"layer": layer, "directions": count, "photographs": len(images)}
        print_json({**told, "explained": float(directions.explained), "file": str(out)})
        return 0
    made = f"{count_of(count, 'direction')} of {layer} from {count_of(len(images), 'photograph')}"
    print(f"{made}, {explained}")
    print(out)
    return 0
