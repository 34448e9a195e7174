"""A folder's manifest: read, judged, made anew from the pictures. A sound one is read without torch."""

from __future__ import annotations

import json
import os
import re
import stat
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from featvis.errors import OutputError
from featvis.read import check_depth, read_json
from featvis.results.fields import ENTRY, is_table, is_text
from featvis.version import __version__

MANIFEST = "manifest.json"
SNAPSHOT = re.compile(r"-step\d+\.png$")
"""How a picture stood on its way: beside it, and none itself."""
VIEW = ".view.png"  # How the file ends that shows a picture which no screen shows as it is saved
_BESIDE = re.compile(rf"{SNAPSHOT.pattern}|-transparency\.png$|{re.escape(VIEW)}$")


_TOP: dict[str, Callable[[Any], bool]] = {
    **dict.fromkeys(("featvis", "model", "weights", "created", "machine"), is_text),
    **dict.fromkeys(("recipe", "recipes", "gallery"), is_table),
}
"""What the fields beside the pictures must be."""


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """Read a folder's manifest; rebuild it from the pictures if it is damaged; None if there is neither."""
    return read_sound_manifest(folder) or rebuild_manifest(folder)


def read_sound_manifest(folder: Path) -> dict[str, Any] | None:
    """Read a folder's manifest; None if it is damaged or missing. OutputError: a later featvis wrote it."""
    path = folder / MANIFEST
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{folder} is a file, not a folder")
    try:
        loaded = read_json(path)
    except (ValueError, FileNotFoundError):
        return None
    if not isinstance(loaded, dict):
        return None
    if _major(loaded.get("featvis")) not in (None, _major(__version__)):
        hint = "use that version, or delete the file and it is made anew from the pictures"
        raise OutputError(f"{path} was written by featvis {loaded['featvis']}, this is {__version__}: {hint}")
    pictures = loaded.get("pictures")
    # One entry that is none of ours, and nothing in the file is trusted.
    is_inside = Inside(folder)
    if not isinstance(pictures, list) or not all(_is_entry(entry, is_inside) for entry in pictures):
        return None
    return {**_sound_top(loaded), "pictures": [_sound(entry) for entry in pictures]}


def is_others_manifest(folder: Path) -> bool:
    """Whether a folder's ``manifest.json`` is not featvis' own: many a program's is called so."""
    try:
        loaded = read_json(folder / MANIFEST)
    except (ValueError, OSError):
        return False
    return bool(loaded) and not (isinstance(loaded, dict) and {"featvis", "pictures"} & loaded.keys())


def _sound_top(loaded: dict[str, Any]) -> dict[str, Any]:
    """Return what a manifest says of the whole folder; what is of the wrong kind counts as not there."""
    recipes = loaded.get("recipes")
    sound = {
        name: value
        for name, value in loaded.items()
        if is_text(name) and name != "pictures" and _TOP.get(name, lambda value: True)(value)
    }
    if isinstance(recipes, dict):
        sound["recipes"] = {
            name: made
            for name, made in recipes.items()
            if is_text(name) and is_table(made) and _is_flat(made)
        }
    return {name: value for name, value in sound.items() if name == "recipes" or _is_flat(value)}


def _is_flat(value: Any) -> bool:
    try:
        check_depth(value)
    except ValueError:
        return False
    return True


def sound_entry(entry: Any, is_inside: Inside) -> dict[str, Any] | None:
    """Return an entry that was read, without what is of the wrong kind; None if it is none of ours."""
    return _sound(entry) if _is_entry(entry, is_inside) else None


def _sound(entry: dict[str, Any]) -> dict[str, Any]:
    """Return an entry; what is of the wrong kind counts as not there."""
    return {name: value for name, value in entry.items() if name in ENTRY and ENTRY[name](value)}


def _major(version: Any) -> int | None:
    """Return a version's first number, None if it has none."""
    first = version.partition(".")[0] if isinstance(version, str) else ""
    return int(first) if first.isdecimal() and len(first) < 10 else None


def rebuild_manifest(folder: Path) -> dict[str, Any] | None:
    """Make a manifest from the PNGs in a folder; None if none of them is ours."""
    from featvis.results.picture import load_picture

    top: dict[str, Any] = {}
    entries, recipes = [], {}
    for path in picture_files(folder):
        try:
            picture = load_picture(path)
        except OutputError:
            continue
        entry = picture.entry(path.relative_to(folder).as_posix())
        entries.append(entry)
        recipes[entry["recipe"]] = picture.recipe
        about = {name: getattr(picture, name) for name in ("model", "weights", "recipe")}
        top = top or {"featvis": __version__, **about, "recipes": recipes}
    return {**top, "pictures": entries} if top else None


