"""Which networks look at a folder's pictures: their own, and the judges."""

from __future__ import annotations

from collections.abc import Sequence, Set
from pathlib import Path
from typing import Any

from featvis.errors import ModelError
from featvis.galleries.build import load_network
from featvis.galleries.request import find_request
from featvis.models.handle import ModelHandle
from featvis.models.load import load_model
from featvis.models.sources.register import check_read_name, find_source


def load_network_of(folder: Path, manifest: dict[str, Any], device: str = "auto") -> ModelHandle:
    """Load the network of a folder, as its gallery's config says if that is still there, else by its name."""
    name = check_read_name(str(manifest.get("model")), folder)
    request = find_request(folder, manifest)
    if request is not None and request.gallery.model == name:
        return load_network(request, device)
    return load_model(name, device=device)


def own_network(folder: Path, manifest: dict[str, Any], model: ModelHandle | str | None) -> ModelHandle:
    """Return the network that a folder's pictures are of; a ModelError where it has other weights."""
    own = load_network_of(folder, manifest) if model is None else load_model(model)
    name, expected = str(manifest.get("model")), str(manifest.get("weights"))
    if (weights := own.fingerprint()) != expected:
        raise ModelError(
            f"the folder holds pictures of {name!r}, weights {expected[:12]}…; "
            f"{own.name!r} has {weights[:12]}…: give the network (--model) and --weights that they are of"
        )
    return own


def panel_of(judges: Sequence[str | ModelHandle] | None, own: ModelHandle) -> list[ModelHandle]:
    """Return the judges: those named, or every embedded network that is installed but the folder's own."""
    if judges is None:
        return [load_model(name) for name in installed_judges() if name != own.name]
    panel = [load_model(judge) for judge in judges]
    check_took_no_part(panel, {own.fingerprint()}, own)
    return panel


def installed_judges() -> list[str]:
    """Return the names of the embedded networks whose weights are on this machine."""
    embedded = find_source("")
    return [name for name in embedded.names() if embedded.has_weights(name)]


def check_took_no_part(
    panel: Sequence[ModelHandle], climbed: Set[str], own: ModelHandle | None = None
) -> None:
    """Raise ModelError if a judge is, or has the weights of, a network that was climbed."""
    for judge in panel:
        if judge is own or judge.fingerprint() in climbed:
            raise ModelError(f"{judge.name!r} was climbed itself; a judge is a network that took no part")
