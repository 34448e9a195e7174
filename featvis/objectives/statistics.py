"""What photographs make of a network's layers, channel by channel, as a file that a penalty reads."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from featvis.errors import OutputError, RecipeError, count_of
from featvis.files import write_whole
from featvis.models.layers.network import NetworkAt
from featvis.read import DAMAGED, check_file, parse_json, reason_of
from featvis.spec.pinned import STATISTICS_BYTES, opened
from featvis.spec.same import SameByValue

FORMAT = "activation statistics 1"  # Another number where the same photographs would give other values

Numbers = NDArray[np.float64]

LEAST_SHARE = 1e-6
"""A channel's variance is above this share of its mean square, or float32 cannot tell it from rounding."""
LEAST_OF_LAYER, LEAST = 1e-10, 1e-30
"""And above this share of the layer's largest, and this: training lets weights of idle channels fade away."""
MOST = 1e12
"""A mean or variance beyond it is of no network; its square hardly fits into float32."""


@dataclass(frozen=True, repr=False, eq=False)
class ActivationStatistics(SameByValue):
    """Mean and variance of a network's channels over photographs, from :func:`featvis.activation_statistics`.

    Two are equal whose fields are, the layers by their values.

    >>> import featvis as fv
    >>> layers = {"conv": np.array([[0.0, 1.0], [4.0, 0.0]])}
    >>> fv.ActivationStatistics(layers, "mine", "Conv2d", (32, 32), photographs=9, skipped=0)
    ActivationStatistics(Conv2d of mine: 1 layer, 2 channels, 9 photographs at 32x32)
    """

    layers: Mapping[str, Numbers]
    """Each layer's ``(2, C)``: the mean and variance of what it gives, over positions and photographs."""
    model: str
    kind: str
    """The class of the layers: ``Conv2d`` or ``LayerNorm``."""
    size: tuple[int, int]
    """(height, width) at which the photographs were shown."""
    photographs: int
    skipped: int
    """Files that are no photograph that can be read."""
    weights: str = ""
    """The fingerprint of the network's weights."""
    fingerprint: str = ""
    """Of the folder's listing (paths, sizes, times of change) or the images, and how they were resized."""

    @property
    def channels(self) -> int:
        """How many channels all layers have together."""
        return sum(values.shape[1] for values in self.layers.values())

    def __repr__(self) -> str:
        return f"ActivationStatistics({self.summary()})"

    def summary(self) -> str:
        """Say in a line what was measured."""
        height, width = self.size
        many = f"{count_of(len(self.layers), 'layer')}, {count_of(self.channels, 'channel')}"
        shown = f"{count_of(self.photographs, 'photograph')} at {height}x{width}"
        return f"{self.kind} of {self.model}: {many}, {shown}"

    def save(self, path: str | Path) -> Path:
        """Write a safetensors file, to be a penalty's ``statistics``; it appears whole or not at all."""
        arrays = {_OF + name: np.ascontiguousarray(values) for name, values in self.layers.items()}
        # One entry, for safetensors writes several in any order.
        told = {
            "format": FORMAT,
            "layers": list(self.layers),
            **{name: getattr(self, name) for name in _TOLD},
        }
        return write_whole(Path(path), save(arrays, {"featvis": json.dumps(told)}))

    def answers(self, fingerprint: str, size: tuple[int, int], weights: str) -> bool:
        """Whether they are of these photographs, at this size, by these weights."""
        return (self.fingerprint, self.size, self.weights) == (fingerprint, size, weights)

    def before(self, until: Sequence[str], network: NetworkAt) -> list[str]:
        """Return the layers, in order, that run before what the layers ``until`` show is computed.

        A layer that is climbed itself, or through activations and pools, is none of them.

        Raises:
            RecipeError: these are statistics of another network, or of other weights.
        """
        for name, values in self.layers.items():
            there = network.layers.get(name)
            if there is None:
                raise RecipeError(f"they are of {self.model}; {network.name} has no layer {name!r}")
            if there.units != values.shape[1]:
                raise RecipeError(
                    f"they are of {self.model}, where {name!r} has {values.shape[1]} channels; "
                    f"that of {network.name} has {there.units}"
                )
        if not network.has_weights(self.weights):
            problem = f"they were measured with other weights than {network.name} has; measure anew"
            raise RecipeError(
                f"{problem}: fv.activation_statistics(model, photographs, out=...)",
                typed=f"{problem}: featvis statistics PHOTOS --out FILE",
            )
        deepest = max((network.find(name).order for name in until), default=0)
        own = {*until, *(network.source_of(name) for name in until)}
        names = [name for name in self.layers if name not in own and network.layers[name].order <= deepest]
        return sorted(names, key=lambda name: network.layers[name].order)


