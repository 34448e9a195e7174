"""A gallery's folder while it is built: what is finished, what failed, what is of an earlier config."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from featvis.errors import OutputError
from featvis.files import check_inside
from featvis.galleries.plan import GalleryItem, GalleryPlan
from featvis.plan.wanted import Wanted
from featvis.results.glance import glance
from featvis.results.journal import Journal, Journals, read_both
from featvis.results.manifest import name_entries, picture_name, read_manifest
from featvis.results.picture import Picture, load_picture
from featvis.results.store import Store, file_name
from featvis.spec.recipe import recipe_id

DONE = ("ok", "dead")
"""Statuses of what is not rendered again; what was stopped or failed is."""
EVERY = 2.0
"""Seconds between two writings of the manifest while pictures are made."""


class PlannedFolder(Store):
    """A store that knows what is wanted of it, and takes over the journals of shards."""

    def __init__(self, folder: Path, keys: Mapping[str, str], top: Mapping[str, Any]) -> None:
        """Open or begin a gallery's folder.

        Args:
            folder: where it is.
            keys: of all that is wanted, by the pictures' names.
            top: of the manifest: model, weights, recipe, gallery.

        Raises:
            OutputError: it cannot be written, or holds another network's pictures.
        """
        self.journals, self.pruned = Journals(folder), set[str]()
        super().__init__(folder, model=top["model"], weights=top["weights"], recipe=top["recipe"])
        self.keys = keys
        self.top["gallery"] = top["gallery"]
        self._written, self._pause = time.monotonic(), EVERY

    def _read_before(self) -> dict[str, Any] | None:
        return read_both(self.folder, self.journals.update()) or super()._read_before()

    @property
    def taken(self) -> set[str]:
        """The layers of which the journals tell, and those that lost pictures."""
        return self.journals.layers | self.pruned

    def enter(self, picture: Picture, file: str) -> None:
        """Enter a picture whose file is there, instead of what is known of it."""
        self._enter(picture, file, anew=True)

    def file_of(self, picture: Picture) -> str:
        """Return where a picture's file goes: as a config says, so that a changed recipe replaces."""
        return file_name(picture)

    def _name(self, entry: dict[str, Any]) -> str:
        return picture_name(entry)

    def mark_stale(self) -> int:
        """Mark what is not as the config wants it, and unmark the rest; return how many are stale."""
        count = 0
        for name, entry in self.entries.items():
            stale = is_stale(entry, self.keys.get(name))
            if (stale or None) != entry.get("stale"):
                kept = {field: value for field, value in entry.items() if field != "stale"}
                self.entries[name] = kept | ({"stale": True} if stale else {})
            count += stale
        return count

    def write_now_and_then(self) -> None:
        """Write the manifest if it was not written just now; a kill in between loses no picture.

        The more pictures there are, the longer this takes; so the pauses grow.
        """
        now = time.monotonic()
        if now - self._written >= self._pause:
            self.write_manifest()
            self._written = time.monotonic()
            self._pause = max(EVERY, 20 * (self._written - now))


