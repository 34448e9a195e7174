"""What a gallery's folder holds and lacks, from the folder alone. No torch in here."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from featvis.errors import OutputError, count_of
from featvis.galleries.arrays import Array, read_array
from featvis.pages.entries import read_list, read_table
from featvis.results.journal import Agreed, Journals, Told, read_agreed, read_both
from featvis.results.lock import DRIVER, members
from featvis.results.manifest import name_entries, read_manifest
from featvis.results.mirror import is_there

RECENT = 600.0
"""Seconds back of which the pace of shards is taken."""


@dataclass(frozen=True)
class Shard:
    """How far one of several writers of a folder is."""

    name: str
    writing: bool  # Whether it is at work now
    wanted: int  # How many pictures are its
    done: int  # Of those it made itself, dead ones too
    failed: int
    last: float | None
    """When it was last heard of, in seconds since 1970."""


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
    shards: list[Shard] = field(default_factory=list)
    """Who writes or wrote to it since it was last merged."""
    per_minute: float | None = None
    """Pictures a minute of all that are at work; None where none is, or none has made any."""
    jobs: str | None = None
    """The jobs that were submitted for it, whose pictures are not merged yet."""
    jobs_at_work: int | None = None
    """How many of them are at work; None where none were submitted, or the folder cannot tell."""
    jobs_begun: bool = False
    """Whether any of them has begun."""


def read_status(folder: Path) -> Status:
    """Count what a folder holds of what its last build planned, and its shards' journals tell of."""
    if not folder.is_dir():
        raise no_gallery(folder)
    journals, agreed, array = Journals(folder).update(), read_agreed(folder), read_array(folder)
    _, entries, names = _read_planned(folder, journals, agreed, array)
    keys = agreed.keys if agreed is not None else None
    counted = {name: entry for name, entry in entries.items() if name in names} if names else entries
    missing = [name for name in names if name not in entries]
    kinds = {"done": 0, "dead": 0, "failed": 0, "missing": len(missing)}
    stale = sum(_is_stale(name, entry, keys) for name, entry in entries.items())
    lacking = [_layer(name) for name in missing]
    for name, entry in counted.items():
        status = entry.get("status")
        if status == "ok" and names and _is_stale(name, entry, keys):
            kind = "missing"  # of an earlier recipe, to be replaced
        elif status == "ok":
            kind = "done" if is_there(folder / str(entry["file"])) else "missing"
        else:
            kind = status if status in ("dead", "failed") else "missing"
        kinds[kind] += 1
        if kind in ("missing", "failed"):
            lacking.append(str(entry.get("layer")))
    held = {member.name for member in members(folder) if member.is_held()} - {DRIVER}
    shards = [_shard(told, held) for told in journals.told.values()]
    shards += [Shard(name, True, 0, 0, 0, None) for name in sorted(held - journals.told.keys())]
    pace = _pace([told for name, told in journals.told.items() if name in held])
    left = _seconds(lacking, list(entries.values())) if pace is None else len(lacking) / pace
    return Status(
        planned=len(names) if names else None,
        stale=stale,
        seconds_left=left,
        shards=shards,
        per_minute=None if pace is None else 60 * pace,
        jobs=None if array is None else f"{count_of(array.count, 'job')} ({array.told})",
        jobs_at_work=None if array is None else _at_work(array, held),
        jobs_begun=array is not None and any(one.name.endswith(f"-{array.name}") for one in shards),
        **kinds,
    )


def read_planned(folder: Path) -> tuple[dict[str, Any], dict[str, dict[str, Any]], dict[str, None]]:
    """Return a folder's manifest with its shards' journals, its entries by name, and what was planned."""
    if not folder.is_dir():
        raise no_gallery(folder)
    return _read_planned(folder, Journals(folder).update(), read_agreed(folder), read_array(folder))


def _read_planned(
    folder: Path, journals: Journals, agreed: Agreed | None, array: Array | None
) -> tuple[dict[str, Any], dict[str, dict[str, Any]], dict[str, None]]:
    manifest = read_both(folder, journals) or read_manifest(folder)
    if manifest is None and array is not None:
        manifest = {"pictures": []}  # none of its jobs has begun
    if manifest is None:
        raise no_gallery(folder)
    names = _planned(manifest) if agreed is None else dict.fromkeys(agreed.keys)
    return manifest, name_entries(manifest["pictures"]), names


def no_gallery(folder: Path) -> OutputError:
    """Return the error for a folder that holds none."""
    what = "holds no pictures that featvis wrote" if folder.is_dir() else "is no folder"
    return OutputError(f"{folder} {what}")


def _is_stale(name: str, entry: Mapping[str, Any], keys: Mapping[str, str] | None) -> bool:
    if keys is None:
        return entry.get("stale") is True
    key = keys.get(name)
    return key is None or key not in (entry.get("key"), entry.get("asked_key"))


def _at_work(array: Array, held: set[str]) -> int | None:
    """Return how many jobs are at work, of those that hold their part or whose processes are seen."""
    seen, writing = array.seen(), sum(name.endswith(f"-{array.name}") for name in held)
    return max(seen or 0, writing) if seen is not None or writing else None


def _shard(told: Told, held: set[str]) -> Shard:
    failed = sum(noted.failed for noted in told.noted.values())
    stopped = sum(noted.stopped for noted in told.noted.values())
    times = [noted.at for noted in told.noted.values()] + ([] if told.began is None else [told.began])
    done = len(told.noted) - failed - stopped
    return Shard(told.name, told.name in held, told.wanted, done, failed, max(times, default=None))


def _pace(writing: list[Told]) -> float | None:
    """Return how many pictures a second those make who are at work, each at its own pace of late."""
    now = time.time()
    paces = []
    for told in writing:
        since = max(told.began or 0.0, now - RECENT)
        count = sum(noted.at >= since and not noted.stopped for noted in told.noted.values())
        paces.append(count / max(now - since, 1.0))
    return sum(paces) or None


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
