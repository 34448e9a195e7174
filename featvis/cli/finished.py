"""A render that has nothing left to do, known from its folder: no network is loaded to say so."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from featvis.cli.fields import BY_LAYER, Choice
from featvis.cli.network import Network

if TYPE_CHECKING:
    from featvis.results.picture import Picture
    from featvis.results.store import Store

REQUESTS = "requests"
"""What the manifest calls the requests whose pictures are all there."""
MOST = 16
"""How many of them it remembers."""


@dataclass(frozen=True)
class Finished:
    """What a request led to, all of which is there."""

    entries: list[dict[str, Any]]
    grids: list[Path]
    notes: list[str]
    fallen: list[str]
    """The targets of pictures that score no higher than their starts."""


def mark_request(network: Network, addresses: Sequence[str], chosen: Choice, **more: Any) -> str | None:
    """Return what tells a request from every other that might lead to other pictures.

    None where the pictures depend on more than can be seen without loading the network: files of weights,
    code of the user's.

    Args:
        network: as it was named.
        addresses: of the units.
        chosen: the recipe.
        **more: whatever else pictures depend on, plain data.
    """
    from featvis.models.known import known_names, weights_mark
    from featvis.spec.recipe import Recipe
    from featvis.spec.target import parse_vectors

    told = asdict(network)
    if network.model not in known_names() or network.weights not in (None, "none") or network.labels:
        return None
    if any(parse_vectors(address) is not None for address in addresses):
        return None
    recipes = [chosen.base] if chosen.base is not None else list(BY_LAYER)
    package = Path(__file__).parent.parent
    code = [
        (file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in sorted(package.rglob("*.py"))
    ]
    parts = {
        "code": hashlib.sha256(repr(code).encode()).hexdigest(),
        "weights": weights_mark(str(network.model)) if network.weights is None else "none",
        "network": {name: str(value) for name, value in told.items() if name != "device"},
        "addresses": list(addresses),
        "recipes": [(name if isinstance(name, Recipe) else Recipe.load(name)).to_json() for name in recipes],
        "named": [name if isinstance(name, str) else "" for name in recipes],
        "changes": {name: str(value) for name, value in chosen.changes.items()},
        **more,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:32]


def find_finished(folder: Path, request: str) -> Finished | None:
    """Return what a request led to, if all of it is in the folder still, whole and unchanged.

    Args:
        folder: that the pictures go to.
        request: from :func:`mark_request`.
    """
    from featvis.errors import OutputError
    from featvis.results.manifest import read_sound_manifest
    from featvis.results.picture import load_picture

    manifest = read_sound_manifest(folder) if folder.is_dir() else None
    known = (manifest or {}).get(REQUESTS)
    told = known.get(request) if isinstance(known, dict) else None
    if manifest is None or not isinstance(told, dict):
        return None
    by_key = {str(entry.get("key")): entry for entry in manifest["pictures"]}
    keys, grids, notes = ([str(one) for one in told.get(name) or ()] for name in ("keys", "grids", "notes"))
    entries = [by_key[key] for key in keys if key in by_key]
    paths = [folder / grid for grid in grids]
    if not keys or len(entries) < len(keys) or not all(path.is_file() for path in paths):
        return None
    fallen = []
    for entry in entries:
        if entry.get("status") == "dead":
            continue
        try:
            picture = load_picture(folder / str(entry.get("file")))
        except OutputError:
            return None
        if picture.key != entry["key"] or picture.status != "ok":
            return None
        if picture.has_fallen:
            fallen.append(picture.target)
    return Finished(entries, paths, notes, fallen)


def remember(
    store: Store, request: str, pictures: Sequence[Picture], grids: Sequence[Path], notes: Sequence[str]
) -> None:
    """Enter a request in the manifest whose pictures are all there.

    Args:
        store: the folder.
        request: from :func:`mark_request`.
        pictures: all that it led to.
        grids: their grids; what another request's grid shows is forgotten with that.
        notes: what was said of them.
    """
    if any(picture.status not in ("ok", "dead") for picture in pictures):
        return
    names = [grid.relative_to(store.folder).as_posix() for grid in grids]
    before = store.top.get(REQUESTS)
    kept = {
        mark: told
        for mark, told in (before if isinstance(before, dict) else {}).items()
        if isinstance(told, dict) and mark != request and not {*names} & {*told.get("grids", ())}
    }
    told = {"keys": [picture.key for picture in pictures], "grids": names, "notes": list(notes)}
    store.top[REQUESTS] = dict([*kept.items(), (request, told)][-MOST:])
    if store.top[REQUESTS] != before:
        store.write_manifest()
