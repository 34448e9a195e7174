"""What a recipe is called: the named one that it is, or is but for a few plain numbers."""

from __future__ import annotations

from functools import cache
from typing import Any

from featvis.errors import FeatvisError
from featvis.pages.entries import read_size, read_text
from featvis.spec.recipe import LATER, Recipe, recipe_files

_MACHINE = ("lanes", "threads", "precision", "start")
"""What a name does not tell: how it was computed, and from which photograph."""
_WHOLE = ("space", "transforms", "penalties")
"""What makes a recipe another one if it differs at all."""
_FEW = 3


def name_recipe(recipe: Any) -> str:
    """Return a recipe's name, with what differs; empty for one that is like no named one.

    >>> name_recipe(Recipe.load("channel").but(size=96, steps=64).to_json())
    'channel, 96 × 96 px, 64 steps'
    >>> name_recipe({"steps": 3}), name_recipe(None)
    ('', '')
    """
    if not isinstance(recipe, dict):
        return ""
    found = []
    for name, known in _named().items():
        differs = {field for field in {*known, *recipe} if _value(recipe, field) != _value(known, field)}
        differs.difference_update(_MACHINE)
        if not differs.intersection(_WHOLE) and len(differs) <= _FEW:
            found.append((len(differs), name, sorted(differs)))
    if not found:
        return ""
    _, name, fields = min(found)
    return ", ".join([name, *(_say(field, _value(recipe, field)) for field in fields)])


@cache
def _named() -> dict[str, dict[str, Any]]:
    named = {}
    for name in recipe_files():
        try:
            named[name] = Recipe.load(name).to_json()
        except FeatvisError:  # it names a file that is not here
            continue
    return named


def _value(recipe: dict[str, Any], field: str) -> Any:
    return recipe.get(field, LATER.get(field))


def _say(field: str, value: Any) -> str:
    if field == "steps":
        return f"{read_text(value)} steps"
    if field in ("size", "input_size") and (size := read_size(value)):
        shown = " × ".join(map(str, size)) + " px"
        return shown if field == "size" else f"shown at {shown}"
    plain = isinstance(value, str | int | float) and not isinstance(value, bool)
    return f"{field} {read_text(value)}" if plain else f"another {field}"
