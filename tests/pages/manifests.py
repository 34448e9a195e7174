"""Galleries for the tests of pages: manifests as plain data, and folders with pictures of noise."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from featvis.pages.entries import Entry
from featvis.results.manifest import picture_name
from featvis.results.store import safe_name

RECIPE = {
    "size": [24, 32],
    "input_size": None,
    "steps": 8,
    "space": {"name": "fourier", "exponent": 1.3},
    "transforms": [{"name": "warp", "scale": [0.6, 1.1]}, {"name": "noise", "sd": [0.3, 0.02]}],
    "penalties": [],
    "optimizer": "adam",
    "lanes": 2,
    "threads": 1,
}
LABELS = {263: "Pembroke, Pembroke Welsh corgi", 264: "Cardigan, Cardigan Welsh corgi", 1: "goldfish"}


def entry(layer: str = "blocks.3", unit: int | None = 0, **changes: Any) -> dict[str, Any]:
    """An entry as a store writes it; ``changes`` replace its values."""
    target = f"{layer}:{unit}" if unit is not None else "brightest"
    place = f"{safe_name(layer)}/{unit:04d}" if unit is not None else "objectives/brightest-00000000"
    seed = changes.get("seed", 0)
    told = {
        "file": f"{place}{f'-seed{seed}' if seed else ''}.png",
        "target": target,
        "layer": layer if unit is not None else "",
        "unit": unit,
        "label": LABELS.get(unit, "") if layer == "classifier" else "",
        "seed": 0,
        "key": f"{unit or 0:032x}",
        "score": 10.0 + (unit or 0) * 7 % 11,
        "start_score": 0.5,
        "recipe": "0123abcd",
        "steps": 8,
        "seconds": 0.25,
        "status": "ok",
        "verdicts": [],
        "attempt": 0,
    }
    return {**told, **changes}


def manifest(*pictures: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """A manifest with these entries."""
    return {
        "featvis": "0.1.0",
        "model": "efficientnet_lite0",
        "weights": "9422913c2e6b8f76a39c825493f2771a110c8edf44e855f92506ef8c54545425",
        "recipe": RECIPE,
        "created": "2026-11-24T17:11:48+00:00",
        "recipes": {"0123abcd": RECIPE},
        "pictures": list(pictures),
        **changes,
    }


def rich() -> tuple[dict[str, Any], dict[str, Any]]:
    """A manifest with everything that an entry can be, and its examples."""
    trace = [0.5, 3.0, 2.5, 7.0, 9.5]
    pictures = [
        *(entry("blocks.3", unit, trace=trace) for unit in range(6)),
        entry("blocks.3", 12, trace=trace, verdicts=["hardly above the start"]),
        entry("blocks.3", 12, seed=1),
        entry("blocks.3", 12, seed=2, status="failed", file=None, reason="out of memory"),
        entry("blocks.3", 12, target="-blocks.3:12", variant="negative", file="blocks.3/0012-negative.png"),
        entry("blocks.3", 12, target="diverse(blocks.3:12)", variant="diverse", file="blocks.3/0012-d0.png"),
        entry("blocks.3", 12, target="blocks.3:12@1,2", file="blocks.3/0012@1,2.png"),
        entry("blocks.3", 13, status="dead", file=None, score=0.0),
        entry("blocks.3", 14, status="failed", file=None, reason="out of memory after 3 attempts"),
        entry("blocks.3", 15, stale=True),
        *(entry("classifier", unit, trace=trace) for unit in (1, 263, 264)),
        entry("", None),
    ]
    gallery = {
        "title": "Lite0",
        "text": "First paragraph.\n\nSecond paragraph.",
        "command": "featvis gallery build lite0.toml",
        "sections": [
            {
                "title": "Classes",
                "text": "Names.",
                "pictures": ["classifier:263 seed 0", "classifier:1 seed 0"],
            },
            {"title": "Middle", "text": "", "pictures": [f"blocks.3:{unit} seed 0" for unit in range(16)]},
            {"title": "Late", "text": "Not yet.", "pictures": ["blocks.6:0 seed 0"]},
        ],
    }
    crops = [
        {"image": "chelsea.png", "value": 4.0, "position": [3, 5], "box": [24, 40, 57, 57]},
        {"image": "coffee.png", "value": 2.5, "position": None, "box": None},
    ]
    crops = [{**crop, "file": f"examples/blocks.3/0012-{place}.webp"} for place, crop in enumerate(crops)]
    quantiles = [[0.5, 1.0], [0.9, 2.0], [0.99, 3.5], [1.0, 4.0]]
    examples = {
        "folder": "photos",
        "fingerprint": "f",
        "images": 120,
        "skipped": 1,
        "units": {"blocks.3:12": {"examples": crops, "quantiles": quantiles}},
    }
    return manifest(*pictures, gallery=gallery), examples


def switched_off() -> dict[str, Any]:
    """What is known of a unit of :func:`rich` that was switched off."""
    changes = [
        {
            "class": unit,
            "label": label,
            "logit": logit,
            "probability": logit / 100,
            "logit_interval": [logit - 0.5, logit + 0.5],
            "probability_interval": None,
        }
        for unit, label, logit in ((263, "Pembroke, Pembroke Welsh corgi", -1.5), (7, "", -0.25))
    ]
    rising = {**changes[0], "class": 285, "label": "Egyptian cat", "logit": 0.75, "logit_interval": None}
    return {
        "weights": manifest()["weights"],
        "folder": "photos",
        "layer": "classifier",
        "photographs": 48,
        "units": {
            "blocks.3:12": {
                "how": "blocks.3:12 zeroed",
                "first_changed": 2,
                "first_changed_interval": [0.012, 0.1397],
                "falls": changes,
                "rises": [rising],
            }
        },
    }


HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "javascript:alert(1)",
    "</title></textarea></style><script>alert(1)</script>",
    "{{ 7 * 7 }}{% raw %}",
    "../../etc/passwd",
    "a\x00b\ud800\x1b[31m",
    "<!--",
    "&lt;b&gt;",
    "]]>",
    "x" * 5000,
]


def hostile(text: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The rich manifest and its examples with this text wherever text can be."""
    told, examples = rich()
    told = json.loads(json.dumps(told))
    for name in ("model", "weights", "created", "featvis"):
        told[name] = text
    told["recipes"]["0123abcd"][text] = text
    told["recipes"]["0123abcd"]["space"] = {text: text, "many": [text, {text: text}]}
    for one in told["pictures"]:
        one["label"], one["key"], one["verdicts"], one["reason"] = text, text, [text], text
        if one["unit"] is None:
            one["target"] = text
        else:
            one["target"] = f"{text}:{one['unit']}"
            one["layer"] = text
    told["gallery"] = {
        "title": text,
        "text": text,
        "command": text,
        "sections": [
            {"title": text, "text": text, "pictures": [picture_name(one) for one in told["pictures"]]}
        ],
    }
    unit = examples["units"].pop("blocks.3:12")
    for crop in unit["examples"]:
        crop["image"] = text
    examples["units"][f"{text}:12"] = unit
    return told, examples


