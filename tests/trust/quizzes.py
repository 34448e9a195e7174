"""Folders for the tests of quizzes: many named classes, tiny pictures, photographs that excite some units."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.pages.manifests import entry, manifest, write_folder

KINDS = ("amber", "marble", "velvet", "copper", "silver", "crystal", "coral", "ebony")
BEASTS = ("otter", "heron", "beetle", "walrus", "gazelle")
LABELS = [f"{kind} {beast}, {beast} of {kind}" for kind, beast in product(KINDS, BEASTS)]
"""Forty, each with two names."""


def classes(count: int = 40, **changes: Any) -> dict[str, Any]:
    """A manifest of so many classes with names."""
    pictures = [entry("classifier", unit, label=LABELS[unit]) for unit in range(count)]
    return manifest(*pictures, **changes)


def photographs(units: int, layer: str = "classifier", best: int = 3) -> dict[str, Any]:
    """What examples.json says of so many units; each has photographs of its own, the best ``10 - rank``."""
    told = {}
    for unit in range(units):
        crops = [
            {
                "image": f"photo-{unit}-{rank}.jpg",
                "value": 10.0 - rank,
                "position": None,
                "box": None,
                "file": f"examples/{layer}/{unit:04d}-{rank}.webp",
            }
            for rank in range(best)
        ]
        told[f"{layer}:{unit}"] = {"examples": crops, "quantiles": []}
    return {"images": 100, "units": told}


def write_classes(folder: Path, count: int = 40, units: int = 0) -> Path:
    """Write a folder of named classes, the first ``units`` of them with photographs."""
    return write_folder(folder, classes(count), photographs(units) if units else None)


def write_photos(folder: Path, count: int, size: tuple[int, int] = (90, 60)) -> Path:
    """Write a folder of (width, height) ``size`` images without a manifest."""
    chance = np.random.default_rng(7)
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        levels = chance.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
        Image.fromarray(levels).save(folder / f"snap-{number:02d}.jpg")
    return folder


def answers(key: dict[str, Any], session: str, rater: str = "", **said: Any) -> dict[str, Any]:
    """A file of answers as the page saves it: ``said`` are functions from an item to an answer, by task."""
    given = []
    for item in key["items"]:
        if item["task"] in said:
            given.append({"item": item["item"], "seconds": 1.5, **said[item["task"]](item)})
    return {
        "kind": "featvis quiz answers",
        "version": 1,
        "quiz": key["quiz"],
        "rater": rater,
        "session": session,
        "started": "2026-11-28T10:00:00.000Z",
        "ended": "2026-11-28T10:20:00.000Z",
        "answers": given,
    }


def write(path: Path, told: Any) -> Path:
    """Write plain data as JSON."""
    path.write_text(json.dumps(told), "utf-8")
    return path
