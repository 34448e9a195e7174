"""How another config differs from what a gallery's folder was built from, in pictures."""

from __future__ import annotations

from dataclasses import dataclass

from featvis.errors import ModelError
from featvis.galleries.build import load_network
from featvis.galleries.folder import DONE, is_stale
from featvis.galleries.plan import plan_gallery
from featvis.galleries.request import BuildRequest
from featvis.galleries.status import read_planned
from featvis.results.journal import read_agreed


@dataclass(frozen=True)
class Difference:
    """What a config asks for that a folder's does not, and the other way round."""

    added: int
    """Pictures that only the config asks for."""
    dropped: int
    """Pictures that only the folder's asks for."""
    changed: int | None
    """Pictures that are there and that the config wants by another recipe; None where its weights differ."""


def compare_config(request: BuildRequest) -> Difference:
    """Compare the config of a request with what its folder was built from; nothing is downloaded or written.

    Raises:
        UserError: the folder is of another network, or anything wrong in the config.
    """
    manifest, entries, names = read_planned(request.folder)
    kept = manifest.get("model")
    if kept not in (None, request.gallery.model):
        raise ModelError(f"it is of {request.gallery.model}, the folder of {kept}")
    model, agreed = load_network(request, "cpu", download=False), read_agreed(request.folder)
    plan = plan_gallery(request.gallery, model, request.folder, None if agreed is None else agreed.threads)
    before = names or entries.keys()
    changed = None
    if manifest.get("weights") in (None, plan.weights):
        there = {name: entries[name] for name in plan.pictures if name in before and name in entries}
        changed = sum(
            entry.get("status") in DONE and is_stale(entry, plan.keys[name]) for name, entry in there.items()
        )
    added = sum(name not in before for name in plan.pictures)
    return Difference(added, sum(name not in plan.pictures for name in before), changed)
