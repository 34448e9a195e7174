"""From the figures of a photograph's building blocks to their page: one folder, opened from disk."""

from __future__ import annotations

import json
from typing import Any

from featvis.pages.compose import SCRIPT, STYLE, linker, read_asset, template
from featvis.pages.sprites import columns_of
from featvis.pages.words import say_count, say_number
from featvis.version import __version__

DATA, PHOTOGRAPH = "site/blocks-data.js", "site/photograph.webp"
ASSETS = ("site/blocks.css", "site/blocks.js")
COLOURS = ("#e8743b", "#3b8ee8", "#3fb36b", "#c25fd0", "#d9b310", "#18b8b0", "#e04f7a", "#8a8f98")
"""Of the groups, in their order; more than these begin again."""


def make_blocks_pages(about: dict[str, Any]) -> dict[str, str]:
    """Return the text of the page, its stylesheets, scripts and data, by relative path.

    Args:
        about: what ``blocks.json`` holds; its sprites lie where it says.
    """
    layers = [
        {
            **{
                name: one[name]
                for name in ("layer", "rows", "columns", "magnitudes", "spoken", "units", "explained")
            },
            "sprite": one["sprite"],
            "spriteColumns": columns_of(one["rows"] * one["columns"]),
            "groups": [
                {**group, "colour": COLOURS[place % len(COLOURS)]}
                for place, group in enumerate(one["groups"])
            ],
            "groupSprite": one["group_sprite"],
            "groupColumns": columns_of(len(one["groups"])),
            "icons": one["icons"],
            "drawn": one["drawn"],
            "iconColumns": columns_of(len(one["drawn"])),
        }
        for one in about["layers"]
    ]
    data = {"names": about["names"], "layers": layers, "height": about["height"], "width": about["width"]}
    values = {
        "about": about,
        "title": f"What {about['model']} sees in {about['photograph']}",
        "model": about["model"],
        "version": __version__,
        "count": say_count,
        "number": say_number,
        "photograph": PHOTOGRAPH,
    }
    page = template("blocks.html").render(**values, link=linker("index.html"), data=DATA, assets=ASSETS)
    pages = {"index.html": page, DATA: f"featvisBlocks({json.dumps(data, separators=(',', ':'))});\n"}
    return pages | {path: read_asset(path.rpartition("/")[2]) for path in (STYLE, SCRIPT, *ASSETS)}
