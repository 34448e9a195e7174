"""The pages of a folder: what changed is written, what is gone is removed, what is not ours is left alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from featvis.errors import OutputError
from featvis.files import clear_leftovers, to_bytes, write_whole
from featvis.pages.compose import make_pages, thumbnail_size
from featvis.pages.entries import CROP_SUFFIXES, PICTURE_SUFFIXES, Entry, read_list, read_path, read_table
from featvis.pages.thumbnails import is_outdated, make_thumbnail, read_picture_size, read_shape
from featvis.read import read_json
from featvis.results.manifest import MANIFEST, VIEW, read_manifest
from featvis.results.store import remove_empty

EXAMPLES, ABLATIONS, WORDS = "examples.json", "ablations.json", "words.json"
LIST = "site/pages.json"  # What write_pages wrote, and may therefore remove
_GENERATOR = b'<meta name="generator" content="featvis">'
_SUFFIXES = (".html", ".css", ".js", ".webp")


def write_pages(folder: Path) -> list[Path]:
    """Write the pages of a folder of pictures, and small versions of the pictures; needs no torch.

    A file that would not change is not touched, a page whose unit is gone is removed. What was written is
    returned, ``index.html`` first. OutputError if there are no pictures, what tells of photographs, ablations
    or words is damaged, or a page would replace a file that is not ours or lie outside the folder.
    """
    if not folder.is_dir():
        raise OutputError(f"no folder {str(folder)!r}" if not folder.exists() else f"{folder} is a file")
    manifest = read_manifest(folder)
    if manifest is None:
        raise OutputError(f"{folder} holds no pictures: neither {MANIFEST} nor a PNG that featvis wrote")
    root, before = folder.resolve(), _read_list(folder)
    thumbnails: dict[str, bytes | None] = {}  # None: as it lies there
    present = {**manifest, "pictures": [_look(raw, folder, root, thumbnails) for raw in manifest["pictures"]]}
    examples = _present(_read_table(folder / EXAMPLES), root)
    ablations, words = (_read_table(folder / name) for name in (ABLATIONS, WORDS))
    texts = make_pages(present, examples, ablations, words)
    contents = {**{name: to_bytes(text) for name, text in texts.items()}, **thumbnails}
    for name in contents:
        _check_place(folder / name, root, ours=name in before)
    for place in {(folder / name).parent for name in (*contents, LIST)}:
        clear_leftovers(place.glob(".*.part"), "html|css|js|json|webp")
    # In the list before it is written: a run that is ended midway leaves no page behind for good.
    _write_list(folder, before | contents.keys())
    written = [folder / name for name in contents if _write(folder / name, contents[name])]
    gone = sorted(before - contents.keys(), reverse=True)
    for name in gone:
        _remove(folder / name, root)
    _write_list(folder, set(contents))
    return sorted(written, key=lambda path: (path.name != "index.html" or path.parent != folder, path))


def _look(
    raw: dict[str, Any], folder: Path, root: Path, thumbnails: dict[str, bytes | None]
) -> dict[str, Any]:
    """Return an entry as it really is: without its file if that is gone or damaged, else with its size."""
    name = read_path(raw.get("file"), PICTURE_SUFFIXES)
    if raw.get("status") not in ("ok", "stopped") or name is None:
        return raw
    path = folder / name
    if not path.resolve().is_relative_to(root):
        return {**raw, "file": None, "reason": "its file lies outside this folder"}
    if not path.is_file():
        return {**raw, "file": None}
    shown, beside = path, _beside(path, folder, root)
    if beside:
        shown = folder / beside["view"]
    size, content = read_picture_size(shown), None
    small = str(Entry("", 0, file=name).thumbnail)
    is_old = is_outdated(folder / small, shown)
    if size is not None and is_old:
        content = make_thumbnail(shown, thumbnail_size(size))
    if size is not None and (content is not None or not is_old):
        thumbnails[small] = content
        return {**raw, "size": list(size), **beside}
    return {**raw, "file": None, "reason": "its file is damaged; the same command as before renders it again"}


def _beside(path: Path, folder: Path, root: Path) -> dict[str, Any]:
    """Return what lies beside a picture to be looked at or heard; nothing where it is shown as it is saved.

    What the network takes, in the ``.npy``, tells how many frames there are.
    """
    view, values, sound = (path.with_suffix(kind) for kind in (VIEW, ".npy", ".wav"))
    size = read_picture_size(path)
    if size is None or not all(
        one.is_file() and one.resolve().is_relative_to(root) for one in (view, values)
    ):
        return {}
    shape = read_shape(values)
    # Of another picture that had this name, where its own size is not that of the values.
    if len(shape) < 2 or shape[-1] != size[1] or read_picture_size(view) is None:
        return {}
    told: dict[str, Any] = {"view": view.relative_to(folder).as_posix()}
    if len(shape) == 4:
        told["film"] = [shape[1], shape[2], shape[3]]
    if sound.is_file() and sound.resolve().is_relative_to(root):
        told["sound"] = sound.relative_to(folder).as_posix()
    return told


def _read_table(path: Path) -> dict[str, Any] | None:
    """Return the table in a file that need not be there; an OutputError if it is damaged."""
    try:
        loaded = read_json(path)
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise OutputError(f"{path} does not read: {error}; delete it or make it anew") from None
    if not isinstance(loaded, dict):
        raise OutputError(f"{path} holds no table; delete it or make it anew")
    return loaded


def _present(examples: dict[str, Any] | None, root: Path) -> dict[str, Any] | None:
    """Return the examples without the files that are not in the folder."""
    if examples is None or not isinstance(examples.get("units"), dict):
        return examples
    units = {}
    for unit, table in examples["units"].items():
        if isinstance(table, dict) and isinstance(table.get("examples"), list):
            crops = [crop for crop in table["examples"] if isinstance(crop, dict)]
            table = {**table, "examples": [{**crop, "file": _crop(crop.get("file"), root)} for crop in crops]}
        units[unit] = table
    return {**examples, "units": units}


def _crop(value: Any, root: Path) -> str | None:
    name = read_path(value, CROP_SUFFIXES)
    if name is None:
        return None
    path = (root / name).resolve()
    return name if path.is_relative_to(root) and path.is_file() else None


def _read_list(folder: Path) -> set[str]:
    """Return what we wrote before; a list that is damaged or names anything else removes nothing."""
    try:
        loaded = read_json(folder / LIST)
    except (OSError, ValueError, OutputError):
        return set()
    names = {read_path(name, _SUFFIXES) for name in read_list(read_table(loaded).get("files"))}
    return {name for name in names if name is not None and _could_be_ours(name)}


def _could_be_ours(name: str) -> bool:
    parts = name.split("/")
    if name.endswith(".webp"):
        return parts[-2:-1] == ["thumbs"]
    return name.endswith(".html") or parts[0] == "site"


def _write_list(folder: Path, names: set[str]) -> None:
    text = json.dumps({"files": sorted(names)}, indent=1, ensure_ascii=False) + "\n"
    _write(folder / LIST, to_bytes(text))


def _check_place(path: Path, root: Path, *, ours: bool) -> None:
    if not path.parent.resolve().is_relative_to(root):
        raise OutputError(f"{path.parent} leads out of {root}; nothing was written")
    if path.suffix == ".html" and not ours and path.exists() and not _is_page(path):
        raise OutputError(f"{path} was not made by featvis; move it away, a page of the gallery goes there")


def _is_page(path: Path) -> bool:
    try:
        with path.open("rb") as stream:
            return _GENERATOR in stream.read(1000)
    except OSError:
        return False


def _write(path: Path, content: bytes | None) -> bool:
    if content is None:
        return False
    try:
        if path.read_bytes() == content:
            if path.suffix == ".webp":
                path.touch()  # it was older than its picture; now it is not
            return False
    except OSError:
        pass
    write_whole(path, content, sync=False)
    return True


def _remove(path: Path, root: Path) -> None:
    if not path.parent.resolve().is_relative_to(root) or (path.suffix == ".html" and not _is_page(path)):
        return
    path.unlink(missing_ok=True)
    if path.parent.resolve() != root:
        remove_empty([path.parent])
        if path.parent.name == "thumbs" and path.parent.parent.resolve() != root:
            remove_empty([path.parent.parent])
