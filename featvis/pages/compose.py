"""From a manifest to the text of every page: one pure function."""

from __future__ import annotations

import posixpath
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

import tomli_w
from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from featvis.pages.entries import Entry, read_table, read_text
from featvis.pages.examples import read_examples
from featvis.pages.outline import Layer, Outline, Unit, make_outline
from featvis.pages.trace import make_trace
from featvis.pages.words import MEANING, say_count, say_number

STYLE, SCRIPT = "site/gallery.css", "site/gallery.js"
THUMBNAIL = 128  # The longest side of a small picture, in pixels
_STRIP = 24
_LARGE = 512
_HERE = Path(__file__).parent


def make_pages(manifest: dict[str, Any], examples: dict[str, Any] | None = None) -> dict[str, str]:
    """Make the text of every page of a gallery, and of its stylesheet and script, by relative path.

    Nothing is read but what ``manifest.json`` and ``examples.json`` hold, so the same manifest gives the
    same pages. Values of the wrong type count as missing, a path that would leave the folder is not
    followed, all text is escaped.
    """
    outline = make_outline(manifest)
    site = _Site(manifest, outline)
    pages = {name: read_asset(Path(name).name) for name in (STYLE, SCRIPT)}
    index: dict[str, Any] = {"sections": outline.sections, "strip_length": _STRIP}
    pages["index.html"] = site.page("index.html", "index.html", **index)
    photographs, layers = read_examples(examples), outline.layers
    for place, layer in enumerate(layers):
        around = _around(layers, place)
        pages[layer.page] = site.page(layer.page, "layer.html", layer=layer, order=_order(layer), **around)
        for at, unit in enumerate(layer.units):
            pages[unit.page] = site.page(
                unit.page,
                "unit.html",
                layer=layer,
                unit=unit,
                trace=make_trace(unit.lead.trace, unit.lead.steps, "trace"),
                photographs=photographs.of(unit),
                recipes=site.recipes_of(unit),
                **_around(layer.units, at),
            )
    return pages


@dataclass
class _Site:
    """What all pages of a gallery share."""

    manifest: dict[str, Any]
    outline: Outline

    def __post_init__(self) -> None:
        manifest, outline = self.manifest, self.outline
        gallery, self.recipes = read_table(manifest.get("gallery")), read_table(manifest.get("recipes"))
        self.model = read_text(manifest.get("model")) or "a network"
        entries = outline.entries
        self.shared = {
            "title": read_text(gallery.get("title")) or self.model,
            "paragraphs": [part for part in read_text(gallery.get("text")).split("\n\n") if part.strip()],
            "build": read_text(gallery.get("command")),
            "model": self.model,
            "weights": read_text(manifest.get("weights")),
            "created": read_text(manifest.get("created")),
            "version": read_text(manifest.get("featvis")),
            "counts": {
                "pictures": sum(entry.file is not None for entry in entries),
                "units": sum(unit.number is not None for layer in outline.layers for unit in layer.units),
                **{kind: sum(entry.status == kind for entry in entries) for kind in MEANING},
                "stale": sum(entry.stale and entry.file is not None for entry in entries),
            },
            "reproduce": self.reproduce,
            "render": self.render,
        }

    def page(self, path: str, name: str, **values: Any) -> str:
        """Fill a template in; links in it lead from ``path``."""
        text: str = template(name).render(**self.shared, **values, link=_linker(path))
        return text

    def recipes_of(self, unit: Unit) -> list[tuple[str, str]]:
        """Return the recipes of a unit's pictures, the leading one's first: (id, TOML)."""
        names = dict.fromkeys(entry.recipe for entry in unit.entries)
        known = [(name, self.recipes.get(name)) for name in names]
        return [
            (name, read_text(tomli_w.dumps(_without_nothing(recipe), indent=2)))
            for name, recipe in known
            if isinstance(recipe, dict)
        ]

    def reproduce(self, entry: Entry) -> str:
        """Return the command that gives the same bytes again; empty for an objective, which is code."""
        if entry.file is None or entry.unit is None:
            return ""
        return f"featvis reproduce {shlex.quote(entry.file)}"

    def render(self, entry: Entry) -> str:
        """Return the command that renders the target anew; empty for what no address says."""
        if entry.unit is None or entry.variant != "picture":
            return ""
        seed = f" --seed {entry.seed}" if entry.seed else ""
        address = f"--model {shlex.quote(self.model)} {shlex.quote(entry.target)}"
        return f"featvis render {address}{seed} --recipe recipe.toml"