def write_folder(folder: Path, told: dict[str, Any], examples: dict[str, Any] | None = None) -> Path:
    """Write a manifest, its examples and a picture of noise for every file that they name."""
    chance = np.random.default_rng(3)
    folder.mkdir(parents=True, exist_ok=True)
    files = [(one["file"], (24, 32)) for one in told["pictures"] if one["file"]]
    for unit in (examples or {"units": {}})["units"].values():
        files += [(crop["file"], (57, 57)) for crop in unit["examples"]]
    for name, (height, width) in files:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(chance.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(path)
    (folder / "manifest.json").write_text(json.dumps(told), "utf-8")
    if examples is not None:
        (folder / "examples.json").write_text(json.dumps(examples), "utf-8")
    return folder


def many(count: int) -> dict[str, Any]:
    """A manifest of one layer with so many units, some dead, some with verdicts, every one with a name."""
    chance = random.Random(5)
    names = ["tench", "goldfish, Carassius auratus", "Pembroke, Pembroke Welsh corgi", "volcano", "daisy"]
    pictures = []
    for unit in range(count):
        changes: dict[str, Any] = {"label": names[unit % len(names)], "score": chance.uniform(-1, 30)}
        if unit % 97 == 5:
            changes |= {"status": "dead", "file": None}
        elif unit % 31 == 7:
            changes["verdicts"] = ["hardly above the start"]
        pictures.append(entry("classifier", unit, **changes))
    return manifest(*pictures)


def thumbnails(told: dict[str, Any]) -> set[str]:
    """Where the small pictures of a manifest's files are."""
    return {str(Entry("", 0, file=one["file"]).thumbnail) for one in told["pictures"] if one["file"]}
