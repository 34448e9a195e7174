"""The pages above several galleries: an index of them, one that compares them, and a legend."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from featvis.pages.compose import COMPARE, LEGEND, linker, read_assets, template
from featvis.pages.entries import read_table, read_text
from featvis.pages.outline import Unit, make_outline
from featvis.pages.search import UNITS

_TILES = 8


@dataclass
class _Shown:
    """A gallery as the index above it shows it."""

    name: str
    """Its folder."""
    title: str
    model: str
    pictures: int
    tiles: list[Unit]


def make_front(galleries: dict[str, dict[str, Any]]) -> dict[str, str]:
    """Make the text of the pages above several galleries, by relative path.

    Args:
        galleries: their manifests by the names of their folders, which lie beside these pages.
    """
    shown = [_show(name, manifest) for name, manifest in galleries.items()]
    titles = [one.title for one in shown]
    for one in shown:
        if titles.count(one.title) > 1:  # one network by two recipes: what tells them apart is the folder
            one.title = f"{one.title} ({one.name})"
    sources = [(f"{one.name}/{UNITS}", one.title) for one in shown]
    values: dict[str, Any] = {
        "title": " and ".join(one.title for one in shown) if len(shown) == 2 else f"{len(shown)} galleries",
        "model": ", ".join(dict.fromkeys(one.model for one in shown)),
        "weights": "",
        "version": read_text(next(iter(galleries.values())).get("featvis")),
        "galleries": shown,
        "sources": sources,
        "above": True,
    }
    pages = {"index.html": "galleries.html", COMPARE: "compare.html", LEGEND: "legend.html"}
    made = {path: template(name).render(**values, link=linker(path)) for path, name in pages.items()}
    return read_assets() | made


def title_of(manifest: dict[str, Any]) -> str:
    """Return what a gallery is called: its title, or its network.

    >>> title_of({"model": "vgg16"}), title_of({"model": "vgg16", "gallery": {"title": "A tour"}})
    ('vgg16', 'A tour')
    """
    title = read_text(read_table(manifest.get("gallery")).get("title"))
    return title or read_text(manifest.get("model")) or "a network"


def _show(name: str, manifest: dict[str, Any]) -> _Shown:
    outline = make_outline(manifest)
    first = [unit for section in outline.sections for strip in section.strips for unit in strip.units]
    pictures = sum(entry.file is not None for entry in outline.entries)
    tiles = [unit for unit in first if unit.lead.file is not None][:_TILES]
    return _Shown(name, title_of(manifest), read_text(manifest.get("model")) or "a network", pictures, tiles)
