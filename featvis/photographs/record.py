"""The result of a search as it lies in ``examples.json``, and what of an earlier one can be used again."""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

from featvis.errors import OutputError
from featvis.files import write_whole
from featvis.read import read_json
from featvis.results.fields import is_count
from featvis.results.store import safe_name

RECORD = "examples.json"
CROPS = "examples"

Result = dict[str, Any]


def key_of(layer: str, unit: int) -> str:
    """Return how a unit is called in the result.

    >>> key_of("blocks.3", 5)
    'blocks.3:5'
    """
    return f"{layer}:{unit}"


def crop_name(key: str, rank: int) -> str:
    """Return where a unit's crop goes below the output folder.

    >>> crop_name("blocks.3:5", 0)
    'examples/blocks.3/0005-0.webp'
    """
    layer, _, unit = key.rpartition(":")
    return f"{CROPS}/{safe_name(layer)}/{int(unit):04d}-{rank}.webp"


def read_record(out: Path, about: Result, photos: Collection[str]) -> Result | None:
    """Return an earlier result if all of ``about`` agrees; of its units those that name only ``photos``."""
    try:
        before = read_json(out / RECORD)
    except (OSError, ValueError, OutputError):
        return None
    if not isinstance(before, dict) or any(before.get(name) != value for name, value in about.items()):
        return None
    units, counts = before.get("units"), (before.get("images"), before.get("skipped"))
    if not isinstance(units, dict) or not all(isinstance(count, int) for count in counts):
        return None
    return {
        **before,
        "crops_written": before.get("crops_written") is True,
        "units": {key: unit for key, unit in units.items() if _is_sound(key, unit, photos)},
    }


def write_record(out: Path, result: Result) -> None:
    """Write the result; it appears whole or not at all."""
    # Names that are no UTF-8 stay what they are: JSON's escapes hold them.
    write_whole(out / RECORD, (json.dumps(result, indent=1) + "\n").encode())


def without_crops(out: Path, result: Result) -> list[str]:
    """Return the keys of the units whose crops are not all there."""
    if not result["crops_written"]:
        return list(result["units"])
    files = {key: [crop["file"] for crop in unit["examples"]] for key, unit in result["units"].items()}
    return [key for key, names in files.items() if not all(n is None or (out / n).is_file() for n in names)]


def remove_strays(out: Path, result: Result) -> None:
    """Remove crops of earlier searches that the result does not name."""
    named = {example["file"] for unit in result["units"].values() for example in unit["examples"]}
    root = out.resolve()
    for path in (out / CROPS).glob("*/*.webp"):
        if not path.parent.resolve().is_relative_to(root):  # by a link
            continue
        ours = re.fullmatch(r"\d{4,}-\d+\.webp", path.name)
        if ours and path.relative_to(out).as_posix() not in named:
            path.unlink(missing_ok=True)


def _is_sound(key: str, unit: Any, photos: Collection[str]) -> bool:
    """Whether this is what we write: on its word no other file is read, written or shown."""
    try:
        return all(name in unit for name in ("quantiles", "mean_best", "mean_value", "scores")) and all(
            crop["image"] in photos
            and crop["file"] in (None, crop_name(key, rank))
            and (crop["box"] is None or list(map(is_count, crop["box"])) == [True] * 4)
            and {"value", "position"} <= crop.keys()
            for rank, crop in enumerate(unit["examples"])
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        return False
