"""What several writers of one folder keep beside its manifest: what they agreed on, and a journal each.

All of it lies in the folder ``.featvis`` until it is merged into the manifest. No torch in here.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from featvis.errors import OutputError
from featvis.files import to_bytes, write_whole
from featvis.read import parse_json, read_json
from featvis.results.fields import is_count, is_number, is_table, is_text
from featvis.results.lock import PRIVATE, Member, members
from featvis.results.manifest import (
    Inside,
    as_line,
    name_entries,
    picture_name,
    read_sound_manifest,
    sound_entry,
)
from featvis.spec.bounds import MOST

AGREED = "plan.json"
JOURNAL = ".jsonl"


@dataclass(frozen=True)
class Agreed:
    """What all writers of a folder have in common: the first of them says it."""

    featvis: str
    torch: str
    machine: str
    """What computes, as :func:`featvis.devices.machine_of` tells it."""
    threads: int
    """CPU threads of the pictures whose recipes state none."""
    weights: str
    top: dict[str, Any]
    """The manifest's fields beside its pictures."""
    keys: dict[str, str]
    """The key of each picture that is wanted, by its name."""

    def differs(self, other: Agreed) -> str | None:
        """Say where another writer's is unlike this one; None if it is not."""
        for name, what in (("featvis", "featvis"), ("torch", "torch")):
            mine, theirs = getattr(self, name), getattr(other, name)
            if mine != theirs:
                return f"its writers use {what} {mine}, this is {theirs}"
        if (self.weights, self.keys) != (other.weights, other.keys):
            return "it is written to by shards of another config or network"
        return None


_KINDS: dict[str, Callable[[Any], bool]] = {
    **dict.fromkeys(("featvis", "torch", "machine", "weights"), is_text),
    "threads": lambda value: is_count(value) and 1 <= value <= MOST["threads"],
    "top": is_table,
    "keys": lambda value: is_table(value) and all(map(is_text, value.values())),
}


def read_agreed(folder: Path) -> Agreed | None:
    """Read what a folder's writers agreed on; None if there is nothing, or nothing that we wrote."""
    try:
        told = read_json(folder / PRIVATE / AGREED)
    except (ValueError, OSError):
        return None
    if not isinstance(told, dict) or not all(is_right(told.get(name)) for name, is_right in _KINDS.items()):
        return None
    return Agreed(**{one.name: told[one.name] for one in fields(Agreed)})


def agree(folder: Path, own: Agreed) -> Agreed:
    """Say what a folder's writers have in common, unless one of them has; return what holds.

    Raises:
        OutputError: the folder cannot be written.
    """
    place = folder / PRIVATE / AGREED
    known = read_agreed(folder)
    if known is not None:
        return known
    content = to_bytes(json.dumps(asdict(own), ensure_ascii=False))
    if place.exists():  # damaged
        write_whole(place, content)
        return own
    written = write_whole(place.with_name(f".{AGREED}.{secrets.token_hex(4)}"), content)
    try:
        with contextlib.suppress(FileExistsError):
            os.link(written, place)  # of several that come at once, one; also on NFS
    except OSError:  # a file system without links: the last of several that come at once
        write_whole(place, content)
    finally:
        written.unlink(missing_ok=True)
    return read_agreed(folder) or own


