"""The board: pictures that were pinned, as a gallery in a ZIP file or as the Python that makes them."""

from __future__ import annotations

import io
import json
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from featvis.errors import OutputError
from featvis.pages.folder import write_pages
from featvis.results.picture import Picture
from featvis.results.store import Store, safe_name
from featvis.run.render import write_grids
from featvis.serve.asked import Asked

NAME = "featvis-board"


@dataclass(frozen=True)
class Drawn:
    """A picture, and what was asked for."""

    asked: Asked
    picture: Picture


def pack_board(drawn: Sequence[Drawn]) -> bytes:
    """Return a ZIP file with a gallery of the pictures, one for each network.

    Args:
        drawn: the pictures.

    Raises:
        OutputError: none of them shows anything.
    """
    groups: dict[str, list[Picture]] = {}
    for one in drawn:
        groups.setdefault(one.picture.weights, []).append(one.picture)
    if not drawn:
        raise OutputError("nothing is pinned")
    with tempfile.TemporaryDirectory(prefix="featvis-") as place:
        root = Path(place) / NAME
        for weights, pictures in groups.items():
            first = pictures[0]
            folder = root if len(groups) == 1 else root / f"{safe_name(first.model)}-{weights[:8]}"
            folder.mkdir(parents=True)
            store = Store(folder, model=first.model, weights=weights, recipe=first.recipe)
            for picture in pictures:
                store.add(picture)
            store.write_manifest()
            write_grids(store, [picture for picture in pictures if picture.is_one])
            write_pages(folder)
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            for path in sorted(root.rglob("*")):
                if path.is_file():
                    archive.write(path, path.relative_to(root.parent).as_posix())
    return packed.getvalue()


def write_code(drawn: Sequence[Drawn], networks: Mapping[str, Mapping[str, Any]]) -> str:
    """Return Python that makes the pictures again.

    Args:
        drawn: the pictures.
        networks: by name, with which options each was loaded.

    >>> write_code([], {})
    'import featvis as fv\\n'
    """
    lines = ["import featvis as fv"]
    for network in dict.fromkeys(one.asked.network for one in drawn):
        told = "".join(f", {name}={value!r}" for name, value in networks.get(network, {}).items())
        lines += ["", f"model = fv.load_model({_text(network)}{told})", "pictures = ["]
        for one in drawn:
            if one.asked.network == network:
                asked = one.asked
                recipe = f", recipe={_text(asked.recipe)}" if asked.recipe else ""
                changes = "".join(f", {name}={value!r}" for name, value in asked.changes.items())
                lines.append(
                    f"    *fv.render(model, {_text(asked.target)}{recipe}, seed={asked.seed}{changes}),"
                )
        name = safe_name(network) if len({one.asked.network for one in drawn}) > 1 else "board"
        lines += [
            "]",
            f"fv.grid(pictures, columns={min(4, max(1, len(drawn)))}).save({_text(name + '.png')})",
        ]
    return "\n".join(lines) + "\n"


def _text(text: str) -> str:
    return json.dumps(text, ensure_ascii=True)
