"""What featvis has: its parts with their options, and its constructors. No torch in here."""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from featvis.spec import register

_PACKAGE = Path(__file__).parent.parent
_VALUES = {
    "Positive": "a number above 0",
    "NonNegative": "a number from 0 up",
    "Fraction": "a number from 0 to 1",
    "Count": "a whole number from 0 up",
    "AtLeastOne": "a whole number from 1 up",
    "AtLeastTwo": "a whole number from 2 up",
    "PositiveSchedule": "a number from 0 up, or [start, end] over the run",
    "FractionSchedule": "a number from 0 to 1, or [start, end] over the run",
    "Range": "a number above 0, or [least, greatest], or [start, end] of such pairs",
    "ShareRange": "a number above 0, up to 1, or [least, greatest], or [start, end] of such pairs",
    "AnyRange": "a number from 0 up, or [least, greatest], or [start, end] of such pairs",
    "Inner": "an image space: its name, or a table with its name and options",
    "Statistics": "a file that fv.image_statistics wrote",
    "LayerStatistics": "a file that fv.activation_statistics wrote",
    "Options": "a table",
    "bool": "true or false",
    "Switch": "true or false",
    "str": "a text",
}
"""What the types of options say to somebody who writes a recipe."""
_MAKERS = {
    "images": ("featvis.photographs.statistics",),
    "objectives": ("featvis.photographs.activations",),
}
"""Modules outside a family's folder that make something for it."""
TITLES = {"images": "Image spaces", "transforms": "Transforms", "objectives": "Objectives and penalties"}


class Entry(BaseModel):
    """A part, or a function that makes one."""

    model_config = ConfigDict(frozen=True)

    name: str
    about: str  # The first sentence of its docstring
    more: tuple[str, ...] = ()  # The docstring's further paragraphs: what its options do
    options: tuple[tuple[str, str, str], ...] = ()
    """Name, what it may be, default as a recipe would have it (empty: it must be given)."""


def parts_of(family: str) -> list[Entry]:
    """Return the parts of a family that recipes can name, with their options."""
    entries = []
    for name, schema in sorted(register.scan(family).items()):
        fields = schema.model_fields
        # As a recipe would write them: a range that stays is no pair of ranges.
        required: dict[str, Any] = {"options": {}} if "options" in fields else {}
        written = schema.model_construct(**required).model_dump(mode="json")
        options = tuple(
            (key, values_of(field.description or ""), "" if field.is_required() else repr(written[key]))
            for key, field in fields.items()
        )
        text = schema.__doc__ or ""
        entries.append(Entry(name=name, about=_first_sentence(text), more=_further(text), options=options))
    return entries


def public_names() -> dict[str, str]:
    """Return the public names, each with the module that makes it, as ``featvis/__init__.pyi`` lists them."""
    nodes = ast.parse((_PACKAGE / "__init__.pyi").read_text("utf-8")).body
    imports = [node for node in nodes if isinstance(node, ast.ImportFrom)]
    return {alias.name: f"featvis.{node.module}" for node in imports for alias in node.names}


def constructors(family: str) -> list[Entry]:
    """Return the public functions of a family: ``images``, ``transforms`` or ``objectives``."""
    entries = []
    for name, home in sorted(public_names().items()):
        if not home.startswith((f"featvis.{family}.", *_MAKERS.get(family, ()))):
            continue
        source = _PACKAGE.parent.joinpath(*home.split(".")).with_suffix(".py")
        for node in ast.parse(source.read_text("utf-8")).body:
            if isinstance(node, ast.FunctionDef) and node.name == name:
                about = _first_sentence(ast.get_docstring(node) or "")
                if not about:  # what only tells type checkers of another way to call it
                    continue
                entries.append(Entry(name=f"fv.{name}({ast.unparse(node.args)})", about=about))
    return entries


def markdown() -> str:
    """Return every part and constructor as a page in Markdown."""
    lines = ["# What featvis has", ""]
    for family in register.FAMILIES:
        lines += [f"## {TITLES[family]}", ""]
        for entry in parts_of(family):
            lines += [f"### `{entry.name}`", ""]
            for paragraph in (entry.about, *entry.more):
                lines += [paragraph, ""]
            if entry.options:
                rows = [(f"`{a}`", b, f"`{c}`" if c else "required") for a, b, c in entry.options]
                lines += markdown_table(("option", "values", "default"), rows)
        if calls := [(f"`{call.name}`", call.about) for call in constructors(family)]:
            lines += ["### From Python", "", *markdown_table(("call", "what it is"), calls)]
    return "\n".join(lines)


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a table in Markdown, and an empty one."""

    def line(cells: Sequence[Any]) -> str:
        return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"

    return [line(head), line(["---"] * len(head)), *(line(row) for row in rows), ""]


def values_of(kind: str) -> str:
    """Return in words what an option may be, from its type as the part's class writes it.

    >>> values_of("Literal['l2', 'linf']")
    'l2 or linf'
    >>> values_of("tuple[Fraction, Fraction]")
    '2 numbers from 0 to 1'
    """
    kind, _, nothing = kind.partition(" | ")
    if nothing:
        return values_of(kind) + ", or none"
    if kind.startswith("Literal"):
        return " or ".join(map(str, ast.literal_eval("(" + kind[len("Literal[") : -1] + ",)")))
    within = re.fullmatch(r"tuple\[(.+)\]", kind)
    if within is None:
        return _VALUES.get(kind, kind)
    if within[1].endswith("], ..."):
        return "rows of " + values_of(within[1][: -len(", ...")])
    first, *others = within[1].split(", ")
    many = re.sub(r"^a ((?:whole )?number)", r"\1s", _VALUES.get(first, first))
    return many if others == ["..."] else f"{1 + len(others)} {many}"


def _paragraphs(docstring: str) -> list[str]:
    """Return paragraphs, each on one line, without reStructuredText, parameters, errors, examples."""
    paragraphs = []
    for block in docstring.split("\n\n"):
        if block.lstrip().startswith(("Raises:", ">>>")):
            break
        lines = re.split(r"\n(?=\s*- )", block.partition("Parameters:")[0])
        text = "\n".join(" ".join(line.split()) for line in lines if line.strip())
        text = re.sub(r":\w+:`~?(?:[\w.]+\.)?(\w+)`", r"`\1`", text.replace("``", "`"))
        if text:
            paragraphs.append(text)
    return paragraphs


def _first_sentence(docstring: str) -> str:
    """Return the first sentence, on one line.

    >>> _first_sentence("Passes ``x`` on: all\\nof it (Fort et al. 2025). Then more.")
    'Passes `x` on: all of it (Fort et al. 2025).'
    """
    return re.split(r"(?<=[.?!])\s+(?![\d(])", "".join(_paragraphs(docstring)[:1]))[0]


def _further(docstring: str) -> tuple[str, ...]:
    """Return what follows the first sentence, paragraph by paragraph.

    >>> _further("Passes on. All of it.\\n\\nFor ``x`` see :func:`featvis.layer`.\\nParameters: ``a``.")
    ('All of it.', 'For `x` see `layer`.')
    """
    paragraphs = _paragraphs(docstring)
    rest = paragraphs[0][len(_first_sentence(docstring)) :].strip()
    return tuple(text for text in (rest, *paragraphs[1:]) if text)
