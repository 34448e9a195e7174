"""A gallery as one ZIP file, or as a folder that a web host shows as it is. No torch in here."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from featvis.errors import OutputError
from featvis.files import check_inside, to_bytes, write_whole
from featvis.pages.entries import read_list, read_path, read_table
from featvis.pages.front import make_front, title_of
from featvis.read import read_json
from featvis.results.manifest import read_manifest
from featvis.results.store import remove_empty, safe_name

_PACKED = (".png", ".webp", ".jpg", ".jpeg")
_SUFFIXES = (*_PACKED, ".wav", ".html", ".css", ".js", ".json", ".toml")
_LIST = "site/export.json"
"""What an export wrote, and the next one may therefore replace or remove."""
_PLAIN = (".nojekyll", "README.md")
_CARD = """---
title: {title}
sdk: static
pinned: false
---

{heading}: pictures of what the units of a network look for, made with featvis. Open `index.html`.

Everything is in this folder, all links are relative. Any web host shows it as it lies here: GitHub Pages
(push it as the branch or folder that Pages serves; `.nojekyll` is there) or a static Space of Hugging Face
(push it as the Space's repository; the head of this file is its configuration).
"""


def export_zip(folder: Path, target: Path) -> tuple[Path, int]:
    """Write a gallery's pages, pictures and manifest into a ZIP file; return it and how many files it holds.

    It appears whole or not at all. Hidden files, other kinds and links that lead out of the folder stay out.
    """
    files = _files(folder)
    if target.is_dir():
        raise OutputError(f"{target} is a folder; name a .zip file")
    name = folder.resolve().name

    def pack(stream: IO[bytes]) -> None:
        with zipfile.ZipFile(stream, "w", strict_timestamps=False) as archive:
            for path in files:
                kind = zipfile.ZIP_STORED if path.suffix.lower() in _PACKED else zipfile.ZIP_DEFLATED
                archive.write(path, f"{name}/{path.relative_to(folder).as_posix()}", kind)

    return write_whole(target, pack), len(files)


def export_site(folders: Sequence[Path], target: Path) -> tuple[Path, int]:
    """Write galleries as a folder for a web host; return its front page and how many files it holds.

    One gallery's pages lie at the top. Of several, each has a folder of its own, and above them are an index
    and a page that compares them: two networks, or one by two recipes. What an earlier export left there and
    is gone is removed.

    Args:
        folders: the galleries' folders, one or more, with their pages.
        target: a new or empty folder, or one that an export wrote; hidden files in it, as of Git, may stay.

    Raises:
        OutputError: no pages, the folder holds something else, or lies within a gallery.
    """
    files = {folder: _files(folder) for folder in folders}
    root = target.resolve()
    for folder in folders:
        own = folder.resolve()
        if root == own or root.is_relative_to(own) or own.is_relative_to(root):
            raise OutputError(f"{target} and {folder} lie in each other; name another folder")
    before = _read_list(target)
    if target.exists() and not target.is_dir():
        raise OutputError(f"{target} is a file; name a folder")
    if not before and target.is_dir() and any(not path.name.startswith(".") for path in target.iterdir()):
        raise OutputError(f"{target} is not empty and no export wrote it; name a new folder")
    manifests = {folder: read_manifest(folder) or {} for folder in folders}
    names = dict.fromkeys(folders, "") if len(files) == 1 else _names(list(files))
    contents: dict[str, bytes | Path] = {}
    for folder, paths in files.items():
        inner = f"{names[folder]}/" if names[folder] else ""
        contents |= {inner + path.relative_to(folder).as_posix(): path for path in paths}
    if len(files) > 1:
        front = make_front({names[folder]: manifests[folder] for folder in files})
        contents |= {name: to_bytes(text) for name, text in front.items()}
    title = " and ".join(dict.fromkeys(title_of(manifest) for manifest in manifests.values()))
    card = _CARD.format(title=json.dumps(title[:80]), heading=" ".join(title.split()))
    contents |= {".nojekyll": b"", "README.md": to_bytes(card)}
    _write_list(target, before | contents.keys())
    for name, content in contents.items():
        check_inside(target / name, target)
        write_whole(target / name, content.read_bytes() if isinstance(content, Path) else content, sync=False)
    for name in sorted(before - contents.keys(), reverse=True):
        _remove(target / name, root)
    _write_list(target, set(contents))
    return target / "index.html", len(contents)


def _names(folders: list[Path]) -> dict[Path, str]:
    """Return a folder's name within the site for each; another one where two are called the same."""
    names: dict[Path, str] = {}
    for folder in folders:
        own = safe_name(folder.resolve().name) or "gallery"
        taken = {"site", *names.values()}
        name = next(n for n in (own, *(f"{own}-{place}" for place in range(2, 10**6))) if n not in taken)
        names[folder] = name
    return names


def _files(folder: Path) -> list[Path]:
    """Return what of a gallery is exported."""
    if not folder.is_dir():
        raise OutputError(f"no folder {str(folder)!r}")
    if not (folder / "index.html").is_file():
        raise OutputError(f"{folder} has no index.html; write it first: featvis gallery pages {folder}")
    root = folder.resolve()
    return [path for path in sorted(folder.rglob("*")) if _belongs(path, folder, root)]


def _belongs(path: Path, folder: Path, root: Path) -> bool:
    if path.suffix.lower() not in _SUFFIXES or not path.is_file():
        return False
    if not _is_shown(path.relative_to(folder).as_posix()):
        return False
    # What an earlier export tells of itself is not told of the next one.
    return path.resolve().is_relative_to(root) and path != folder / _LIST


def _read_list(target: Path) -> set[str]:
    """Return what an export wrote there before; of a damaged list, nothing."""
    try:
        loaded = read_json(target / _LIST)
    except (OSError, ValueError, OutputError):
        return set()
    names = (name for name in read_list(read_table(loaded).get("files")) if isinstance(name, str))
    return {name for name in names if name in _PLAIN or (_is_shown(name) and read_path(name, _SUFFIXES))}


def _is_shown(name: str) -> bool:
    return not any(part.startswith(".") for part in name.split("/"))


def _write_list(target: Path, names: set[str]) -> None:
    text = json.dumps({"files": sorted(names)}, indent=1, ensure_ascii=False) + "\n"
    write_whole(target / _LIST, to_bytes(text), sync=False)


def _remove(path: Path, root: Path) -> None:
    if not path.parent.resolve().is_relative_to(root):
        return
    path.unlink(missing_ok=True)
    inner = [
        parent
        for parent in path.parents
        if parent.resolve() != root and parent.resolve().is_relative_to(root)
    ]
    remove_empty(inner)
