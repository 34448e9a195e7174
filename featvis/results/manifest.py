"""A folder's manifest: read, judged, made anew from the pictures. A sound one is read without torch."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from featvis.errors import OutputError
from featvis.version import __version__

MANIFEST = "manifest.json"
SNAPSHOT = re.compile(r"-step\d+\.png$")
"""How a picture stood on its way: beside it, and none itself."""
VIEW = ".view.png"  # How the file ends that shows a picture which no screen shows as it is saved
_BESIDE = re.compile(rf"{SNAPSHOT.pattern}|-transparency\.png$|{re.escape(VIEW)}$")


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """Read a folder's manifest; rebuild it from the pictures if it is damaged; None if there is neither."""
    return read_sound_manifest(folder) or rebuild_manifest(folder)


def read_sound_manifest(folder: Path) -> dict[str, Any] | None:
    """Read a folder's manifest; None if it is damaged or missing. OutputError: a later featvis wrote it."""
    path = folder / MANIFEST
    try:
        loaded = json.loads(path.read_text("utf-8"))
    except NotADirectoryError:
        raise OutputError(f"{folder} is a file, not a folder") from None
    except (ValueError, OSError):
        return None
    if not isinstance(loaded, dict):
        return None
    if _major(loaded.get("featvis")) not in (None, _major(__version__)):
        hint = "use that version, or delete the file and it is made anew from the pictures"
        raise OutputError(f"{path} was written by featvis {loaded['featvis']}, this is {__version__}: {hint}")
    pictures = loaded.get("pictures")
    # One entry that is none of ours, and nothing in the file is trusted.
    if isinstance(pictures, list) and all(_is_entry(entry, folder) for entry in pictures):
        return loaded
    return None


def _major(version: Any) -> int | None:
    """Return a version's first number, None if it has none."""
    first = version.partition(".")[0] if isinstance(version, str) else ""
    return int(first) if first.isdecimal() else None


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


def _is_entry(entry: Any, folder: Path) -> bool:
    """Whether a manifest's entry is one that we could have written, its file inside the folder."""
    types = {"target": str, "seed": int, "key": str}
    if not isinstance(entry, dict) or not all(isinstance(entry.get(n), kind) for n, kind in types.items()):
        return False
    if entry.get("status") in ("dead", "failed"):  # no picture of them
        return True
    file = entry.get("file")
    return isinstance(file, str) and (folder / file).resolve().is_relative_to(folder.resolve())


def picture_name(entry: dict[str, Any]) -> str:
    """Return what tells a picture from the folder's others: its target and seed."""
    return f"{entry.get('target')} seed {entry.get('seed')}"


def write_text(top: dict[str, Any], entries: list[dict[str, Any]]) -> str:
    """Write a manifest: one line for each picture, so that a large gallery's can be read and compared."""
    head = json.dumps(top, indent=1, ensure_ascii=False).removesuffix("\n}")
    lines = ",\n".join("  " + json.dumps(entry, ensure_ascii=False) for entry in entries)
    return f'{head},\n "pictures": [\n{lines}\n ]\n}}\n'
