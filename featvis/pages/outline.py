"""What a gallery's pages are: layers, their units, and the sections that the index shows them in."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from typing import Any

from featvis.pages.entries import Entry, read_entry, read_list, read_table, read_text
from featvis.pages.words import kind_of
from featvis.results.manifest import picture_name
from featvis.results.store import safe_name
from featvis.spec.target import synonyms

OBJECTIVES = "objectives"  # The folder of pictures that are of no unit
_TAKEN = (OBJECTIVES, "site", "examples")


@dataclass
class Unit:
    """A unit and every picture of it, or an objective and its: one page."""

    number: int | None
    entries: list[Entry]
    page: str  # Where its page lies below the folder

    @property
    def lead(self) -> Entry:
        """The picture that stands for the unit; an entry without one if there is none."""
        return self.entries[0]

    @property
    def name(self) -> str:
        """``unit 12``, or the objective."""
        return f"unit {self.number}" if self.number is not None else self.lead.target

    @property
    def label(self) -> str:
        """The class name with its synonyms, if it has one."""
        return next((entry.label for entry in self.entries if entry.label), "")

    @property
    def title(self) -> str:
        """``unit 263, Pembroke``: what alternative texts call it."""
        return f"{self.name}, {synonyms(self.label)[0]}" if self.label else self.name

    @property
    def marks(self) -> list[tuple[str, str]]:
        """What is to be said of it: (kind, words)."""
        marks = [] if self.lead.status == "ok" else [(self.lead.status, self.lead.status)]
        if self.lead.stale:
            marks.append(("stale", "earlier recipe"))
        verdicts = [verdict for verdict in self.lead.verdicts if verdict != self.lead.status]
        return marks + [(kind_of(verdict), verdict) for verdict in verdicts]

    @property
    def faults(self) -> list[tuple[str, str]]:
        """What is marked on small pictures: all that speaks against it."""
        return [(kind, words) for kind, words in self.marks if kind != "praise"]

    @property
    def short(self) -> str:
        """What is written below a small picture: the class's first name, the number, or the objective."""
        if self.label:
            return synonyms(self.label)[0]
        return str(self.number) if self.number is not None else self.name


@dataclass
class Layer:
    """A layer's units by number; the layer ``""`` holds the objectives."""

    name: str
    folder: str
    units: list[Unit] = field(default_factory=list)

    @property
    def title(self) -> str:
        """What it is called on pages."""
        return self.name or OBJECTIVES

    @property
    def page(self) -> str:
        """Where its page lies below the folder."""
        return f"{self.folder}/index.html"

    @property
    def is_named(self) -> bool:
        """Whether its units have names, as classes do."""
        return any(unit.label for unit in self.units)

    @property
    def noun(self) -> str:
        """What one of its units is called."""
        if not self.name:
            return "objective"
        return "class" if self.is_named else "unit"

    @property
    def nouns(self) -> str:
        """What several are called."""
        return "classes" if self.noun == "class" else f"{self.noun}s"


@dataclass
class Strip:
    """A layer's units as a section names them."""

    layer: Layer
    units: list[Unit]


@dataclass
class Section:
    """A heading of the index and what it shows."""

    title: str
    text: str
    strips: list[Strip]
    of_layer: bool = False
    """Whether it is a layer's own section, so that its title need not be said twice."""

    @property
    def is_named(self) -> bool:
        """Whether all that it shows has names."""
        return bool(self.strips) and all(strip.layer.is_named for strip in self.strips)


@dataclass
class Outline:
    """Everything that there are pages of, in reading order."""

    layers: list[Layer]
    sections: list[Section]

    @property
    def entries(self) -> list[Entry]:
        """Every entry."""
        return [entry for layer in self.layers for unit in layer.units for entry in unit.entries]


