"""``--set FIELD=VALUE``: every field of the recipe from the command line, each read by its own type."""

from __future__ import annotations

import ast
import inspect
import json
import re
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import typer

from featvis.errors import RecipeError, unknown
from featvis.read import is_whole_number, parse_toml

if TYPE_CHECKING:
    from featvis.spec.recipe import Recipe

BY_LAYER = ("portrait", "texture", "channel")
"""The recipes of which the layer chooses one where no recipe is named."""
HOW = "--set FIELD=VALUE, for instance --set steps=64; --set help lists the fields"
EXAMPLES = """\
A value is written as in a recipe's TOML file; texts need no quotation marks, and none is no value:
  --set steps=64 --set schedule=cosine --set size=96x128 --set gradient_norm=none
  --set 'penalties=[{name="l2", weight=0.1}]'
Dots lead into tables, whose options `featvis parts` lists; in a list entries are named, or counted from 0,
and a part that is not in it yet is added to its end:
  --set space.exponent=1.2 --set transforms.1.sd=0.1 --set transforms.noise.sd=0.1
  --recipe portrait --set penalties.total_variation.weight=8"""
_KINDS = {
    "Size": "a side in pixels, or HEIGHTxWIDTH",
    "Band": "a score, or LOW,HIGH with the lower first",
    "dict[str, Any]": "a part: its name, or a table with its name and options",
    "tuple[dict[str, Any], ...]": "a list of such tables",
    "tuple[tuple[Size, Fraction], ...]": "a list of [SIZE, SHARE OF THE STEPS]",
}
"""What the types say that only recipes have."""


@dataclass(frozen=True)
class Field:
    """A field of the recipe, as ``--set help`` shows it."""

    kind: str  # What its value may be, in words
    default: Any  # In plain data
    about: str  # Its docstring, on one line
    has_parts: bool  # Whether dots lead into it

    @property
    def shown_default(self) -> str:
        """The default as it would be typed, tables as JSON."""
        if self.default is None:
            return "none"
        return self.default if isinstance(self.default, str) else json.dumps(self.default)


@dataclass(frozen=True)
class _Setting:
    text: str
    path: tuple[str, ...]
    value: Any


@dataclass(frozen=True)
class Choice:
    """The recipe that a command was asked for."""

    recipe: Recipe  # The whole recipe; where none was named, its other fields have their defaults
    base: Recipe | str | None  # What is changed: a recipe, its name, or None for the layer's choice
    changes: dict[str, Any]  # The fields that were given

    def plan_options(self) -> dict[str, Any]:
        """Return the changes as ``make_plan`` takes them; imports torch."""
        from featvis.spec.register import make

        if "transforms" not in self.changes:
            return dict(self.changes)
        transforms = [make("transforms", entry) for entry in self.recipe.transforms]
        return {**self.changes, "transforms": transforms}


def fields() -> dict[str, Field]:
    """Return the fields of the recipe in their order, with what their docstrings say."""
    from featvis.spec import recipe
    from featvis.spec.catalog import values_of

    source = ast.parse(inspect.getsource(recipe.Recipe)).body[0]
    assert isinstance(source, ast.ClassDef)
    defaults = recipe.Recipe.model_construct().model_dump(mode="json")
    table = {}
    for place, node in enumerate(source.body):
        if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name):
            continue
        name, annotation = node.target.id, ast.unparse(node.annotation)
        if name not in recipe.Recipe.model_fields:
            continue
        kind, _, nothing = annotation.partition(" | ")
        words = (_KINDS.get(kind) or values_of(kind)) + (", or none" if nothing else "")
        if name == "start":
            words = "none; `featvis render --start FILE` gives an image"
        after = source.body[place + 1 : place + 2]
        text = ast.literal_eval(after[0].value) if after and isinstance(after[0], ast.Expr) else ""
        about = " ".join(text.replace("``", "").split())
        table[name] = Field(words, defaults[name], about, "dict" in kind)
    return table


