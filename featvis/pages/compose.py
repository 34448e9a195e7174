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

from featvis.pages.ablations import read_ablations
from featvis.pages.entries import Entry, read_table, read_text
from featvis.pages.examples import read_examples
from featvis.pages.legend import STATUSES, TERMS, VERDICTS, find_word
from featvis.pages.naming import name_recipe
from featvis.pages.outline import Layer, Outline, Unit, make_outline
from featvis.pages.said import read_said
from featvis.pages.search import UNITS, make_units
from featvis.pages.trace import make_trace
from featvis.pages.words import MEANING, kind_of, say_count, say_number

STYLE, SCRIPT, EXHIBIT = "site/gallery.css", "site/gallery.js", "site/exhibit.js"
LEGEND, COMPARE = "site/legend.html", "site/compare.html"
THUMBNAIL = 128  # The longest side of a small picture, in pixels
_STRIP, _FEW, _TILES = 48, 12, 288
"""Small pictures of a layer on the front page: at most, at least, and of how many in all there are fewer of
each; a page of a thousand is slow to open."""
_LARGE = 512
_HERE = Path(__file__).parent


def make_pages(
    manifest: dict[str, Any],
    examples: dict[str, Any] | None = None,
    ablations: dict[str, Any] | None = None,
    words: dict[str, Any] | None = None,
) -> dict[str, str]:
    """Make the text of every page of a gallery, and of its stylesheet and scripts, by relative path.

    Nothing is read but what ``manifest.json``, ``examples.json``, ``ablations.json`` and ``words.json`` hold,
    so the same manifest gives the same pages. Values of the wrong type count as missing, a path that would
    leave the folder is not followed, all text is escaped.
    """
    outline = make_outline(manifest)
    site = _Site(manifest, outline)
    pages, said = read_assets(), read_said(words, read_text(manifest.get("weights")))
    pages[UNITS] = make_units(site.shared["title"], site.model, site.recipes, site.names, outline, said)
    index: dict[str, Any] = {"sections": outline.sections, "strip_length": _strip_length(outline)}
    pages["index.html"] = site.page("index.html", "index.html", **index)
    pages[LEGEND] = site.page(LEGEND, "legend.html")
    pages[COMPARE] = site.page(COMPARE, "compare.html", sources=[(UNITS, site.shared["title"])])
    photographs, layers = read_examples(examples), outline.layers
    switched_off = read_ablations(ablations, outline, site.shared["weights"])
    for place, layer in enumerate(layers):
        around = _around(layers, place)
        pages[layer.page] = site.page(
            layer.page, "layer.html", layer=layer, order=_order(layer), called=said, **around
        )
        for at, unit in enumerate(layer.units):
            pages[unit.page] = site.page(
                unit.page,
                "unit.html",
                layer=layer,
                unit=unit,
                trace=_trace(unit),
                photographs=photographs.of(unit),
                ablation=switched_off.of(unit),
                called=said.of(unit),
                pair=said.pair,
                caption=site.caption(unit),
                subtracts=bool(read_table(site.recipes.get(unit.lead.recipe)).get("penalties")),
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
        self.names = {name: name_recipe(recipe) for name, recipe in self.recipes.items()}
        entries = outline.entries
        self.shared: dict[str, Any] = {
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
            "above": False,
            "media": any(entry.sound for entry in entries),
            "reproduce": self.reproduce,
            "render": self.render,
            "script_for": self.script_for,
            "recipe_name": lambda entry: self.names.get(entry.recipe, ""),
        }

    def page(self, path: str, name: str, **values: Any) -> str:
        """Fill a template in; links in it lead from ``path``."""
        text: str = template(name).render(**self.shared, **values, link=linker(path))
        return text

    def script_for(self, entry: Entry) -> str:
        """Return the program that renders the target anew; empty for what no address says."""
        if entry.unit is None or entry.variant != "picture":
            return ""
        seed = f", seed={entry.seed}" if entry.seed else ""
        return (
            "import featvis as fv\n\n"
            f"model = fv.load_model({self.model!r})\n"
            f'(picture,) = fv.render(model, {entry.target!r}, recipe="recipe.toml"{seed})\n'
            'picture.save("unit.png")\n'
        )

    def caption(self, unit: Unit) -> str:
        """Return what stands below a unit's picture in a figure: all that a reader needs to make it again."""
        lead = unit.lead
        of = f"{unit.title} of {lead.layer}" if lead.layer else unit.name
        weights = f", weights {self.shared['weights'][:12]}" if self.shared["weights"] else ""
        name = self.names.get(lead.recipe) or lead.recipe
        score = f"score {say_number(lead.score)} ({say_number(lead.start_score)} at the start)"
        parts = [
            f"recipe {name}" if name else "",
            f"seed {lead.seed}",
            score,
            *(words for _, words in unit.faults),
        ]
        version = self.shared["version"]
        made = [f"featvis {version}" if version else "featvis", f"key {lead.key}" if lead.key else ""]
        return (
            f"Feature visualization of {of} ({self.model}{weights}): {', '.join(filter(None, parts))}. "
            f"{', '.join(filter(None, made))}."
        )

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


def _strip_length(outline: Outline) -> int:
    """Return how many units of a layer the front page shows."""
    shown = [min(_STRIP, len(strip.units)) for section in outline.sections for strip in section.strips]
    return _STRIP if sum(shown) <= _TILES else max(_FEW, _TILES // len(shown))


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
    env.filters.update(
        number=say_number, shown_size=_shown_size, thumbnail_size=thumbnail_size, alt=_alt, kind=kind_of
    )
    env.globals.update(count=say_count, meaning=MEANING, style=STYLE, script=SCRIPT, exhibit=EXHIBIT)
    env.globals.update(legend=LEGEND, compare=COMPARE, units_script=UNITS, find_word=find_word)
    env.globals.update(terms=TERMS, statuses=STATUSES, verdicts=VERDICTS)
    return env


@cache
def template(name: str) -> Any:
    """Return a template of the pages by its name."""
    return _environment().get_template(name)


def read_assets() -> dict[str, str]:
    """Return the stylesheet and the scripts that every page asks for, by relative path."""
    return {name: read_asset(Path(name).name) for name in (STYLE, SCRIPT, EXHIBIT)}


def read_asset(name: str) -> str:
    """Return the text of a stylesheet or script of the pages."""
    return (_HERE / "assets" / name).read_text("utf-8")


def _around(items: Sequence[Any], place: int) -> dict[str, Any]:
    previous, following = items[place - 1] if place else None, [*items, None][place + 1]
    return {"previous": previous, "next": following}


def _trace(unit: Unit) -> str:
    lead = unit.lead
    return make_trace(
        lead.trace, lead.steps, "trace", (lead.start_score, lead.score) if lead.file else (None, None)
    )


def linker(page: str) -> Callable[[str], str]:
    """Return the function that writes the address of a path as seen from a page."""
    folder = posixpath.dirname(page)

    def link(path: str) -> str:
        # Beside the page, as most are: this is asked some twenty times for each page.
        if folder and path.startswith(f"{folder}/"):
            found = path[len(folder) + 1 :]
        elif not folder:
            found = path
        else:
            found = posixpath.relpath(path, folder)
        return quote(found, safe="/@,=+")

    return link


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
        against = tuple(words for _, words in unit.faults)
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
