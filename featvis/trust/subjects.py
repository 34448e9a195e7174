"""What a folder holds to be evaluated: every picture as its file really is, beside what its entry claims."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from featvis.errors import OutputError
from featvis.photographs.photos import list_files
from featvis.results.manifest import MANIFEST, picture_name, read_manifest
from featvis.results.picture import load_image, load_picture
from featvis.spec.bounds import PIXELS, read_recipe
from featvis.spec.target import parse_request

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Subject:
    """One picture of a folder."""

    entry: dict[str, Any]
    """What the manifest says of it."""
    image: Tensor
    """``(C, H, W)`` in [0, 1]: what its file holds, whatever the entry says."""
    recipe: dict[str, Any]
    genuine: bool
    """Whether the file carries the key that the entry names."""

    @property
    def name(self) -> str:
        """What tells it from the folder's others: target, seed and recipe."""
        return f"{picture_name(self.entry)} recipe {self.entry.get('recipe')}"

    @property
    def layer(self) -> str:
        """The layer of its unit; empty for an objective that is code."""
        return str(self.entry.get("layer") or "") if self.unit is not None else ""

    @property
    def unit(self) -> int | None:
        """Its unit, or None for an objective that is code."""
        unit = self.entry.get("unit")
        return unit if isinstance(unit, int) and not isinstance(unit, bool) and unit >= 0 else None

    @property
    def label(self) -> str:
        """The name of its class, if it has one."""
        return str(self.entry.get("label") or "")

    @property
    def sign(self) -> int:
        """-1 for what drives the unit down."""
        return -1 if self.entry.get("variant") == "negative" else 1

    @property
    def position(self) -> tuple[int, int] | None:
        """(row, column) of a neuron; None for the whole map."""
        return parse_request("x:" + str(self.entry["target"]).rpartition(":")[2]).position

    @property
    def shown_size(self) -> tuple[int, int]:
        """(height, width) that its network was shown."""
        size = self.recipe.get("input_size") or self.recipe.get("size")
        return (int(size[0]), int(size[1])) if size else (self.image.shape[1], self.image.shape[2])


@dataclass(frozen=True)
class Contents:
    """A folder's pictures, and the entries of those that cannot be looked at."""

    subjects: list[Subject]
    dead: list[dict[str, Any]]
    missing: list[dict[str, Any]]
    """Files that are gone or unreadable, and pictures that failed."""


def read_folder(folder: Path) -> dict[str, Any]:
    """Read the manifest of a folder; an OutputError where it holds no pictures."""
    if not folder.is_dir():
        raise OutputError(f"no folder {str(folder)!r}" if not folder.exists() else f"{folder} is a file")
    manifest = read_manifest(folder)
    if manifest is None or not manifest["pictures"]:
        if any(
            Path(name).suffix.lower() in Image.registered_extensions() for name in list_files(folder).names
        ):
            what = f"{folder} holds no pictures that featvis wrote; plain images of classes are judged beside"
            typed = f"{what} those of another folder: featvis compare {shlex.quote(str(folder))} OTHER"
            raise OutputError(f"{what} others by featvis.compare_folders", typed=typed)
        raise OutputError(f"{folder} holds no pictures: neither {MANIFEST} nor a PNG that featvis wrote")
    return manifest


def read_contents(
    folder: Path, manifest: dict[str, Any], channels: int, *, unbounded: bool = False
) -> Contents:
    """Read the pictures that a manifest names, with as many channels as the network's images have.

    Raises:
        RecipeError: the recipe of one is none, or asks for too much and may not be ``unbounded``.
    """
    recipes = manifest.get("recipes", {})
    subjects, dead, missing = [], [], []
    for entry in manifest["pictures"]:
        if entry.get("status") == "dead":
            dead.append(entry)
            continue
        subject = None
        if entry.get("status", "ok") == "ok" and isinstance(entry.get("file"), str):
            subject = _subject(folder / entry["file"], entry, recipes, channels, unbounded)
        if subject is None:
            missing.append(entry)
        else:
            subjects.append(subject)
    return Contents(subjects, dead, missing)


def _subject(
    path: Path, entry: dict[str, Any], recipes: dict[str, Any], channels: int, unbounded: bool
) -> Subject | None:
    told = recipes.get(str(entry.get("recipe")), {})
    try:
        picture = load_picture(path)
    except OutputError:
        # A file that is not ours is looked at all the more.
        try:
            return Subject(
                entry, load_image(path, channels, most=PIXELS), _checked(told, path, unbounded), genuine=False
            )
        except OutputError:
            return None
    genuine = picture.key == entry.get("key") and picture.target == entry["target"]
    return Subject(entry, picture.image, _checked(told or picture.recipe, path, unbounded), genuine)


def _checked(recipe: dict[str, Any], path: Path, unbounded: bool) -> dict[str, Any]:
    """Return a recipe that was read, with what is looked at again: sizes and transforms, no files."""
    if not recipe:
        return {}
    looked_at: dict[str, Any] = {
        name: recipe[name] for name in ("size", "input_size", "steps", "transforms") if name in recipe
    }
    return read_recipe({**looked_at, "lanes": 1}, path, unbounded=unbounded).to_json()
