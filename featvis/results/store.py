"""A folder of pictures: where each file goes, the manifest, what is done already."""

from __future__ import annotations

import contextlib
import hashlib
import io
import logging
import re
import tempfile
import warnings
from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, datetime
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from featvis.errors import FeatvisWarning, OutputError, RecipeError, count_of
from featvis.files import check_inside, to_bytes, write_whole
from featvis.results.encoders import encode
from featvis.results.entries import Entries
from featvis.results.manifest import (
    MANIFEST,
    VIEW,
    beside,
    entry_name,
    is_others_manifest,
    name_entries,
    picture_files,
    picture_name,
    read_sound_manifest,
    rebuild_manifest,
    texts,
)
from featvis.spec.bounds import read_recipe
from featvis.spec.recipe import Recipe, recipe_id
from featvis.spec.target import read_among, read_set, read_target
from featvis.version import __version__

# Pictures come with torch, which a sound manifest is read without: imported where a picture is needed.
if TYPE_CHECKING:
    from featvis.results.picture import Picture

log = logging.getLogger(__name__)
FILM_FPS = 8.0  # Frames a second of a video, whose own rate nobody told


class Store:
    """A folder that pictures are written to, one network's, and its manifest.

    A picture of another recipe than the one that is there lies beside it. Files appear whole
    or not at all; the manifest is written anew after each batch and can be rebuilt from the pictures.
    """

    def __init__(self, folder: Path, *, model: str, weights: str, recipe: dict[str, Any]) -> None:
        """Open or begin a folder; OutputError if it cannot be written or is another network's."""
        self.folder = folder
        created = datetime.now(UTC).isoformat(timespec="seconds")
        self.top: dict[str, Any] = {"featvis": __version__, "model": model, "weights": weights}
        self.top |= {"recipe": recipe, "created": created, "recipes": {}}
        self.entries = Entries(folder)  # by name of the picture, see entry_name
        self._by_key: dict[str, list[str]] | None = None  # made anew where it is needed
        self.notes: list[str] = []
        """What the user should know of the folder, each one line."""
        before = self._read_before() if folder.exists() else None
        if before is not None:
            check_same_network(folder, before, weights)
            kept = ("created", "recipes", "gallery", "steps", "requests", "machine")
            self.top |= {name: before[name] for name in kept if name in before}
            self.entries.update(name_entries(before.get("pictures", [])))
        self.made = check_writable(folder)
        """The folders that were made for it."""
        self.adopt()

    def _read_before(self) -> dict[str, Any] | None:
        """Return what the folder's manifest says, made anew from the pictures where it does not read."""
        sound = read_sound_manifest(self.folder)
        before = sound or rebuild_manifest(self.folder)
        if before is None and is_others_manifest(self.folder):
            raise OutputError(
                f"{self.folder / MANIFEST} is not featvis's and would be written over; name another folder"
            )
        if before is not None and sound is None:
            what = "does not read" if (self.folder / MANIFEST).exists() else "is not there"
            count = len(before["pictures"])
            self.notes.append(f"{self.folder / MANIFEST} {what}: made anew from {count_of(count, 'picture')}")
        return before

    def adopt(self) -> None:
        """Enter pictures of this network that lie in the folder without an entry, of an ended process."""
        from featvis.results.picture import load_picture

        known = {entry.get("file") for entry in self.entries.values()}
        for path in picture_files(self.folder):
            name = path.relative_to(self.folder).as_posix()
            if name in known:
                continue
            try:
                picture = load_picture(path)
            except OutputError:
                continue
            if picture.weights == self.top["weights"]:
                self._enter(picture, name, anew=False)

    def done(self, key: str, function: str = "") -> Picture | None:
        """Return the finished picture with this key, read from its file; None if it must be rendered.

        ``function`` is what tells the user's functions in it from others of their names: a picture of other
        ones is not returned, and a warning says so. Where an entry does not tell it, the name is believed.
        """
        from featvis.results.picture import load_picture

        for entry in self._with_key(key):
            if function and entry.get("function", function) != function:
                warnings.warn(
                    f"{self.folder} holds {entry['target']} as another function of the same name, or an "
                    "earlier version of it, made it: it is rendered anew; another name= keeps both",
                    FeatvisWarning,
                    stacklevel=2,
                )
                return None
            if entry.get("status") == "dead":
                return _of_dead(entry, self.top)
            try:
                picture = load_picture(self.folder / str(entry.get("file")))
            except OutputError:
                return None
            if key in (picture.key, picture.asked_key) and picture.status not in ("stopped", "failed"):
                picture.seconds = float(entry.get("seconds") or 0.0)
                picture.function = function
                return picture
        return None

    def _with_key(self, key: str) -> list[Mapping[str, Any]]:
        """Return the entries of a key, their own or that of the recipe as it was asked for."""
        if self._by_key is None:
            self._by_key = {}
            for name, entry in self.entries.items():
                for known in {entry.get("key"), entry.get("asked_key")} - {None}:
                    self._by_key.setdefault(str(known), []).append(name)
        return [self.entries[name] for name in self._by_key.get(key, [])]

    def add(self, picture: Picture) -> Path | None:
        """Write a picture's file (none for a dead or failed one) and remember its entry."""
        name = self.file_of(picture)
        if picture.replayed is not None:
            taken = int(picture.taken or picture.recipe["steps"])
            self._count(picture.replayed, taken - picture.replayed)
        check_inside(self.folder / name, self.folder)
        if not picture.is_one:
            (self.folder / name).unlink(missing_ok=True)  # of an earlier version
            self._enter(picture, None, anew=True)
            return None
        path = picture.save(self.folder / name)
        log.debug("wrote %s, score %.4g", path, picture.score)
        if picture.has_own_view:
            _write_beside(picture, path)
        self._enter(picture, name, anew=True)
        return path

    def file_of(self, picture: Picture) -> str:
        """Return where a picture's file is or goes below the folder: where no other recipe's lies.

        That is ``<layer>/<unit>.png``, and beside another recipe's, or a file that featvis did not make,
        ``<layer>/<unit>-<recipe>.png``.
        """
        plain, recipe = file_name(picture), recipe_id(picture.recipe)
        aside = plain.removesuffix(".png") + beside(recipe)
        name = picture_name({"target": picture.target, "seed": picture.seed})
        first, second = self.entries.get(name), self.entries.get(f"{name} recipe {recipe}")
        if picture.unit is None or (second is None and (first is None or first.get("recipe") == recipe)):
            is_known = first is not None or not (self.folder / plain).exists()
            return plain if is_known or not _is_others_picture(self.folder / plain) else aside
        return aside

    def _count(self, replayed: int, computed: int) -> None:
        """Add to how many steps of the folder's pictures a GPU replayed, and how many the host took."""
        before = self.top.get("steps", {})
        self.top["steps"] = {
            "replayed": int(before.get("replayed", 0)) + replayed,
            "computed": int(before.get("computed", 0)) + computed,
        }

    def _enter(self, picture: Picture, file: str | None, *, anew: bool) -> None:
        entry = picture.entry(file)
        name = self._name(entry)
        if anew or name not in self.entries:
            self.entries[name], self._by_key = entry, None
            self.top["recipes"][entry["recipe"]] = picture.recipe

    def _name(self, entry: dict[str, Any]) -> str:
        return entry_name(entry, self.entries)

    def others(self, layer: str, pictures: Collection[Picture]) -> list[Picture]:
        """Return the folder's other pictures of a layer, dead ones too, by unit."""
        from featvis.results.picture import load_picture

        known = {picture.key for picture in pictures}
        found = []
        there = [entry for entry in self.entries.values() if entry.get("layer") == layer]
        for entry in sorted(there, key=_place):
            if entry.get("key") in known:
                continue
            if not isinstance(entry.get("file"), str):
                found.append(_of_dead(entry, self.top))
                continue
            with contextlib.suppress(OutputError):
                found.append(load_picture(self.folder / entry["file"]))
        return found

    def grid_path(self, layer: str) -> Path:
        """Return where a layer's grid goes."""
        return self.folder / (safe_name(layer) if layer else "objectives") / "grid.png"

    def write_manifest(self) -> Path:
        """Write the manifest with an entry for every picture, and the recipes that they name."""
        places, used = [], set()
        for name, entry in self.entries.items():
            places.append((_place(entry), name))
            used.add(entry.get("recipe"))
        places.sort(key=itemgetter(0))
        self.top["recipes"] = {name: recipe for name, recipe in self.top["recipes"].items() if name in used}
        written = texts(self.top, (self.entries.line(name) for _, name in places))
        return write_whole(
            self.folder / MANIFEST, lambda stream: stream.writelines(to_bytes(text) for text in written)
        )