def make_outline(manifest: dict[str, Any]) -> Outline:
    """Sort a manifest's entries into layers, units and sections."""
    recipes = read_table(manifest.get("recipes"))
    layers: dict[str, Layer] = {}
    units: dict[tuple[str, int | str], Unit] = {}
    named: dict[str, tuple[Layer, Unit]] = {}
    folders: set[str] = set()
    for raw in read_list(manifest.get("pictures")):
        if not isinstance(raw, dict):
            continue
        entry = read_entry(raw, recipes)
        if entry.layer not in layers:
            layers[entry.layer] = Layer(entry.layer, _folder(entry.layer, folders))
        layer = layers[entry.layer]
        place = (entry.layer, entry.target if entry.unit is None else entry.unit)
        if place not in units:
            units[place] = Unit(entry.unit, [], f"{layer.folder}/{_page(entry)}")
            layer.units.append(units[place])
        units[place].entries.append(entry)
        named.setdefault(picture_name(raw), (layer, units[place]))
    for layer in layers.values():
        layer.units.sort(key=lambda unit: (-1 if unit.number is None else unit.number, unit.page))
        for unit in layer.units:
            unit.entries.sort(key=_rank)
    ordered = sorted(layers.values(), key=lambda layer: _natural(layer.name))
    sections = _sections(manifest.get("gallery"), ordered, named)
    # What has names is what a stranger can judge: it comes first, all else stays in its order.
    sections.sort(key=lambda section: not section.is_named)
    # Layers are read in the order in which the index shows them.
    shown = {strip.layer.name: strip.layer for section in sections for strip in section.strips}
    return Outline(list(shown.values()), sections)


def _sections(gallery: Any, layers: list[Layer], named: dict[str, tuple[Layer, Unit]]) -> list[Section]:
    tables = read_list(read_table(gallery).get("sections"))
    if not tables:
        return [Section(layer.title, "", [Strip(layer, layer.units)], of_layer=True) for layer in layers]
    sections, seen = [], set()
    by_name = {layer.name: layer for layer in layers}
    for table in tables:
        if not isinstance(table, dict):
            continue
        names = [name for name in read_list(table.get("pictures")) if isinstance(name, str)]
        units: dict[str, dict[str, Unit]] = {}
        for layer, unit in (named[name] for name in names if name in named):
            units.setdefault(layer.name, {}).setdefault(unit.page, unit)
            seen.add(unit.page)
        strips = [Strip(by_name[name], list(pages.values())) for name, pages in units.items()]
        sections.append(Section(read_text(table.get("title")), read_text(table.get("text")), strips))
    # What no section names, such as pictures of an earlier config, is not hidden.
    rest = [Strip(layer, [unit for unit in layer.units if unit.page not in seen]) for layer in layers]
    rest = [strip for strip in rest if strip.units]
    if rest:
        sections.append(Section("Also in this folder", "", rest))
    return sections


def _rank(entry: Entry) -> tuple[Any, ...]:
    """Order a unit's entries: the first stands for the unit."""
    variant = ("picture", "negative", "diverse").index(entry.variant)
    return (variant, entry.stale, entry.file is None, entry.where != "", entry.where, entry.seed, entry.key)


def _folder(layer: str, taken: set[str]) -> str:
    name = safe_name(layer) if layer else OBJECTIVES
    while layer and (name in taken or name in _TAKEN):
        name += "-layer"
    taken.add(name)
    return name


def _page(entry: Entry) -> str:
    if entry.unit is not None:
        return f"{entry.unit:04d}.html"
    digits = hashlib.sha256(entry.target.encode()).hexdigest()[:8]
    return f"{safe_name(entry.target)[:60]}-{digits}.html"


def _natural(name: str) -> list[tuple[int, int, str]]:
    """Order names as people do: blocks.2 before blocks.10, the objectives last."""
    parts = re.findall(r"(\d{1,18})|(\D+)", name)
    return [(0 if name else 1, int(digits) if digits else -1, text) for digits, text in parts] or [(1, 0, "")]
