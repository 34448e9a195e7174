"""From the figures of a map of activations to its page: one folder, opened from disk."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from typing import Any

from featvis.pages.compose import SCRIPT, STYLE, linker, read_asset, template
from featvis.pages.sprites import columns_of
from featvis.pages.words import say_count
from featvis.version import __version__

DATA = "site/atlas-data.js"
ASSETS = ("site/atlas.css", "site/atlas.js")
_LAYOUTS = {"tsne": "t-SNE", "pca": "principal components", "umap": "UMAP"}


def make_atlas_pages(about: dict[str, Any]) -> dict[str, str]:
    """Return the text of a map's page, its stylesheets, scripts and data, by relative path.

    Args:
        about: what ``atlas.json`` holds; its sprites lie where it says.
    """
    maps = about["maps"]
    name = " and ".join(dict.fromkeys(one["layer"] for one in maps))
    title = about["title"] or f"A map of {name}"
    finest = about["grids"][-1]
    data = {
        "title": title,
        "grids": [
            {
                "side": grid["side"],
                "patches": grid["patches"],
                "patchColumns": columns_of(sum(len(cell["patches"]) for cell in grid["cells"])),
                "patchCount": sum(len(cell["patches"]) for cell in grid["cells"]),
                "spriteColumns": columns_of(len(grid["cells"])),
                "cells": [
                    [
                        cell["row"],
                        cell["column"],
                        cell["positions"],
                        cell["photographs"],
                        [[one["tile"], one["photograph"]] for one in cell["patches"]],
                    ]
                    for cell in grid["cells"]
                ],
            }
            for grid in about["grids"]
        ],
        "maps": [
            {
                "name": _name(one, maps),
                "grids": [_grid_of_map(grid) for grid in one["grids"]],
            }
            for one in maps
        ],
    }
    values = {
        "title": title,
        "about": about,
        "maps": maps,
        "names": [_name(one, maps) for one in maps],
        "layout": _LAYOUTS.get(about["layout"], about["layout"]),
        "finest": finest,
        "model": ", ".join(dict.fromkeys(one["model"] for one in maps)),
        "version": __version__,
        "count": say_count,
        "classes": _classes(maps),
        "linear": _linear(maps),
    }
    page = template("atlas.html").render(**values, link=linker("index.html"), data=DATA, assets=ASSETS)
    text = json.dumps(data, separators=(",", ":"))
    pages = {"index.html": page, DATA: f"featvisAtlas({text});\n"}
    return pages | {path: read_asset(path.rpartition("/")[2]) for path in (STYLE, SCRIPT, *ASSETS)}


def _name(one: dict[str, Any], maps: Sequence[dict[str, Any]]) -> str:
    """Return what a map is called beside the others: where layer and network have the same name, by weights.

    >>> one = {"layer": "conv", "model": "net", "weights": "0123456789ab"}
    >>> _name(one, [one, {**one, "layer": "fc"}]), _name(one, [one, {**one, "weights": "ba9876543210"}])
    ('conv', 'conv of net, weights 01234567')
    """
    others = [other for other in maps if other is not one]
    if all(other["weights"] == one["weights"] for other in others):
        return str(one["layer"])
    name = f"{one['layer']} of {one['model']}"
    alike = any((other["layer"], other["model"]) == (one["layer"], one["model"]) for other in others)
    return f"{name}, weights {one['weights'][:8]}" if alike else name


def _grid_of_map(grid: dict[str, Any]) -> dict[str, Any]:
    classes = grid.get("classes")
    told: dict[str, Any] = {
        "sprite": grid["sprite"],
        "cells": [[cell["target"], cell["status"], cell["score"], cell["nearest"]] for cell in grid["cells"]],
    }
    if classes is not None:
        told["names"], told["top"] = classes["names"], classes["top"]
        told["strength"], told["most"] = _pack(classes["strength"])
    return told


def _pack(rows: Sequence[Sequence[float]]) -> tuple[str, float]:
    """Return numbers as signed bytes in base64, and what 127 stands for: a page asks for each only once.

    >>> base64.b64decode(_pack([[1.0, -0.5]])[0])
    b'\\x7f\\xc0'
    """
    most = max((abs(value) for row in rows for value in row), default=0.0) or 1.0
    content = bytes(round(value / most * 127) & 255 for row in rows for value in row)
    return base64.b64encode(content).decode(), most


def _classes(maps: Sequence[dict[str, Any]]) -> list[str]:
    names = {
        name for one in maps for grid in one["grids"] for name in grid.get("classes", {}).get("names", ())
    }
    return sorted(names, key=str.lower)


def _linear(maps: Sequence[dict[str, Any]]) -> bool:
    """Whether all that is said of classes is exact."""
    told = [grid["classes"]["linear"] for one in maps for grid in one["grids"] if "classes" in grid]
    return bool(told) and all(told)
