"""What a gallery's folder holds and lacks, from its manifest alone. No torch in here."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from featvis.errors import OutputError
from featvis.pages.entries import read_list, read_table
from featvis.results.manifest import name_entries, read_manifest


@dataclass(frozen=True)
class Status:
    """How far a gallery is."""

    planned: int | None  # How many pictures its config asks for; None where no build has planned it
    done: int
    missing: int
    dead: int
    failed: int
    stale: int
    seconds_left: float | None
    """How long the missing pictures will take at the speed of those that are done; None where none is."""


def read_status(folder: Path) -> Status:
    """Count what a folder holds of what its last build planned."""
    manifest = read_manifest(folder) if folder.is_dir() else None
    if manifest is None:
        what = "holds no pictures that featvis wrote" if folder.is_dir() else "is no folder"
        raise OutputError(f"{folder} {what}")
    entries = name_entries(manifest["pictures"])
    names = _planned(manifest)
    counted = [entry for name, entry in entries.items() if name in names] if names else [*entries.values()]
    missing = [name for name in names if name not in entries]
    kinds = {"done": 0, "dead": 0, "failed": 0, "missing": len(missing)}
    stale = sum(entry.get("stale") is True for entry in entries.values())
    lacking = [_layer(name) for name in missing]
    for entry in counted:
        status = entry.get("status")
        if status == "ok" and entry.get("stale") is True and names:
            kind = "missing"  # of an earlier recipe, to be replaced
        elif status == "ok":
            kind = "done" if (folder / str(entry["file"])).is_file() else "missing"
        else:
            kind = status if status in ("dead", "failed") else "missing"
        kinds[kind] += 1
        if kind in ("missing", "failed"):
            lacking.append(str(entry.get("layer")))
    left = _seconds(lacking, list(entries.values()))
    return Status(planned=len(names) if names else None, stale=stale, seconds_left=left, **kinds)


def _planned(manifest: dict[str, Any]) -> dict[str, None]:
    sections = read_list(read_table(manifest.get("gallery")).get("sections"))
    pictures = [read_list(read_table(section).get("pictures")) for section in sections]
    return dict.fromkeys(str(name) for names in pictures for name in names)


def _layer(name: str) -> str:
    """Return the layer of a picture's name, as the manifest's entries write it."""
    return name.rpartition(" seed ")[0].removeprefix("-1*").rpartition(":")[0]


def _seconds(lacking: list[str], entries: list[dict[str, Any]]) -> float | None:
    """Add up what is lacking, each at the pace of its layer, or of all where nothing of its is done."""
    paces: dict[str, list[float]] = {}
    for entry in entries:
        seconds = entry.get("seconds")
        if isinstance(seconds, int | float) and seconds > 0:
            paces.setdefault(str(entry.get("layer")), []).append(float(seconds))
    if not lacking:
        return 0.0
    if not paces:
        return None
    every = statistics.mean(second for pace in paces.values() for second in pace)
    return sum(statistics.mean(paces[layer]) if layer in paces else every for layer in lacking)
