"""Which networks look at a folder's pictures: their own, and the judges."""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set
from pathlib import Path
from typing import Any

from featvis.errors import ModelError, count_of
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
        problem = f"the folder holds pictures of {name!r}, weights {expected[:12]}…; {own.name!r} has "
        problem += f"{weights[:12]}…: give the network"
        raise ModelError(
            f"{problem} that they are of: model=…",
            typed=f"{problem} (--model) and --weights that they are of",
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


def of_its_kind(
    panel: Sequence[ModelHandle], own: ModelHandle, say: Callable[[str], None] | None
) -> list[ModelHandle]:
    """Return the judges that take what a network's pictures are; ``say`` is told of the others, in one line.

    Args:
        panel: the judges.
        own: the network that was climbed.
        say: may be None.
    """
    asked = [judge for judge in panel if _takes(judge) == _takes(own)]
    others = [judge for judge in panel if judge not in asked]
    if others and say is not None:
        names = ", ".join(judge.name for judge in others)
        are, they = ("is", "it takes") if len(others) == 1 else ("are", "they take")
        theirs = " or ".join(dict.fromkeys(map(_takes, others)))
        say(f"{names} {are} not asked: {they} {theirs}, {own.name} takes {_takes(own)}")
    return asked


def _takes(model: ModelHandle) -> str:
    count = model.channels // (model.frames or 1)
    channels = count_of(count, "channel")
    if model.frames is not None:
        return f"videos or volumes of {model.frames} frames, {channels}"
    return f"{'signals' if model.signal else 'images'} of {channels}"
