"""merge_gallery: of what shards made and noted, one manifest, contact sheets and pages. Needs no network."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from pathlib import Path

from featvis.errors import OutputError
from featvis.galleries.arrays import clear_array
from featvis.galleries.build import write_sheets
from featvis.galleries.folder import PlannedFolder
from featvis.galleries.status import no_gallery
from featvis.pages.folder import write_pages
from featvis.results.journal import Journals, clear_private, read_agreed, read_both
from featvis.results.lock import DRIVER, FolderLock, clear_unfinished
from featvis.results.manifest import name_entries, read_manifest
from featvis.results.mirror import takes_addresses
from featvis.results.picture import load_picture


@dataclass
class MergeResult:
    """What a folder holds once its shards' journals are merged."""

    folder: Path
    total: int = 0
    """Pictures that are wanted."""
    done: int = 0
    missing: int = 0
    dead: list[str] = field(default_factory=list)
    """The targets of dead units."""
    failed: dict[str, str] = field(default_factory=dict)
    """By the target's name, why there is no picture."""
    writing: list[str] = field(default_factory=list)
    """Who is at work still: what they make is merged the next time."""


@takes_addresses("folder", writes=True)
def merge_gallery(folder: str | Path) -> MergeResult:
    """Make the manifest, the contact sheets and the pages of a folder that shards have written to.

    It may be called at any moment, and again: what is there is merged, and shards that are at work go on.

    Args:
        folder: the gallery's.

    Returns:
        How much of the gallery is there, and who is at work still.

    Raises:
        OutputError: no gallery is there, the folder cannot be written, or a build is at work in it.

    >>> import featvis as fv, pathlib, tempfile
    >>> config = pathlib.Path(tempfile.mkdtemp()) / "tiny.toml"
    >>> _ = config.with_name("net.py").write_text('''
    ... import torch
    ... def make(): return torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3)), {"input_size": (16, 16)}
    ... ''')
    >>> _ = config.write_text('''
    ... model = "file:net.py:make"
    ... mean = [0.5, 0.5, 0.5]
    ... std = [0.5, 0.5, 0.5]
    ... recipe = {size = 16, steps = 2, lanes = 1}
    ... sections = [{title = "Four channels", targets = ["0:all"]}]
    ... ''')
    >>> for shard in ((1, 2), (2, 2)):
    ...     _ = fv.build_gallery(config, out=config.parent / "gallery", shard=shard)
    >>> merged = fv.merge_gallery(config.parent / "gallery")
    >>> merged.done, merged.missing, (merged.folder / "index.html").exists()
    (4, 0, True)
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise no_gallery(folder)
    with FolderLock(folder, beside=True):
        agreed, journals = read_agreed(folder), Journals(folder).update()
        known = read_both(folder, journals) or read_manifest(folder)
        if known is None and agreed is None:
            raise no_gallery(folder)
        top = {**(agreed.top if agreed is not None else known or {})}
        if not {"model", "weights", "recipe"} <= top.keys():
            top = {**(read_manifest(folder) or {}), **top}
        if not {"model", "weights", "recipe"} <= top.keys():
            raise no_gallery(folder)
        top.setdefault("gallery", {})
        entries = name_entries((known or {}).get("pictures", []))
        keys = agreed.keys if agreed is not None else {name: one["key"] for name, one in entries.items()}
        store = PlannedFolder(folder, keys, top)
        _look(store)
        if agreed is not None:
            store.mark_stale()
        store.write_manifest()
        write_sheets(store, store.taken)
        write_pages(folder)
        writing = clear_private(folder)
        if not writing:
            clear_unfinished(folder)
        result = _count(store, [member.name for member in writing if member.name != DRIVER])
        if not writing and not result.missing:
            clear_array(folder)
    return result


def _look(store: PlannedFolder) -> None:
    """Let entries say what their files are: a kill may have come between a picture and its line."""
    for name, entry in list(store.entries.items()):
        file, key = entry.get("file"), store.keys.get(name)
        if not isinstance(file, str):
            continue
        path = store.folder / file
        if not path.is_file():
            del store.entries[name]
        elif key is not None and key not in (entry.get("key"), entry.get("asked_key")):
            with contextlib.suppress(OutputError):
                picture = load_picture(path)
                if key in (picture.key, picture.asked_key):
                    store.enter(picture, file)


def _count(store: PlannedFolder, writing: list[str]) -> MergeResult:
    result = MergeResult(store.folder, total=len(store.keys), writing=writing)
    for name in store.keys:
        entry = store.entries.get(name, {})
        status = entry.get("status")
        if status == "failed":
            result.failed[str(entry["target"])] = str(entry.get("reason", ""))
        elif status is None or entry.get("stale"):
            result.missing += 1
        elif status == "dead":
            result.dead.append(str(entry["target"]))
        else:
            result.done += 1
    return result
