"""``featvis recipes``: the named recipes, what one says, and what tells two apart."""

from __future__ import annotations

from typing import Any

from featvis.cli.options import AsJson, OtherRecipe, RecipeArgument
from featvis.cli.output import print_json
from featvis.errors import RecipeError


def recipes(name: RecipeArgument = None, other: OtherRecipe = None, as_json: AsJson = False) -> int:
    """List the recipes, print one as TOML, or tell two apart. What is printed is a recipe's file.

    Example: featvis recipes
    Example: featvis recipes portrait > mine.toml
    Example: featvis recipes portrait channel
    """
    from featvis.spec.recipe import Recipe, recipe_files

    if name is None:
        listed = {key: str(_read(key).get("about", "")) for key in recipe_files()}
        if as_json:
            print_json(listed)
            return 0
        width = max(map(len, listed))
        for key, text in listed.items():
            print(f"{key.ljust(width)}  {text}")
        return 0
    first = Recipe.load(name)
    if other is None:
        about = _read(name).get("about")
        # The rest is as in every recipe, and lanes that nobody stated stay free.
        told = first.model_dump(mode="json", include=first.model_fields_set)
        table = {**({"about": about} if about else {}), **_without_nothing(told)}
        if as_json:
            print_json(table)
        else:
            import tomli_w

            print(tomli_w.dumps(table), end="")
        return 0
    second = Recipe.load(other)
    apart = _difference(_flat(first.model_dump(mode="json")), _flat(second.model_dump(mode="json")))
    if as_json:
        print_json({field: list(pair) for field, pair in apart.items()})
        return 0
    if not apart:
        print(f"{name} and {other} say the same")
        return 0
    rows = [("", name, other), *((field, *map(_written, pair)) for field, pair in apart.items())]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    return 0


def _read(source: str) -> dict[str, Any]:
    """Return a recipe's file as it is written, with what it is for."""
    from pathlib import Path

    from featvis.errors import OutputError
    from featvis.read import read_toml
    from featvis.spec.recipe import recipe_files

    try:
        return read_toml(recipe_files().get(source, Path(source)))
    except OutputError as error:
        raise RecipeError(str(error)) from None


def _without_nothing(value: Any) -> Any:
    """Return plain data without what is None, which TOML has no word for."""
    if isinstance(value, dict):
        return {key: _without_nothing(inner) for key, inner in value.items() if inner is not None}
    return [_without_nothing(inner) for inner in value] if isinstance(value, list) else value


def _flat(recipe: dict[str, Any]) -> dict[str, Any]:
    """Return a recipe's values by the dotted names that ``--set`` takes: ``transforms.noise.sd``."""
    flat: dict[str, Any] = {}
    for field, value in recipe.items():
        if isinstance(value, dict):
            flat |= _named(field, value)
        elif field in ("transforms", "penalties"):
            names = [str(entry["name"]) for entry in value]
            for place, entry in enumerate(value):
                # Of several of one name the place tells which.
                key = names[place] if names.count(names[place]) == 1 else str(place)
                flat |= _named(
                    f"{field}.{key}", {k: v for k, v in entry.items() if k != "name"} or {"": True}
                )
        else:
            flat[field] = value
    return flat


def _named(path: str, table: dict[str, Any]) -> dict[str, Any]:
    return {
        name: value
        for key, inner in table.items()
        for name, value in (
            _named(f"{path}.{key}", inner)
            if isinstance(inner, dict)
            else {f"{path}.{key}".rstrip("."): inner}
        ).items()
    }


def _difference(first: dict[str, Any], second: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    names = dict.fromkeys([*first, *second])
    pairs = {name: (first.get(name), second.get(name)) for name in names}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def _written(value: Any) -> str:
    if value is None:
        return "-"
    return "x".join(map(str, value)) if _is_size(value) else str(value)


def _is_size(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(type(one) is int for one in value)