def choose_recipe(
    named: str | None, options: dict[str, Any], settings: Sequence[str] | None, auto: tuple[str, ...] = ()
) -> Choice:
    """Return the recipe of a name or file (None: the layer's choice), changed by options and ``--set``.

    ``options`` are values by field, None where one was not given; fields in ``auto`` may be ``auto``, which
    is left for a measurement.

    >>> choose_recipe("channel", {"steps": 4}, ["transforms.noise.sd=0.2"]).recipe.transforms[1]
    {'name': 'noise', 'sd': 0.2, 'power': 1.0}
    """
    from featvis.spec.recipe import Recipe

    options = {name: value for name, value in options.items() if value is not None}
    parsed = sorted(_once(options, map(_parse, settings or ())), key=lambda setting: len(setting.path))
    inside = [setting for setting in parsed if len(setting.path) > 1]
    bases = [Recipe.load(name) for name in ((named,) if named else BY_LAYER if inside else ())] or [Recipe()]
    typed = [*options.items(), *((setting.path[0], setting.value) for setting in parsed)]
    measured = {name for name, value in typed if name in auto and value == "auto"}
    plain = {name: value for name, value in options.items() if name not in measured}
    settled = [setting for setting in parsed if setting.path[0] not in measured]
    laid = [_lay(base.but(**plain), settled) for base in bases]
    for setting in inside:
        name = setting.path[0]
        if any(changes[name] != laid[0][1][name] for _, changes in laid):
            choice = f"without --recipe the layer chooses one of {', '.join(BY_LAYER)}, which differ in"
            hint = f"name one by --recipe, or set the whole of {name}"
            raise RecipeError(f"--set {setting.text}: {choice} {name}; {hint}")
    recipe, changes = laid[0]
    cleared = {name for name, value in changes.items() if value is None}
    changes = {**options, **changes, **dict.fromkeys(measured, "auto")}
    changes = {name: value for name, value in changes.items() if name not in cleared}
    if any(getattr(bases[0], name) is not None for name in cleared):
        return Choice(recipe, Recipe(**{**bases[0].to_json(), **dict.fromkeys(cleared)}), changes)
    return Choice(recipe, named, changes)


def show_fields(settings: list[str] | None) -> list[str] | None:
    """Print every field and end the command if one of the settings is ``help``."""
    if "help" not in (settings or ()):
        return settings
    for name, field in fields().items():
        print(f"{name} = {field.shown_default}\n    {field.kind}")
        if field.about:
            print(textwrap.fill(field.about, 96, initial_indent="    ", subsequent_indent="    "))
    print(f"\n{EXAMPLES}")
    raise typer.Exit


def complete(incomplete: str) -> list[tuple[str, str]]:
    """Return the fields that begin so, for the shell."""
    return [(f"{name}=", field.kind) for name, field in fields().items() if name.startswith(incomplete)]


def _parse(text: str) -> _Setting:
    from featvis.spec.recipe import Recipe

    place, equals, value = text.partition("=")
    path = tuple(part.strip() for part in place.split("."))
    if not equals or not all(path):
        raise RecipeError(f"--set {text!r} has not the form {HOW}")
    name, *inner = path
    if name not in Recipe.model_fields:
        raise RecipeError("--set: " + unknown("field", name, Recipe.model_fields, "--set help lists them"))
    if name == "start" and value.strip() != "none":
        raise RecipeError("--set start: an image to start from is a file; `featvis render --start FILE`")
    if inner and not (field := fields()[name]).has_parts:
        raise RecipeError(f"--set {text}: {name} is {field.kind}; nothing is inside it")
    return _Setting(text, path, _read(text, value.strip(), bool(inner)))


def _read(text: str, value: str, inner: bool) -> Any:
    """Read a value as TOML does, where it is TOML; what is none is a text."""
    if value.lower() == "none":
        return None
    failed = ""
    value = re.sub(r"^([+-]?)\.(?=\d)", r"\g<1>0.", value)  # TOML has no number that begins with a point
    for written in (value, f"[{value}]"):
        try:
            table = parse_toml(f"value = {written}")
        except ValueError as error:
            failed = failed or str(error)
            continue
        result = table["value"]
        # No field itself is true or false, and pydantic would read true as 1.
        if len(table) == 1 and isinstance(result, int | float | str | list | dict):
            return value if isinstance(result, bool) and not inner else result
    if value[:1] in ("[", "{", '"', "'"):
        raise RecipeError(f"--set {text}: the value does not read as TOML: {failed}")
    return value