class GalleryFolder(PlannedFolder):
    """A gallery's folder while its pictures are made."""

    alone = True
    """Whether nobody else writes to it."""

    def __init__(self, folder: Path, plan: GalleryPlan, gallery: dict[str, Any]) -> None:
        """Open or begin it for a plan; ``gallery`` stands in the manifest under this name.

        Raises:
            OutputError: it cannot be written, or holds another network's pictures.
        """
        super().__init__(folder, plan.keys, plan.describe(gallery))
        self.plan = plan
        self.items = list(plan.pictures.values())
        """What is to be made here."""
        self.unlike = ""
        """The machine, where it is another than that of the folder's first pictures."""

    def settle_machine(self, machine: str, *, allow_unlike: bool) -> None:
        """Keep what machine a folder's first pictures were made by.

        Args:
            machine: this one, as :func:`featvis.devices.machine_of` tells it.
            allow_unlike: whether pictures of another may be added, each with its machine in its entry.

        Raises:
            OutputError: it is another, and that is not allowed.
        """
        kept = self.top.get("machine")
        if kept is None and not any(entry.get("status") == "ok" for entry in self.entries.values()):
            self.top["machine"] = machine
        self.unlike = machine if kept not in (None, machine) else ""
        if self.unlike and not allow_unlike:
            raise unlike(self.folder, str(kept), machine)

    def add(self, picture: Picture) -> Path | None:
        """Write a picture's file and remember its entry, with the machine if it is another."""
        path = super().add(picture)
        if self.unlike:
            name = f"{picture.target} seed {picture.seed}"
            self.entries[name] = {**self.entries[name], "machine": self.unlike}
        return path

    def find_missing(self, say: Callable[[str], None]) -> list[GalleryItem]:
        """Return what must be rendered; enter finished pictures whose entry a kill has lost."""
        missing = []
        for item in self.items:
            known = self.entries.get(item.name)
            picture = finished(self.folder, known, item, say)
            if picture is None:
                missing.append(item)
            elif isinstance(picture, Picture) and (known is None or not _is_of(known, picture)):
                self._enter(picture, file_name(item), anew=True)
        return missing

    def add_failure(self, wanted: Wanted, reason: str) -> None:
        """Record that a picture could not be made, and why."""
        recipe = wanted.recipe.to_json()
        entry: dict[str, Any] = {
            "file": None,
            "target": wanted.name,
            "layer": wanted.layer,
            "unit": wanted.unit,
            "label": wanted.label,
            "variant": wanted.variant,
            "seed": wanted.seed,
            "key": wanted.key(self.plan.weights),
            "score": None,
            "start_score": None,
            "recipe": recipe_id(recipe),
            "steps": wanted.recipe.steps,
            "seconds": None,
            "status": "failed",
            "reason": reason[:300],
            "verdicts": [],
            "trace": [],
            "attempt": wanted.attempt,
        }
        if (asked := wanted.asked_key(self.plan.weights)) is not None:
            entry["asked_key"] = asked
        self.entries[picture_name(entry)] = entry
        self.top["recipes"][entry["recipe"]] = recipe

    def keep_under_way(self, picture: Picture) -> bool:
        """Keep a picture that was stopped, as it stands, unless a finished one lies there; say if it is kept.

        It counts as missing, so the next build renders it whole.
        """
        path = self.folder / self.file_of(picture)
        if path.exists():
            try:
                if load_picture(path).status != "stopped":
                    return False
            except OutputError:  # no picture: the next build would replace it, too
                return False
        return self.add(picture) is not None

    def prune(self) -> list[str]:
        """Remove pictures that the config no longer asks for; return their names."""
        gone = [name for name in self.entries if name not in self.plan.pictures]
        layers = set()
        for name in gone:
            entry = self.entries.pop(name)
            file = entry.get("file")
            if isinstance(file, str) and _is_ours(self.folder / file):
                (self.folder / file).unlink(missing_ok=True)
                layers.add(str(entry.get("layer") or ""))
        self.pruned |= layers  # their sheets still show what is gone
        for layer in layers - {str(entry.get("layer") or "") for entry in self.entries.values()}:
            sheet = self.grid_path(layer)
            check_inside(sheet, self.folder)
            sheet.unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # somebody else's files keep it
                sheet.parent.rmdir()
        return gone