def picture_files(folder: Path) -> list[Path]:
    """Return every PNG of a folder that may be a picture."""
    return [
        path
        for path in sorted(folder.glob("*/*.png"))
        if path.name != "grid.png" and not path.name.startswith(".") and not _BESIDE.search(path.name)
    ]


def _is_entry(entry: Any, is_inside: Callable[[str], bool]) -> bool:
    """Whether a manifest's entry is one that we could have written, its file inside the folder."""
    if not isinstance(entry, dict):
        return False
    if not all(ENTRY[name](entry.get(name)) for name in ("target", "seed", "key")):
        return False
    if entry.get("status") in ("dead", "failed"):  # no picture of them
        return True
    file = entry.get("file")
    return isinstance(file, str) and is_text(file) and is_inside(file)


class Inside:
    """Whether files are inside a folder; the folders that they are in are resolved once."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._known = folder, dict[str, bool]()

    def __call__(self, file: str) -> bool:
        """Whether a file, by its name below the folder, is inside."""
        parent, slash, name = file.rpartition("/")
        if os.sep != "/" or not (parent and slash) or name in ("", ".", ".."):
            return _is_inside(self._folder / file, self._folder)
        try:
            is_link = stat.S_ISLNK(os.lstat(f"{self._folder}/{file}").st_mode)
        except FileNotFoundError:
            is_link = False
        except (OSError, ValueError):  # a NUL in the name
            is_link = True
        if is_link:
            return _is_inside(self._folder / file, self._folder)
        if parent not in self._known:
            self._known[parent] = _is_inside(self._folder / parent, self._folder)
        return self._known[parent]


def _is_inside(path: Path, folder: Path) -> bool:
    try:
        return path.resolve().is_relative_to(folder.resolve())
    except (OSError, ValueError, RuntimeError):  # a name that is too long or holds a NUL, links in a circle
        return False


def picture_name(entry: Mapping[str, Any]) -> str:
    """Return what a picture is of: its target and seed."""
    return sys.intern(f"{entry.get('target')} seed {entry.get('seed')}")  # many tables have the same names


def entry_name(entry: Mapping[str, Any], others: Mapping[str, Mapping[str, Any]]) -> str:
    """Return what tells an entry from ``others``: its picture's name, and a second recipe.

    A picture of a second recipe lies beside that of the first, in a file whose name ends with its recipe.
    """
    name, recipe, file = picture_name(entry), entry.get("recipe"), entry.get("file")
    there = others.get(name)
    if isinstance(file, str):
        replaces = there is None or there.get("file") in (None, file) or there.get("recipe") == recipe
        apart = file.endswith(beside(recipe)) or not replaces
    else:
        apart = there is not None and there.get("recipe") != recipe
    return f"{name} recipe {recipe}" if apart else name


def beside(recipe: object) -> str:
    """Return how the file of a picture ends that lies beside one of another recipe."""
    return f"-{recipe}.png"


def name_entries(entries: Iterable[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return a manifest's entries by what tells them apart."""

    def rank(entry: dict[str, Any]) -> int:
        file = entry.get("file")  # pictures under their plain names come first, then those that have none
        return 1 if file is None else 2 if str(file).endswith(beside(entry.get("recipe"))) else 0

    named: dict[str, dict[str, Any]] = {}
    for entry in sorted(entries, key=rank):
        named[entry_name(entry, named)] = entry
    return named


def as_line(told: Mapping[str, Any]) -> str:
    """Write an entry, or a table that holds one, as one line of JSON."""
    return json.dumps(told, ensure_ascii=False)


def write_text(top: dict[str, Any], entries: list[dict[str, Any]]) -> str:
    """Write a manifest: one line for each picture, so that a large gallery's can be read and compared."""
    return "".join(texts(top, map(as_line, entries)))


def texts(top: Mapping[str, Any], lines: Iterable[str]) -> Iterator[str]:
    """Yield the text of a manifest piece by piece, of its entries' lines.

    >>> print("".join(texts({"model": "small"}, ['{"target": "fc:1"}', '{"target": "fc:2"}'])), end="")
    {
     "model": "small",
     "pictures": [
      {"target": "fc:1"},
      {"target": "fc:2"}
     ]
    }
    """
    yield json.dumps(top, indent=1, ensure_ascii=False).removesuffix("\n}") + ',\n "pictures": [\n'
    between = ""
    for line in lines:
        yield f"{between}  {line}"
        between = ",\n"
    yield "\n ]\n}\n"
