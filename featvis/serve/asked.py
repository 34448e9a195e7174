"""What a page asks for, read as what it is: somebody's text. No torch in here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from featvis.errors import RecipeError, TargetError, unknown
from featvis.spec.recipe import recipe_files
from featvis.spec.target import parse_request, parse_vectors

OF_PHOTOGRAPHS = ("accentuate", "caricature", "dream", "invert", "style")
"""Recipes that begin with a photograph, or need one."""
LIMITS = {"size": (8, 512), "steps": (1, 2048), "seed": (0, 2**32 - 1)}
"""The least and the most of each whole number that may be asked for."""
RATES = (1e-5, 10.0)
"""The least and the most learning rate."""


@dataclass(frozen=True)
class Asked:
    """One picture, as a page asks for it."""

    network: str
    target: str
    recipe: str | None = None
    seed: int = 0
    slot: str = ""
    """The page's own name for the place where it shows it."""
    changes: dict[str, Any] = field(default_factory=dict)
    """Fields of the recipe that are others: ``size``, ``steps``, ``learning_rate``."""


def recipes() -> list[str]:
    """Return the named recipes that need no photograph.

    >>> {"fast", "channel"} <= set(recipes()), "dream" in recipes()
    (True, False)
    """
    return [name for name in recipe_files() if name not in OF_PHOTOGRAPHS]


def read_asked(table: object) -> Asked:
    """Read a picture's request. No file is named by it: neither a recipe's nor one of directions.

    Args:
        table: what came, parsed as JSON.

    Raises:
        RecipeError: it is no table, or something in it is unknown or out of range.
        TargetError: the target does not parse, or names a file.

    >>> read_asked({"network": "n", "target": "conv:3", "recipe": "fast", "steps": 8}).changes
    {'steps': 8}
    """
    _check_names(table, ("network", "target", "recipe", "slot", "learning_rate", *LIMITS))
    assert isinstance(table, Mapping)
    target = _text(table, "target")
    if "\0" in target or parse_vectors(target) is not None:
        raise TargetError(
            "the explorer draws units of the network; directions in files are for featvis render"
        )
    parse_request(target)
    recipe = _text(table, "recipe") if table.get("recipe") else None
    if recipe is not None and recipe not in recipes():
        raise RecipeError(unknown("recipe", recipe, recipes(), f"recipes: {', '.join(recipes())}"))
    numbers = {name: _number(table, name) for name in LIMITS if table.get(name) is not None}
    rate = table.get("learning_rate")
    if rate is not None:
        if isinstance(rate, bool) or not isinstance(rate, int | float) or not RATES[0] <= rate <= RATES[1]:
            raise RecipeError(f"learning_rate is a number from {RATES[0]:g} to {RATES[1]:g}, got {rate!r}")
        numbers["learning_rate"] = float(rate)
    seed = int(numbers.pop("seed", 0))
    slot = _text(table, "slot") if table.get("slot") else ""
    return Asked(_text(table, "network"), target, recipe, seed, slot, numbers)


@dataclass(frozen=True)
class Unit:
    """A unit whose photographs are asked for."""

    network: str
    layer: str
    number: int
    slot: str = ""


def read_unit(table: object) -> Unit:
    """Read which unit's photographs are asked for.

    Args:
        table: what came, parsed as JSON.

    Raises:
        RecipeError: it is no table, or something in it is unknown or no unit.

    >>> read_unit({"network": "n", "layer": "conv", "unit": 3}).number
    3
    """
    known = ("network", "layer", "unit", "slot")
    _check_names(table, known)
    assert isinstance(table, Mapping)
    unit = table.get("unit")
    if isinstance(unit, bool) or not isinstance(unit, int):
        raise RecipeError(f"unit is a whole number, got {unit!r}")
    slot = _text(table, "slot") if table.get("slot") else ""
    return Unit(_text(table, "network"), _text(table, "layer"), unit, slot)


def _check_names(table: object, known: Sequence[str]) -> None:
    if not isinstance(table, Mapping):
        raise RecipeError("a request is a table of fields")
    for name in table:
        if name not in known:
            raise RecipeError(unknown("field", str(name), known))


def _text(table: Mapping[str, Any], name: str) -> str:
    value = table.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= 300:
        raise RecipeError(f"{name} is a text of at most 300 characters")
    return value


def _number(table: Mapping[str, Any], name: str) -> Any:
    value, (least, most) = table[name], LIMITS[name]
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise RecipeError(f"{name} is a whole number from {least} to {most}, got {value!r}")
    return value