@dataclass
class Journal:
    """A writer's own list of what it made: a line for each picture, each written at once."""

    path: Path
    _recipes: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        """Begin, or go on after a line that a kill may have torn."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._handle = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
            if size := os.lseek(self._handle, 0, os.SEEK_END):
                os.lseek(self._handle, size - 1, os.SEEK_SET)
                if os.read(self._handle, 1) != b"\n":
                    os.write(self._handle, b"\n")
        except OSError as error:
            raise OutputError(f"cannot write {self.path}: {error.strerror or error}") from None

    def begin(self, wanted: int, done: int) -> None:
        """Note that the writer has begun: how many pictures are its, and how many of them are there."""
        self._write({"wanted": wanted, "done": done})

    def add(self, entry: Mapping[str, Any], recipe: Mapping[str, Any], steps: Mapping[str, int]) -> None:
        """Note a picture, or why there is none."""
        line: dict[str, Any] = {"entry": dict(entry)}
        if entry["recipe"] not in self._recipes:
            line["recipe"] = dict(recipe)
            self._recipes.add(entry["recipe"])
        if steps:
            line["steps"] = dict(steps)
        self._write(line)

    def _write(self, line: dict[str, Any]) -> None:
        content = to_bytes(as_line({"at": round(time.time(), 2), **line}) + "\n")
        try:
            if os.write(self._handle, content) != len(content):
                raise OutputError(f"cannot write {self.path}: the disk is full")
        except OSError as error:
            raise OutputError(f"cannot write {self.path}: {error.strerror or error}") from None

    def close(self) -> None:
        """Close the file."""
        os.close(self._handle)


@dataclass(frozen=True, slots=True)
class Noted:
    """What is remembered of a picture's line."""

    at: float
    """When it was written, in seconds since 1970."""
    failed: bool
    stopped: bool
    """Whether it lies there as it stood when its writer was interrupted."""
    where: int
    """The byte of the journal that it begins with."""


@dataclass
class Told:
    """What a journal says, read as it grows; the entries stay where they are."""

    path: Path
    name: str
    """The writer's."""
    noted: dict[str, Noted] = field(default_factory=dict)
    """By the pictures' names, the last of each."""
    layers: set[str] = field(default_factory=set)
    """Of the pictures."""
    recipes: dict[str, dict[str, Any]] = field(default_factory=dict)
    steps: dict[str, int] = field(default_factory=dict)
    """How many steps a GPU replayed, and how many the host took."""
    began: float | None = None
    """When the writer began last."""
    wanted: int = 0
    """How many pictures are its."""
    in_vain: int = 0
    """How often it began since it wrote a picture last."""
    _read: int = 0

    @property
    def ended(self) -> set[str]:
        """The names of the pictures that are made or failed, not of those that were under way."""
        return {name for name, noted in self.noted.items() if not noted.stopped}

    def update(self, is_inside: Inside) -> set[str]:
        """Read what was written since the last time; a line that is not whole yet is left for the next.

        Returns:
            The names of the pictures that it says are made or failed.
        """
        fresh = set[str]()
        with contextlib.suppress(OSError), self.path.open("rb") as stream:
            stream.seek(self._read)
            for line in stream:
                if not line.endswith(b"\n"):
                    break
                where, self._read = self._read, self._read + len(line)
                told = _parse(line)
                name = None if told is None else self._take(told, where, is_inside)
                if name is not None and not self.noted[name].stopped:
                    fresh.add(name)
        return fresh

    def read(self, names: Iterable[str], is_inside: Inside) -> dict[str, dict[str, Any]]:
        """Return the entries of some of its pictures; none of a journal that is gone."""
        found = {}
        with contextlib.suppress(OSError), self.path.open("rb") as stream:
            for name in names:
                stream.seek(self.noted[name].where)
                told = _parse(stream.readline()) or {}
                entry = sound_entry(told.get("entry"), is_inside)
                if entry is not None and picture_name(entry) == name:
                    found[name] = entry
        return found

    def _take(self, told: dict[str, Any], where: int, is_inside: Inside) -> str | None:
        when = told.get("at")
        at = float(when) if isinstance(when, int | float) and is_number(when) else 0.0
        if is_count(told.get("wanted")):
            self.began, self.wanted = at, told["wanted"]
            self.in_vain += 1
        entry = sound_entry(told.get("entry"), is_inside)
        if entry is None:
            return None
        name = picture_name(entry)
        self.in_vain = 0
        status = entry.get("status")
        self.noted[name] = Noted(at, status == "failed", status == "stopped", where)
        self.layers.add(str(entry.get("layer")))
        if is_table(told.get("recipe")):
            self.recipes[str(entry.get("recipe"))] = told["recipe"]
        steps = told.get("steps")
        if isinstance(steps, dict):
            for kind in ("replayed", "computed"):
                if is_count(steps.get(kind)):
                    self.steps[kind] = self.steps.get(kind, 0) + steps[kind]
        return name