def made_with(
    manifest: Mapping[str, Any], layer: str, recipe: Recipe, but: Collection[str]
) -> dict[str, Any] | None:
    """Return the recipe of a folder's first picture of a layer, if but for some fields it is this one."""
    asked = {name: value for name, value in recipe.to_json().items() if name not in but}
    for entry in sorted(manifest.get("pictures", []), key=_place):
        made: dict[str, Any] = manifest.get("recipes", {}).get(entry.get("recipe"), {})
        if entry.get("layer") == layer and {n: v for n, v in made.items() if n not in but} == asked:
            try:
                read_recipe({name: made[name] for name in but}, Path(MANIFEST))
            except (KeyError, RecipeError):
                continue
            return made
    return None


def check_same_network(folder: Path, manifest: Mapping[str, Any], weights: str) -> None:
    """Raise OutputError for a folder that is another network's."""
    if manifest.get("pictures") and manifest.get("weights") != weights:
        what = f"pictures of {manifest.get('model')!r} with other weights"
        problem = f"{folder} holds {what}"
        raise OutputError(
            f"{problem}; choose another folder, out=…", typed=f"{problem}; choose another --out"
        )


class Place(Protocol):
    """What tells where a picture's file goes."""

    @property
    def target(self) -> str: ...  # noqa: D102
    @property
    def layer(self) -> str: ...  # noqa: D102
    @property
    def unit(self) -> int | None: ...  # noqa: D102
    @property
    def seed(self) -> int: ...  # noqa: D102
    @property
    def variant(self) -> str: ...  # noqa: D102
    @property
    def key(self) -> str: ...  # noqa: D102


