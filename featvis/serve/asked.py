"""What a page asks for, read as what it is: somebody's text. No torch in here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from featvis.errors import RecipeError, TargetError, unknown
from featvis.spec.recipe import Recipe, recipe_files
from featvis.spec.target import parse_request, parse_vectors

OF_PHOTOGRAPHS = ("accentuate", "caricature", "dream", "invert", "style")
"""Recipes that begin with a photograph, or need one."""
LIMITS = {"size": (8, 512), "steps": (1, 2048), "seed": (0, 2**32 - 1)}
"""The least and the most of each whole number that may be asked for."""
RATES = (1e-5, 10.0)
"""The least and the most learning rate."""
TONE, TONES = ("contrast", "colorfulness"), (0.01, 1.0)
"""The penalties whose limit may be another, and the least and the most of it."""


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
    tone: dict[str, float] = field(default_factory=dict)
    """Limits of the recipe's penalties that are others, by the penalty's name."""


def recipes() -> list[str]:
    """Return the named recipes that need no photograph.

    >>> {"fast", "channel"} <= set(recipes()), "dream" in recipes()
    (True, False)
    """
    return [name for name in recipe_files() if name not in OF_PHOTOGRAPHS]


@cache
def tone_of(recipe: str) -> dict[str, float]:
    """Return the limits of contrast and colourfulness that a named recipe has.

    >>> tone_of("fast"), sorted(tone_of("portrait"))
    ({}, ['colorfulness', 'contrast'])
    """
    penalties = Recipe.load(recipe).penalties
    return {str(one["name"]): float(one["limit"]) for one in penalties if one["name"] in TONE}


def with_tone(
    penalties: Iterable[Mapping[str, Any]], tone: Mapping[str, float], recipe: str | None
) -> list[dict[str, Any]]:
    """Return a recipe's penalties with other limits.

    Args:
        penalties: the recipe's, as they were fitted to the network.
        tone: limits by the penalty's name.
        recipe: the recipe's name; None: the layer chose it.

    Raises:
        RecipeError: there is no such limit.

    >>> with_tone([{"name": "contrast", "limit": 0.2, "weight": 30.0}], {"contrast": 0.1}, "portrait")
    [{'name': 'contrast', 'limit': 0.1, 'weight': 30.0}]
    """
    changed = [{**one, "limit": tone[one["name"]]} if one["name"] in tone else dict(one) for one in penalties]
    for name in tone:
        if any(one["name"] == name for one in changed):
            continue
        if recipe is not None and name in tone_of(recipe):
            reason = "no BatchNorm runs before this unit, and few layers at all"
            raise RecipeError(f"the limit of {name} is left out of {recipe} here: {reason}")
        having = " and ".join(one for one in recipes() if name in tone_of(one))
        called = recipe or "the recipe that the layer chooses"
        raise RecipeError(f"{called} has no limit of {name}; {having} have one")
    return changed


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
    _check_names(table, ("network", "target", "recipe", "slot", "learning_rate", *TONE, *LIMITS))
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
    if table.get("learning_rate") is not None:
        numbers["learning_rate"] = _real(table, "learning_rate", RATES)
    tone = {name: _real(table, name, TONES) for name in TONE if table.get(name) is not None}
    seed = int(numbers.pop("seed", 0))
    slot = _text(table, "slot") if table.get("slot") else ""
    return Asked(_text(table, "network"), target, recipe, seed, slot, numbers, tone)


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


def _real(table: Mapping[str, Any], name: str, bounds: tuple[float, float]) -> float:
    value, (least, most) = table[name], bounds
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        raise RecipeError(f"{name} is a number from {least:g} to {most:g}, got {value!r}")
    return float(value)