def _parse(line: bytes) -> dict[str, Any] | None:
    with contextlib.suppress(ValueError):
        told = parse_json(line.decode())
        if isinstance(told, dict):
            return told
    return None


class Journals:
    """All journals of a folder, read as they grow."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.told: dict[str, Told] = {}
        """By the writers' names."""
        self.fresh = set[str]()
        """The names of the pictures that the last reading found made or failed."""

    def update(self) -> Journals:
        """Read what was written since the last time; return itself."""
        self.fresh, is_inside = set(), Inside(self.folder)
        for path in sorted((self.folder / PRIVATE).glob(f"*{JOURNAL}")):
            self.fresh |= self.told.setdefault(path.stem, Told(path, path.stem)).update(is_inside)
        return self

    @property
    def layers(self) -> set[str]:
        """Those of all pictures."""
        return set[str]().union(*(told.layers for told in self.told.values()))

    def entries(self) -> dict[str, dict[str, Any]]:
        """Return each picture's entry by its name: a finished one before a failure, a later one first."""
        best: dict[str, tuple[tuple[bool, float], str]] = {}
        for writer, told in self.told.items():
            for name, noted in told.noted.items():
                rank = (not noted.failed, noted.at)
                if name not in best or rank >= best[name][0]:
                    best[name] = rank, writer
        chosen: dict[str, list[str]] = {}
        for name, (_, writer) in best.items():
            chosen.setdefault(writer, []).append(name)
        found, is_inside = dict[str, dict[str, Any]](), Inside(self.folder)
        for writer, names in chosen.items():
            found |= self.told[writer].read(names, is_inside)
        return {name: found[name] for name in best if name in found}


def read_both(folder: Path, journals: Journals) -> dict[str, Any] | None:
    """Return a folder's manifest as it is with the journals taken into it; None if there is neither."""
    made = journals.entries()  # first: who merges them at this moment writes the manifest, then removes them
    sound, agreed = read_sound_manifest(folder), read_agreed(folder)
    if not journals.told and (sound is not None or agreed is None):
        return sound
    both = dict(sound or {"pictures": []})
    both |= {name: value for name, value in (agreed.top if agreed else {}).items() if name not in _KEPT}
    for name in _KEPT:
        if name not in both and agreed is not None and name in agreed.top:
            both[name] = agreed.top[name]
    known = name_entries(both["pictures"])
    for name, entry in made.items():
        there = known.get(name, {})
        same = there.get("key") == entry["key"] and there.get("status") in ("ok", "dead")
        if entry.get("status") != "failed" or not same:
            known[name] = entry
    both["pictures"] = list(known.values())
    recipes, steps = dict(both.get("recipes") or {}), dict(both.get("steps") or {})
    for told in journals.told.values():
        recipes |= told.recipes
        for kind, count in told.steps.items():
            steps[kind] = int(steps.get(kind, 0)) + count
    both["recipes"] = recipes
    return both | ({"steps": steps} if steps else {})


_KEPT = ("created", "recipes", "steps", "requests", "machine")
"""What a folder keeps of its first manifest."""


def clear_private(folder: Path) -> list[Member]:
    """Remove what is merged: the journals and locks of writers that have ended; return those at work.

    Only while the folder's lock is held, so that none begins meanwhile.
    """
    alive = [member for member in members(folder) if member.is_held()]
    names = {member.name for member in alive}
    place = folder / PRIVATE
    for path in _own_files(place):
        if path.stem not in names:
            path.unlink(missing_ok=True)
    if not alive:
        (place / AGREED).unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        place.rmdir()
    return alive


def _own_files(place: Path) -> Iterator[Path]:
    for ending in (JOURNAL, ".lock"):
        yield from place.glob(f"*{ending}")