def file_name(picture: Place) -> str:
    """Return where a picture's file goes below the folder: ``<layer>/<unit>[-<variant>][-seed<n>].png``.

    A set's variant tells its seeds, and if it is of several targets a digest of their names:
    ``0003-diverse0-3-seed1.png``, ``0003-aligned0-0-8c9a40d1.png``.
    """
    if picture.unit is None:
        return f"objectives/{safe_name(picture.target)[:60]}-{picture.key[:8]}.png"
    name = f"{picture.unit:04d}"
    mates, own = read_set(picture.target)
    position = read_target(own).position
    if position is not None:
        name += f"@{position[0]},{position[1]}"
    if picture.variant != "picture":
        name += f"-{picture.variant}" + (f"{mates[0]}-{sum(mates) - 1}" if mates is not None else "")
        if others := read_among(picture.target):
            name += "-" + hashlib.sha256(" ".join(others).encode()).hexdigest()[:8]
    if picture.seed:
        name += f"-seed{picture.seed}"
    return f"{safe_name(picture.layer)}/{name}.png"


def _is_others_picture(path: Path) -> bool:
    """Whether a file is a sound image that featvis did not make."""
    from featvis.models.image_file import read_image
    from featvis.results.picture import load_picture

    try:
        load_picture(path)
    except OutputError:
        try:
            read_image(path, 3, say=False)
        except OutputError:
            return False
        return True
    return False


def check_writable(folder: Path) -> list[Path]:
    """Make the folder and write into it once; OutputError, and nothing left behind, if that fails.

    Returns:
        The folders that were made, the inner ones first.
    """
    missing = [place for place in (folder, *folder.parents) if not place.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder, prefix=".featvis-"):  # a new file: a name could be a link
            pass
    except OSError as error:
        remove_empty(missing)
        raise OutputError(f"cannot write to {folder}: {error.strerror or error}") from None
    return missing


def remove_empty(folders: Iterable[Path]) -> None:
    """Remove those of the folders that are empty, in the order given."""
    for place in folders:
        try:
            place.rmdir()
        except OSError:
            return


def _write_beside(picture: Picture, path: Path) -> None:
    """Write what the network takes as ``.npy``, and an image to look at as ``.view.png``.

    Beside them a signal that can be heard as ``.wav``, and a video in motion as ``.view.gif``.
    """
    import numpy as np

    shown, values = io.BytesIO(), io.BytesIO()
    picture.view.save(shown, "PNG")
    np.save(values, picture.values, allow_pickle=False)
    write_whole(path.with_suffix(VIEW), shown.getvalue())
    write_whole(path.with_suffix(".npy"), values.getvalue())
    if picture.sample_rate is not None:
        write_whole(path.with_suffix(".wav"), picture.wav)
    if picture.frames is not None:
        film = [np.asarray(frame.convert("RGB")) for frame in picture.film]
        write_whole(path.with_suffix(".view.gif"), encode(film, "gif", FILM_FPS))


def in_folder(picture: Place) -> tuple[str, int, str, int]:
    """Return what a folder's pictures are sorted by: layer, unit, target, seed."""
    return _place({name: getattr(picture, name) for name in ("layer", "unit", "target", "seed")})


def _place(entry: Mapping[str, Any]) -> tuple[str, int, str, int]:
    unit = entry["unit"] if isinstance(entry.get("unit"), int) else -1
    return str(entry.get("layer")), unit, str(entry.get("target")), int(entry.get("seed") or 0)


def _of_dead(entry: Mapping[str, Any], top: dict[str, Any]) -> Picture:
    import numpy as np

    from featvis.results.picture import Picture

    recipe = top["recipes"].get(entry.get("recipe"), top["recipe"])
    known = {name: entry[name] for name in entry if name in Picture.__dataclass_fields__ and name != "recipe"}
    blank = np.full((3, 1, 1), 128, dtype=np.uint8)
    known |= {name: known.get(name) or 0.0 for name in ("score", "start_score")}
    known |= {"trace": [*known.get("trace", ())]}
    return Picture(**{"levels": blank, "recipe": recipe, **known})


def safe_name(name: str) -> str:
    """Return a name that is safe for a file or folder, another one for every name."""
    # Module names may hold anything but dots as separators; a folder's name may not leave the folder.
    safe = re.sub(r"[^\w.+@,=-]+", "_", name).strip(".")[:100]
    if safe == name:
        return safe
    # Names that look alike once they are safe still need two folders.
    whole = name.encode("utf-8", "surrogateescape")  # a file's name may hold bytes that are no UTF-8
    return f"{safe}-{hashlib.sha256(whole).hexdigest()[:8]}"
