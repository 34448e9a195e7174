"""What featvis has: its parts, its constructors, and the field's features with what proves each. No torch."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from featvis import parts

_HERE = Path(__file__).parent
TITLES = {"images": "Image spaces", "transforms": "Transforms", "objectives": "Objectives and penalties"}


class Entry(BaseModel):
    """A part, or a function that makes one."""

    model_config = ConfigDict(frozen=True)

    name: str
    about: str
    """The first sentence of its docstring."""
    options: tuple[tuple[str, str, str], ...] = ()
    """Name, type as it is written, default as Python writes it (empty: it must be given)."""


class Feature(BaseModel):
    """A feature that some tool of the field has, what gives it here, and the test that proves it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    feature: str
    by: tuple[str, ...] = ()
    """``images/pixel`` (a part), ``fv.render`` (a public name), ``Recipe.steps`` (a field of the recipe),
    ``featvis render --seed`` (a command and its option)."""
    test: str = ""
    """``tests/FILE.py::NAME``."""
    reason: str = ""
    """Why it is missing, if it is."""


def parts_of(family: str) -> list[Entry]:
    """Return the parts of a family that recipes can name, with their options."""
    return [
        Entry(
            name=name,
            about=_first_sentence(schema.__doc__ or ""),
            options=tuple(
                (key, field.description or "", "" if field.is_required() else repr(field.default))
                for key, field in schema.model_fields.items()
            ),
        )
        for name, schema in sorted(parts.scan(family).items())
    ]


def constructors(family: str, homes: Mapping[str, str]) -> list[Entry]:
    """Return the public functions of a family.

    Args:
        family: ``images``, ``transforms`` or ``objectives``.
        homes: the public names, each with the module that holds it.
    """
    found = []
    for name, home in sorted(homes.items()):
        if not home.startswith(f"featvis.{family}."):
            continue
        source = _HERE.parent.joinpath(*home.split(".")).with_suffix(".py")
        for node in ast.parse(source.read_text("utf-8")).body:
            if isinstance(node, ast.FunctionDef) and node.name == name:
                about = _first_sentence(ast.get_docstring(node) or "")
                found.append(Entry(name=f"fv.{name}({ast.unparse(node.args)})", about=about))
    return found


def features() -> list[Feature]:
    """Return the field's features in the order of their ids."""
    table = tomllib.loads((_HERE / "features.toml").read_text("utf-8"))
    return [Feature(**row) for row in table["features"]]


def markdown(homes: Mapping[str, str]) -> str:
    """Return everything as a page in Markdown."""
    lines = ["# What featvis has", ""]
    for family in parts.FAMILIES:
        lines += [f"## {TITLES[family]}", ""]
        for entry in parts_of(family):
            lines += [f"### `{entry.name}`", "", entry.about, ""]
            if entry.options:
                lines += _table(
                    ("option", "type", "default"),
                    [(f"`{a}`", f"`{b}`", f"`{c}`" if c else "required") for a, b, c in entry.options],
                )
        made = constructors(family, homes)
        if made:
            lines += ["### From Python", ""]
            lines += _table(("call", "what it is"), [(f"`{one.name}`", one.about) for one in made])
    lines += ["## The field's features", ""]
    lines += _table(
        ("id", "feature", "here", "proved by"),
        [
            (
                one.id,
                one.feature,
                ", ".join(f"`{by}`" for by in one.by) or one.reason,
                f"`{one.test}`" if one.test else "-",
            )
            for one in features()
        ],
    )
    return "\n".join(lines)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    def line(cells: Sequence[Any]) -> str:
        return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"

    return [line(head), line(["---"] * len(head)), *(line(row) for row in rows), ""]


def _first_sentence(docstring: str) -> str:
    """Return the first sentence, on one line, without the marks of reStructuredText.

    >>> _first_sentence("Passes ``x`` on: all\\nof it. Then more.")
    'Passes `x` on: all of it.'
    >>> _first_sentence("Phases (Fel et al. 2023). Then more.")
    'Phases (Fel et al. 2023).'
    """
    text = " ".join(docstring.split("\n\n")[0].split()).replace("``", "`")
    text = re.sub(r":\w+:(?=`)", "", text)
    return re.split(r"(?<=[.?!])(?<!et al\.)\s", text)[0]
