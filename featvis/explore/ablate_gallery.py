"""Each unit of a gallery switched off by itself: which classes suffer, kept for the unit's page."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from featvis.errors import OutputError, TargetError, UserError, count_of
from featvis.explore.ablate import Ablation, ablate_each
from featvis.explore.without import units_by_layer
from featvis.files import write_whole
from featvis.models.handle import ModelHandle
from featvis.pages.folder import ABLATIONS, LIST, write_pages
from featvis.photographs.photos import list_files
from featvis.read import read_json
from featvis.results.lock import FolderLock
from featvis.results.manifest import read_manifest
from featvis.spec.target import parse_vectors
from featvis.trust.panel import own_network

TOGETHER = 8
"""Units that one pass over the photographs measures; of each a bootstrap of all classes is kept in memory."""
_KEPT = 8  # Classes that fall and that rise most, of each unit


def ablate_gallery(
    folder: str | Path,
    photographs: str | Path,
    mode: str = "zero",
    *,
    factor: float | None = None,
    mean_of: str | Path | None = None,
    model: ModelHandle | None = None,
    batch: int = 8,
    say: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Switch each unit of a gallery off by itself, and show on its page which classes suffer.

    The result lies in the gallery's ``ablations.json``, and is written as it grows: what was measured before
    over the same photographs in the same way is not measured again. Classes themselves, objectives and
    directions are left out.

    Args:
        folder: a gallery, or a folder of pictures.
        photographs: a folder of photographs.
        mode: ``zero`` or ``mean``, as for :func:`featvis.without`.
        factor: scales a unit instead.
        mean_of: the photographs whose mean ``mode="mean"`` takes; by default ``photographs``.
        model: the network of the pictures; by default it is loaded by the name that the folder tells.
        batch: how many photographs the network sees at once.
        say: is told how far it is, a line at a time.

    Returns:
        What ``ablations.json`` holds: how it was measured, and ``units`` by address, each with the share of
        photographs of which another class comes first, and the classes that fall and rise most.

    Raises:
        UserError: no gallery, none of its units can be switched off, other weights, no photograph.

    >>> import featvis as fv, tempfile, torch
    >>> from PIL import Image
    >>> network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 8), torch.nn.ReLU(), torch.nn.Flatten())
    >>> model = fv.load_model(network, mean=(0.5,) * 3, std=(0.5,) * 3, input_size=8)
    >>> with tempfile.TemporaryDirectory() as name:
    ...     _ = fv.render(model, "0:1", size=8, steps=1, out=f"{name}/gallery", progress=False)
    ...     photographs = Path(name, "photos")
    ...     photographs.mkdir()
    ...     Image.new("RGB", (8, 8), "red").save(photographs / "red.png")
    ...     told = fv.ablate_gallery(f"{name}/gallery", photographs, model=model)
    >>> list(told["units"]), told["photographs"]
    (['0:1'], 1)
    """
    folder = Path(folder)
    manifest = read_manifest(folder)
    if manifest is None:
        raise OutputError(f"{folder} holds no pictures that featvis made; it is no gallery")
    own = own_network(folder, manifest, model)
    addresses = _addresses(own, manifest)
    if not addresses:
        raise TargetError(f"{folder} holds no pictures of units that can be switched off; classes cannot")
    about = {
        "model": own.name,
        "weights": own.fingerprint(),
        "folder": Path(photographs).resolve().name,
        "fingerprint": list_files(Path(photographs), folder).fingerprint,
        "mode": "factor" if factor is not None else mode,
        "factor": factor,
        "mean_of": None if mean_of is None else list_files(Path(mean_of), folder).fingerprint,
    }
    told = _read_before(folder, about)
    left = [address for address in addresses if address not in told["units"]]
    for first in range(0, len(left), TOGETHER):
        part = left[first : first + TOGETHER]
        if say is not None:
            say(f"{count_of(len(left) - first, 'unit')} to go: {part[0]} …")
        found = ablate_each(
            own,
            [[address] for address in part],
            photographs,
            mode,
            factor=factor,
            mean_of=mean_of,
            batch=batch,
        )
        told |= {name: getattr(found[0], name) for name in ("layer", "photographs", "skipped")}
        told["units"] |= {address: _shortly(one) for address, one in zip(part, found, strict=True)}
        write_whole(folder / ABLATIONS, (json.dumps(told, indent=1) + "\n").encode())
    with FolderLock(folder):
        if (folder / LIST).is_file():
            write_pages(folder)
    return told


def _addresses(model: ModelHandle, manifest: dict[str, Any]) -> list[str]:
    """Return the units of a manifest that can be switched off, each once."""
    classes, found = model.at(model.input_size).logits_layer, dict[str, None]()
    for entry in manifest["pictures"]:
        layer, unit = entry.get("layer"), entry.get("unit")
        if not isinstance(layer, str) or isinstance(unit, bool) or not isinstance(unit, int):
            continue
        address = f"{layer}:{unit}"
        if not layer or layer == classes or address in found or parse_vectors(address) is not None:
            continue
        try:
            units_by_layer(model, address)
        except UserError:
            continue
        found[address] = None
    return list(found)


def _read_before(folder: Path, about: dict[str, Any]) -> dict[str, Any]:
    """Return what was measured before in the same way, or nothing yet."""
    try:
        before = read_json(folder / ABLATIONS)
    except (OSError, ValueError, OutputError):
        before = None
    nothing = {**about, "units": {}}
    if not isinstance(before, dict) or any(before.get(name) != value for name, value in about.items()):
        return nothing
    return before if isinstance(before.get("units"), dict) else nothing


def _shortly(found: Ablation) -> dict[str, Any]:
    """Return what a page shows of a unit."""
    told = found.to_json()
    return {
        "how": found.how,
        "first_changed": told["first_changed"],
        "first_changed_interval": told["first_changed_interval"],
        "falls": [one.to_json() for one in found.losses(_KEPT)],
        "rises": [one.to_json() for one in found.gains(_KEPT)],
    }