@cache
def _environment() -> Environment:
    env = Environment(
        loader=FileSystemLoader(_HERE / "templates"),
        autoescape=select_autoescape(default=True, default_for_string=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    env.filters.update(number=say_number, shown_size=_shown_size, thumbnail_size=thumbnail_size, alt=_alt)
    env.globals.update(count=say_count, meaning=MEANING, style=STYLE, script=SCRIPT)
    return env


@cache
def template(name: str) -> Any:
    """Return a template of the pages by its name."""
    return _environment().get_template(name)


def read_asset(name: str) -> str:
    """Return the text of a stylesheet or script of the pages."""
    return (_HERE / "assets" / name).read_text("utf-8")


def _around(items: Sequence[Any], place: int) -> dict[str, Any]:
    previous, following = items[place - 1] if place else None, [*items, None][place + 1]
    return {"previous": previous, "next": following}


def _linker(page: str) -> Callable[[str], str]:
    """Return the function that writes the address of a path as seen from a page."""
    folder = posixpath.dirname(page) or "."
    return lambda path: quote(posixpath.relpath(path, folder), safe="/@,=+")


def thumbnail_size(size: tuple[int, int] | None) -> tuple[int, int]:
    """Return the (height, width) of a picture's small version; it never grows.

    >>> thumbnail_size((160, 320)), thumbnail_size((17, 24)), thumbnail_size((3, 4000))
    ((64, 128), (17, 24), (1, 128))
    """
    height, width = size or (THUMBNAIL, THUMBNAIL)
    shrink = min(1.0, THUMBNAIL / max(height, width))
    return max(1, round(height * shrink)), max(1, round(width * shrink))


def _shown_size(size: tuple[int, int] | None) -> tuple[int, int]:
    """Return the (height, width) at which the large picture is shown: whole multiples of its own pixels.

    >>> _shown_size((224, 224)), _shown_size((17, 24)), _shown_size((900, 600))
    ((448, 448), (357, 504), (900, 600))
    """
    height, width = size or (_LARGE, _LARGE)
    times = max(1, _LARGE // max(height, width))
    return height * times, width * times


def _alt(entry: Entry, unit: Unit) -> str:
    """Return a picture's alternative text: ``unit 12, Pembroke: picture``."""
    text = f"{unit.title}: {entry.variant if entry.variant != 'diverse' else 'one of a diverse set'}"
    if entry.where:
        text += f" at row and column {entry.where}"
    return text + (f", seed {entry.seed}" if entry.seed else "")


def _order(layer: Layer) -> dict[str, int]:
    """Return each unit's place in the order of verdicts: what has a mark comes first."""
    severity = {"failed": 0, "missing": 1, "dead": 2, "ok": 4}

    def marks(unit: Unit) -> tuple[Any, ...]:
        status = severity[unit.lead.status]
        against = tuple(words for kind, words in unit.marks if kind != "praise")
        verdicts = against or unit.lead.verdicts or ("~",)
        return (status, 0 if against else 1, verdicts)

    return {unit.page: place for place, unit in enumerate(sorted(layer.units, key=marks))}


def _without_nothing(value: Any) -> Any:
    """Leave out what is None, at every depth: TOML has no word for it.

    >>> _without_nothing({"start": None, "space": {"name": "pixel", "size": None}})
    {'space': {'name': 'pixel'}}
    """
    if isinstance(value, dict):
        return {key: _without_nothing(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_without_nothing(item) for item in value if item is not None]
    return value
