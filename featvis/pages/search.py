"""What the pages' script knows of every unit: ``site/units.js``, one table that is also read from disk."""

from __future__ import annotations

import json
from typing import Any

from featvis.pages.entries import Entry, read_table
from featvis.pages.outline import Outline, Unit
from featvis.pages.said import Said, SaidOfUnits

UNITS = "site/units.js"
NOTHING = SaidOfUnits()
"""Where no words were found for any unit."""


def make_units(
    title: str,
    model: str,
    recipes: dict[str, Any],
    names: dict[str, str],
    outline: Outline,
    said: SaidOfUnits = NOTHING,
) -> str:
    """Return the script that hands the units of a gallery to whatever page asks for them.

    A page from disk may load a script, but read no file. It is one call with one table, in ASCII: text in it
    is never markup and never code.
    """
    used = list(dict.fromkeys(entry.recipe for entry in outline.entries))
    table = {
        "title": title,
        "model": model,
        "recipes": [
            {"id": name, "name": names.get(name, ""), "fields": read_table(_finite(recipes.get(name)))}
            for name in used
        ],
        "layers": [
            {
                "name": layer.title,
                "page": layer.page,
                "named": layer.is_named,
                "objectives": layer.name == "",
                "units": [_unit(unit, used, said.of(unit)) for unit in layer.units],
            }
            for layer in outline.layers
        ],
    }
    return f"featvisGallery({json.dumps(table, separators=(',', ':'))});\n"


def _unit(unit: Unit, recipes: list[str], said: Said) -> list[Any]:
    """Return a unit as a row: number, name, label, page, status, marks, verdicts without fault, pictures.

    One for which words were found has these at its end.
    """
    words = [[text for text, _ in said.words]] if said.words else []
    return [
        unit.number,
        unit.name,
        unit.label,
        unit.page,
        unit.lead.status,
        [words for _, words in unit.faults],
        [words for kind, words in unit.marks if kind == "praise"],
        [_picture(entry, recipes) for entry in unit.entries if entry.file is not None],
        *words,
    ]


def _picture(entry: Entry, recipes: list[str]) -> list[Any]:
    """Return a picture as a row: file, height, width, score, what it is, recipe, seed, a view of its own."""
    height, width = entry.size or (0, 0)
    row = [entry.file, height, width, entry.score, entry.what, recipes.index(entry.recipe), entry.seed]
    return row if entry.view is None else [*row, entry.view]


def _finite(value: Any) -> Any:
    """Leave out numbers that JSON has no word for, and what else is no plain data."""
    if isinstance(value, dict):
        return {str(name): _finite(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not -1e308 < value < 1e308:
        return None
    if isinstance(value, int) and abs(value) > 2**63:
        return None
    return value if isinstance(value, str | int | float | bool) else None
