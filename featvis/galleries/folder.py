"""A gallery's folder while it is built: what is finished, what failed, what is of an earlier config."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from featvis.errors import OutputError
from featvis.galleries.plan import GalleryItem, GalleryPlan
from featvis.plan.wanted import Wanted
from featvis.results.manifest import name_entries, picture_name, read_manifest
from featvis.results.picture import Picture, load_picture
from featvis.results.store import Store, file_name
from featvis.spec.recipe import recipe_id

DONE = ("ok", "dead")
"""Statuses of what is not rendered again; what was stopped or failed is."""
EVERY = 2.0
"""Seconds between two writings of the manifest while pictures are made."""


class GalleryFolder(Store):
    """A store that knows what a plan wants of it."""

    def __init__(self, folder: Path, plan: GalleryPlan, gallery: dict[str, Any]) -> None:
        """Open or begin a gallery's folder; ``gallery`` stands in the manifest under this name.

        Raises:
            OutputError: it cannot be written, or holds another network's pictures.
        """
        first = next(iter(plan.pictures.values()))
        recipe = first.wanted.recipe.to_json()
        super().__init__(folder, model=plan.model.name, weights=plan.weights, recipe=recipe)
        self.plan = plan
        self.top["gallery"] = gallery
        self._written, self._pause = time.monotonic(), EVERY

    def file_of(self, picture: Picture) -> str:
        """Return where a picture's file goes: as a config says, so that a changed recipe replaces."""
        return file_name(picture)

    def _name(self, entry: dict[str, Any]) -> str:
        return picture_name(entry)

    def find_missing(self, say: Callable[[str], None]) -> list[GalleryItem]:
        """Return what must be rendered; enter finished pictures whose entry a kill has lost."""
        missing = []
        for item in self.plan.pictures.values():
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

    def mark_stale(self) -> int:
        """Mark what is not as the config wants it, and unmark the rest; return how many are stale."""
        count = 0
        for name, entry in self.entries.items():
            item = self.plan.pictures.get(name)
            entry.pop("stale", None)
            if item is None or item.key not in (entry.get("key"), entry.get("asked_key")):
                entry["stale"] = True
                count += 1
        return count

    def prune(self) -> list[str]:
        """Remove pictures that the config no longer asks for; return their names."""
        gone = [name for name in self.entries if name not in self.plan.pictures]
        for name in gone:
            file = self.entries.pop(name).get("file")
            if isinstance(file, str) and _is_ours(self.folder / file):
                (self.folder / file).unlink(missing_ok=True)
        return gone

    def write_now_and_then(self) -> None:
        """Write the manifest if it was not written just now; a kill in between loses no picture.

        The more pictures there are, the longer this takes; so the pauses grow.
        """
        now = time.monotonic()
        if now - self._written >= self._pause:
            self.write_manifest()
            self._written = time.monotonic()
            self._pause = max(EVERY, 20 * (self._written - now))


def finished(
    folder: Path, entry: dict[str, Any] | None, item: GalleryItem, say: Callable[[str], None]
) -> Picture | dict[str, Any] | None:
    """Return a finished picture, read from its file, or a dead unit's entry; None if it must be rendered."""
    known = entry is not None and item.key in (entry.get("key"), entry.get("asked_key"))
    if known and entry is not None and entry.get("status") == "dead":
        return entry
    path = folder / file_name(item)
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
    manifest = read_manifest(folder) if folder.is_dir() else None
    entries = name_entries((manifest or {}).get("pictures", []))
    return [
        item
        for item in plan.pictures.values()
        if finished(folder, entries.get(item.name), item, lambda line: None) is None
    ]


def _is_of(entry: dict[str, Any], picture: Picture) -> bool:
    return entry.get("key") == picture.key and entry.get("status") == picture.status


def _is_ours(path: Path) -> bool:
    try:
        load_picture(path)
    except OutputError:
        return False
    return True