class ShardFolder(GalleryFolder):
    """A gallery's folder as one of several that write to it sees it: its journal is its manifest."""

    alone = False

    def __init__(
        self,
        folder: Path,
        plan: GalleryPlan,
        gallery: dict[str, Any],
        items: list[GalleryItem],
        journal: Journal,
    ) -> None:
        """Open it, to make these items of the plan."""
        self.journal = journal
        super().__init__(folder, plan, gallery)
        self.items = items

    def _read_before(self) -> dict[str, Any] | None:
        return read_both(self.folder, self.journals.update())

    def adopt(self) -> None:
        """Leave pictures without an entry to who merges: reading all of them once is enough."""

    def add(self, picture: Picture) -> Path | None:
        """Write a picture's file and its line."""
        before = dict(self.top.get("steps", {}))
        path = super().add(picture)
        steps = {kind: count - before.get(kind, 0) for kind, count in self.top.get("steps", {}).items()}
        name = f"{picture.target} seed {picture.seed}"
        self.journal.add(self.entries[name], picture.recipe, steps)
        return path

    def add_failure(self, wanted: Wanted, reason: str) -> None:
        """Write a line that a picture could not be made, and why."""
        super().add_failure(wanted, reason)
        entry = self.entries[f"{wanted.name} seed {wanted.seed}"]
        self.journal.add(entry, self.top["recipes"][entry["recipe"]], {})

    def write_manifest(self) -> Path:
        """Write nothing: the manifest is made of all shards' journals."""
        return self.journal.path


def is_stale(entry: Mapping[str, Any], key: str | None) -> bool:
    """Whether an entry's picture is not of this key, the one that is wanted now; None if none is."""
    return key is None or key not in (entry.get("key"), entry.get("asked_key"))


def unlike(folder: Path, kept: str, machine: str) -> OutputError:
    """Return the error for a machine that is not as the first one of a folder."""
    problem = f"the pictures in {folder} are made by {kept}, this is {machine}: last bits would differ"
    return OutputError(
        f"{problem}; allow_unlike=True says with each picture what made it",
        typed=f"{problem}; --allow-unlike says with each picture what made it",
    )


def finished(
    folder: Path, entry: Mapping[str, Any] | None, item: GalleryItem, say: Callable[[str], None]
) -> Picture | Mapping[str, Any] | None:
    """Return the entry of a finished picture or dead unit; None if it must be rendered.

    A picture of which the entry says something else than its file, or there is none, is read and returned.
    """
    known = entry is not None and item.key in (entry.get("key"), entry.get("asked_key"))
    if known and entry is not None and entry.get("status") == "dead":
        return entry
    path = folder / file_name(item)
    if known and entry is not None and entry.get("status") == "ok":
        told = glance(path)
        if told is not None and (told["key"], told["status"]) == (entry.get("key"), "ok"):
            return entry
    try:
        picture = load_picture(path)
    except OutputError as error:
        if path.exists():
            say(f"{error}; it is rendered again")
        elif known and entry is not None and entry.get("status") == "ok":
            say(f"{path} is gone; it is rendered again")
        return None
    # The file is asked, not the manifest: a kill may have come between the two.
    return picture if item.key in (picture.key, picture.asked_key) and picture.status in DONE else None


def find_missing(folder: Path, plan: GalleryPlan) -> list[GalleryItem]:
    """Return what a folder lacks of a plan; nothing is written."""
    entries = _entries_of(folder)
    return [
        item
        for item in plan.pictures.values()
        if finished(folder, entries.get(item.name), item, lambda line: None) is None
    ]


def find_unasked(folder: Path, plan: GalleryPlan) -> list[str]:
    """Return the names of a folder's pictures that a plan does not ask for: what pruning removes."""
    return [name for name in _entries_of(folder) if name not in plan.pictures]


def _entries_of(folder: Path) -> dict[str, dict[str, Any]]:
    manifest = None
    if folder.is_dir():
        manifest = read_both(folder, Journals(folder).update()) or read_manifest(folder)
    return name_entries((manifest or {}).get("pictures", []))


def _is_of(entry: Mapping[str, Any], picture: Picture) -> bool:
    return entry.get("key") == picture.key and entry.get("status") == picture.status


def _is_ours(path: Path) -> bool:
    try:
        load_picture(path)
    except OutputError:
        return False
    return True
