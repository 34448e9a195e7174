"""The board: pictures that were pinned, as a gallery in a ZIP file or as the Python that makes them."""

from __future__ import annotations

import io
import json
import shlex
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from featvis.errors import OutputError
from featvis.models.load import DEFAULT_MODEL
from featvis.pages.folder import write_pages
from featvis.results.picture import Picture
from featvis.results.store import Store, safe_name
from featvis.run.render import write_grids
from featvis.serve.asked import Asked, with_tone
from featvis.spec.recipe import Recipe

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


def recipe_fields(network: Mapping[str, Any]) -> dict[str, Any]:
    """Return the field of a recipe that ``--input-size`` is, beside the network's own: what it is shown.

    Args:
        network: with which options it was loaded.

    >>> recipe_fields({"input_size": (24, 32), "weights": "none"}), recipe_fields({})
    ({'input_size': (24, 32)}, {})
    """
    return {name: network[name] for name in ("input_size",) if name in network}


def write_command(asked: Asked, network: Mapping[str, Any]) -> str:
    """Return the command that renders a picture, as it is typed.

    Args:
        asked: what was asked for.
        network: with which options its network was loaded.

    >>> write_command(Asked("n", "fc:tabby cat", seed=3), {"mean": (0.5, 0.5), "input_size": (24, 32)})
    "featvis render 'fc:tabby cat' --seed 3 --model n --mean 0.5,0.5 --input-size 24x32"
    """
    changes = {name: value for name, value in asked.changes.items() if name != "penalties"}
    options = {"recipe": asked.recipe, **changes, "seed": asked.seed or None}
    if network or asked.network != DEFAULT_MODEL:
        options |= {"model": asked.network, **network}
    words = ["featvis", "render", asked.target]
    for name, value in options.items():
        if value is not None:
            between = "x" if name == "input_size" else ","
            text = between.join(map(str, value)) if isinstance(value, tuple | list) else str(value)
            words += [f"--{name.replace('_', '-')}", text]
    return shlex.join(words + _set_penalties(asked))


def _set_penalties(asked: Asked) -> list[str]:
    """Return the options that set the penalties: their limits where they are else the recipe's, or all."""
    penalties = asked.changes.get("penalties")
    if penalties is None:
        return []
    own = Recipe.load(asked.recipe).penalties if asked.recipe else ()
    if own and penalties == with_tone(own, asked.tone, asked.recipe):
        settings = [f"penalties.{name}.limit={limit}" for name, limit in asked.tone.items()]
    else:
        tables = [
            ", ".join(f"{key} = {json.dumps(value)}" for key, value in one.items()) for one in penalties
        ]
        settings = [f"penalties=[{', '.join(f'{{{table}}}' for table in tables)}]"]
    return [word for setting in settings for word in ("--set", setting)]


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
                fields = {**recipe_fields(networks.get(network, {})), **asked.changes}
                changes = "".join(f", {name}={value!r}" for name, value in fields.items())
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
