"""``featvis ablate``: what it does to every class that some units are switched off."""

from __future__ import annotations

from pathlib import Path

from featvis.cli.checks import check_at_least
from featvis.cli.network import Network
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
    network: Network,
) -> int:
    """Switch units off and tell how every class changes. The mean over photographs, with 95 % intervals.

    Example: featvis ablate blocks.4:17,20 photos/

    Args:
        units: The units, as LAYER:UNITS; all are off at once.
        photos: A folder of photographs.
        --mode zero|mean: What the units give instead: nothing, or their mean over the photographs.
        --factor: Scale the units by this instead: 0.5 halves them. [none]
        --mean-of FOLDER: The photographs whose mean --mode mean takes. [those that are shown]
        --count: How many classes are listed that fall, and that rise.
    """
    from featvis.spec.target import parse_request

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

    from featvis.explore.ablate import ablate as ablated

    say = None if is_quiet() else note
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