_OF = "layers."
"""Before a layer's name in the file: a module may be called as nothing in such a file may."""
_TOLD = ("model", "kind", "size", "photographs", "skipped", "weights", "fingerprint")


def load_activation_statistics(path: str | Path) -> ActivationStatistics:
    """Read what :meth:`ActivationStatistics.save` wrote.

    Args:
        path: the safetensors file.

    Raises:
        OutputError: no such file, or not one of these.

    >>> import featvis as fv, tempfile
    >>> layers = {"conv": np.array([[0.0, 1.0], [4.0, 0.0]])}
    >>> told = fv.ActivationStatistics(layers, "mine", "Conv2d", (32, 32), photographs=9, skipped=0)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     fv.load_activation_statistics(told.save(f"{folder}/mine.safetensors")).layers["conv"].tolist()
    [[0.0, 1.0], [4.0, 0.0]]
    """
    check_file(Path(path), STATISTICS_BYTES, "file of activation statistics")
    try:
        with safe_open(path, "numpy") as opened:
            about = parse_json((opened.metadata() or {}).get("featvis", "{}"))
            if about.get("format") != FORMAT:
                other = str(about.get("format") or "")
                instead = f", but {other.rstrip('0123456789 ')}" if other.startswith("image") else ""
                raise OutputError(
                    f"{path} holds no activation statistics of this version of featvis{instead}"
                )
            layers = {str(name): opened.get_tensor(_OF + name).astype(np.float64) for name in about["layers"]}
        counts: dict[str, Any] = {name: int(about[name]) for name in ("photographs", "skipped")}
        texts: dict[str, Any] = {
            name: str(about[name]) for name in ("model", "kind", "weights", "fingerprint")
        }
        size = int(about["size"][0]), int(about["size"][1])
        return ActivationStatistics(_checked(path, layers), size=size, **counts, **texts)
    except OutputError:
        raise
    except (SafetensorError, *DAMAGED) as error:
        raise OutputError(f"{path} holds no activation statistics: {reason_of(error)}") from None


def _checked(path: str | Path, layers: dict[str, Numbers]) -> dict[str, Numbers]:
    if not layers:
        raise OutputError(f"{path} is damaged: it holds no layer")
    for name, values in layers.items():
        if values.ndim != 2 or len(values) != 2 or not values.size:
            raise OutputError(f"{path} is damaged: the statistics of {name!r} have the shape {values.shape}")
        if not (np.abs(values) < MOST).all() or values[1].min() < 0:
            raise OutputError(f"{path} is damaged: the statistics of {name!r} are out of range")
    return layers


@lru_cache(maxsize=8)
def pinned_statistics(pinned: str) -> ActivationStatistics:
    """Return the statistics that a recipe names as ``PATH#sha256:DIGEST``, which was checked with it."""
    with opened(pinned) as place:
        return load_activation_statistics(place)


def varying(values: Numbers) -> NDArray[np.bool_]:
    """Return which channels of a layer's ``(2, C)`` vary so that a distance from them can be told.

    >>> varying(np.array([[0.0, 0.0, 1000.0, 0.0], [1.0, 0.0, 0.5, 1e-20]])).tolist()
    [True, False, False, False]
    """
    mean, variance = values
    least = max(LEAST, LEAST_OF_LAYER * float(variance.max()))
    found: NDArray[np.bool_] = variance > np.maximum(least, LEAST_SHARE * (mean**2 + variance))
    return found
