"""``featvis ablate``: what it does to every class that some units are switched off."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from featvis.cli.checks import check_at_least
from featvis.cli.network import Network, NetworkOfTargets
from featvis.cli.options import AsJson, OutFileOrNothing
from featvis.cli.output import is_quiet, note, print_json, write_json
from featvis.errors import OutputError, RecipeError, unknown


def ablate(
    units: list[str],
    photos: Path,
    mode: str = "zero",
    factor: float | None = None,
    mean_of: Path | None = None,
    count: int = 8,
    out: OutFileOrNothing = None,
    as_json: AsJson = False,
    *,
    network: NetworkOfTargets,
) -> int:
    """Switch units off and tell how every class changes. The mean over photographs, with 95 % intervals.

    Of a gallery's folder each unit is switched off by itself, and its page shows which classes suffer.

    Example: featvis ablate blocks.4:17,20 photos/
    Example: featvis ablate gallery/small photos/

    Args:
        units: The units, as LAYER:UNITS; all are off at once. Or a gallery's folder.
        photos: A folder of photographs.
        --mode zero|mean: What the units give instead: nothing, or their mean over the photographs.
        --factor: Scale the units by this instead: 0.5 halves them. [none]
        --mean-of FOLDER: The photographs whose mean --mode mean takes. [those that are shown]
        --count: How many classes are listed that fall, and that rise.
    """
    from featvis.spec.target import parse_request

    gallery = Path(units[0]) if len(units) == 1 and Path(units[0]).is_dir() else None
    if gallery is None:
        network = network.usual()
        for address in units:
            parse_request(address)
        network.check(units)
    if mode not in ("zero", "mean"):
        raise RecipeError(unknown("mode", mode, ("zero", "mean"), "zero, mean, or --factor NUMBER"))
    if factor is not None and mode != "zero":
        raise RecipeError("--factor takes the place of --mode; give one of them")
    if mean_of is not None and mode != "mean":
        raise RecipeError("--mean-of is for --mode mean")
    check_at_least(1, count=count)
    for folder in (photos, mean_of):
        if folder is not None and not folder.is_dir():
            raise OutputError(f"no folder of photographs {str(folder)!r}")
    if out is not None and out.is_dir():
        raise OutputError(f"{out} is a folder; --out is the JSON file")

    say = None if is_quiet() else note
    if gallery is not None:
        if out is not None:
            raise OutputError("of a gallery the result lies in its folder, ablations.json; leave out --out")
        _ablate_gallery(gallery, photos, mode, factor, mean_of, count, as_json, network, say)
        return 0
    from featvis.explore.ablate import ablate as ablated

    handle = network.load()
    found = ablated(handle, units, photos, mode, factor=factor, mean_of=mean_of, say=say)
    if out is not None:
        write_json(out, found.to_json())
    if as_json:
        print_json(found.to_json())
        return 0
    for line in found.lines(count):
        print(line)
    if found.skipped:
        note(f"{found.skipped} of the folder's files are no photographs")
    if out is not None:
        print(out)
    return 0


def _ablate_gallery(
    gallery: Path,
    photos: Path,
    mode: str,
    factor: float | None,
    mean_of: Path | None,
    count: int,
    as_json: bool,
    network: Network,
    say: Callable[[str], None] | None,
) -> None:
    from featvis.results.manifest import read_manifest
    from featvis.results.mirror import with_addresses

    if with_addresses(str(gallery)) != str(gallery):
        raise OutputError(
            f"{gallery}: nothing is written to a gallery elsewhere here; copy it to a folder first"
        )
    manifest = read_manifest(gallery)
    if manifest is None:
        raise OutputError(f"{gallery} holds no pictures that featvis made; it is no gallery")
    from featvis.models.sources.register import check_read_name

    if network.is_named:
        handle = network.load(network.model or check_read_name(str(manifest.get("model")), gallery))
    else:
        from featvis.trust.panel import load_network_of

        handle = load_network_of(gallery, manifest, network.device)
    from featvis.explore.ablate_gallery import ablate_gallery
    from featvis.pages.folder import ABLATIONS

    told = ablate_gallery(gallery, photos, mode, factor=factor, mean_of=mean_of, model=handle, say=say)
    if as_json:
        print_json(told)
        return
    for address, unit in told["units"].items():
        low, high = unit["first_changed_interval"]
        share = f"{unit['first_changed'] / told['photographs']:.1%} ({low:.1%} to {high:.1%})"
        falling = [
            f"{one['label'].partition(',')[0] or one['class']} {one['logit']:+.3g}" for one in unit["falls"]
        ]
        print(
            f"{address}: another class first for {share}; falls most: {', '.join(falling[:count]) or 'none'}"
        )
    if told["skipped"]:
        note(f"{told['skipped']} of the folder's files are no photographs")
    print(gallery / ABLATIONS)