def _once(options: dict[str, Any], settings: Iterable[_Setting]) -> list[_Setting]:
    """Return the settings, each field once; twice is a mistake unless both say the same."""
    kept: dict[tuple[str, ...], _Setting] = {}
    for setting in settings:
        name = setting.path[0]
        other = kept.setdefault(setting.path, setting)
        source, value = f"--set {other.text}", other.value
        if len(setting.path) == 1 and name in options:
            source, value = f"--{name.replace('_', '-')}", options[name]
        if not _same(setting, value):
            raise RecipeError(f"{'.'.join(setting.path)} is given twice: {source} and --set {setting.text}")
    return list(kept.values())


def _same(setting: _Setting, value: Any) -> bool:
    from featvis.spec.recipe import Recipe

    if setting.value == value or repr(setting.value) == repr(value):  # nan is not equal to itself
        return True
    if len(setting.path) > 1:
        return False
    name = setting.path[0]
    try:
        first, second = (getattr(Recipe(**{name: typed}), name) for typed in (setting.value, value))
    except RecipeError:
        return False
    return bool(first == second)


def _lay(recipe: Recipe, settings: Sequence[_Setting]) -> tuple[Recipe, dict[str, Any]]:
    """Return a recipe with the settings, and the fields that they change."""
    from pydantic import ValidationError

    from featvis.spec.recipe import Recipe

    table = recipe.to_json()
    changes: dict[str, Any] = {}
    for setting in settings:
        name, *inner = setting.path
        changes[name] = _replaced(changes.get(name, table.get(name)), inner, setting)
    for name, value in changes.items():
        if isinstance(value, list):  # entries set to none
            changes[name] = [entry for entry in value if entry is not None]
    try:
        return Recipe(**{**table, **changes}), changes
    except RecipeError as error:
        cause = error.__context__
        place = cause.errors(include_url=False)[0]["loc"] if isinstance(cause, ValidationError) else ()
        for setting in settings:
            if setting.path == place[:1]:
                kind = fields()[setting.path[0]].kind
                raise RecipeError(f"--set {setting.text}: {setting.path[0]} is {kind}") from None
        raise RecipeError(f"--set: {str(error).removeprefix('recipe: ')}") from None


def _replaced(node: Any, path: Sequence[str], setting: _Setting) -> Any:
    """Return a table or list with the setting's value at a path of it."""
    if not path:
        return setting.value
    key, *rest = path
    node = {"name": node} if isinstance(node, str) else node
    if isinstance(node, list):
        place = _place(node, key, setting)
        entry = node[place] if place < len(node) else {"name": key}
        return [*node[:place], _replaced(entry, rest, setting), *node[place + 1 :]]
    if not isinstance(node, dict):
        raise RecipeError(f"--set {setting.text}: there is nothing inside {node!r}, so no {key!r}")
    if key == "name" and not rest:  # another part, with options of its own
        weight = {"weight": node["weight"]} if "weight" in node else {}
        return {"name": setting.value, **weight}
    if rest and key not in node:
        hint = "options: " + ", ".join(node)
        raise RecipeError(f"--set {setting.text}: " + unknown("option", key, node, hint))
    value = _replaced(node.get(key), rest, setting)
    return {name: inner for name, inner in {**node, key: value}.items() if inner is not None}


def _place(entries: list[Any], key: str, setting: _Setting) -> int:
    if is_whole_number(key) and int(key) < len(entries):
        return int(key)
    names = [str(entry.get("name", entry)) if isinstance(entry, dict) else str(entry) for entry in entries]
    if names.count(key) == 1:
        return names.index(key)
    if key not in names and len(setting.path) > 2 and setting.value is not None:
        from featvis.spec.register import names as parts

        if key in parts("transforms" if setting.path[0] == "transforms" else "objectives"):
            return len(entries)
    listed = ", ".join(f"{place} {name}" for place, name in enumerate(names)) or "none"
    raise RecipeError(f"--set {setting.text}: no entry {key!r}; the entries: {listed}")
