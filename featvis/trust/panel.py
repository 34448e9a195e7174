"""Which networks look at a folder's pictures: their own, and the judges."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from typing import Any

from featvis.errors import ModelError
from featvis.models.handle import ModelHandle
from featvis.models.load import load_model
from featvis.models.sources import embedded


def own_network(manifest: dict[str, Any], model: ModelHandle | str | None) -> ModelHandle:
    """Return the network that a folder's pictures are of.

    Raises:
        ModelError: it does not load, or has other weights.
    """
    name = str(manifest.get("model"))
    if model is None and name.startswith("file:"):
        raise ModelError(f"the folder names {name!r} as its network; give --model to have that code run")
    own = load_model(model if model is not None else name)
    if (weights := own.fingerprint()) != manifest.get("weights"):
        raise ModelError(
            f"the folder holds pictures of {name!r}, weights {str(manifest.get('weights'))[:12]}…; "
            f"{own.name!r} has {weights[:12]}…: give the network (--model) and --weights that they are of"
        )
    return own


def panel_of(judges: Sequence[str | ModelHandle] | None, own: ModelHandle) -> list[ModelHandle]:
    """Return the judges: those named, or every embedded network that is installed but the folder's own.

    Raises:
        ModelError: a judge does not load, or is the network that was climbed.
    """
    if judges is None:
        names = [one for one in embedded.names() if importlib.util.find_spec(f"{one}_pytorch_model")]
        return [load_model(name) for name in names if name != own.name]
    panel = [load_model(judge) for judge in judges]
    weights = own.fingerprint()
    for judge in panel:
        if judge is own or judge.fingerprint() == weights:
            raise ModelError(f"{judge.name!r} was climbed itself; a judge is a network that took no part")
    return panel
