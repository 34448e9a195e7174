"""Photographs that somebody dropped: read within limits, and what a layer says at each place."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import adaptive_avg_pool2d

from featvis.attribution.attribute import photo_levels
from featvis.errors import OutputError, TargetError
from featvis.models.handle import ModelHandle
from featvis.notebook import data_uri
from featvis.photographs.photos import quiet_decoders
from featvis.read import open_image
from featvis.results.views import make_view

BYTES = 20 << 20
"""A photograph's file is no larger."""
PIXELS = 50_000_000
"""Nor has it more pixels, which is seen in its head, before anything is decoded."""
PLACES = 14
"""A map of more rows or columns is averaged to so many."""
UNITS = 8
"""How many units are told of a place."""


@dataclass(frozen=True)
class Photograph:
    """A photograph as a network is shown it."""

    levels: NDArray[np.uint8]
    """``(C, H, W)``."""

    def to_json(self) -> dict[str, Any]:
        """Return what the page shows."""
        return {
            "height": self.levels.shape[1],
            "width": self.levels.shape[2],
            "image": data_uri(make_view(self.levels)),
        }


def read_photograph(model: ModelHandle, content: bytes) -> Photograph:
    """Read a photograph's file; what its name was nobody asks.

    Args:
        model: the network that it will be shown.
        content: the file.

    Raises:
        OutputError: too large, or no image.
    """
    if len(content) > BYTES:
        raise OutputError(f"a photograph has at most {BYTES >> 20} MB")
    with tempfile.NamedTemporaryFile(prefix="featvis-") as file:
        file.write(content)
        file.flush()
        path = Path(file.name)
        try:
            with quiet_decoders():
                with open_image(path) as opened:
                    if opened.width * opened.height > PIXELS:
                        raise OutputError(
                            f"{opened.width}x{opened.height} pixels are too many; "
                            f"at most {PIXELS // 1_000_000} million are read"
                        )
                return Photograph(photo_levels(model, path, None))
        except OutputError as error:
            raise OutputError(str(error).replace(file.name, "the file")) from None


def read_places(model: ModelHandle, photograph: Photograph, layer: str) -> dict[str, Any]:
    """Return what a layer's units say at each place: those that stand out there most.

    A unit stands out by how many standard deviations its activation lies above its mean over this photograph.

    Args:
        model: the network.
        photograph: what it is shown.
        layer: one that gives a map.

    Raises:
        TargetError: no such layer, or it gives no map.

    >>> import featvis as fv
    >>> network = torch.nn.Sequential(torch.nn.Conv2d(3, 2, 1, bias=False))
    >>> _ = network[0].weight.data.copy_(torch.tensor([[1.0, 0, 0], [0, 1.0, 0]])[:, :, None, None])
    >>> model = fv.load_model(network, mean=(0.0,) * 3, std=(1.0,) * 3, input_size=(1, 2))
    >>> photograph = Photograph(np.array([[[255, 0]], [[0, 255]], [[0, 0]]], np.uint8))
    >>> told = read_places(model, photograph, "0")
    >>> told["rows"], told["columns"], [place[0]["unit"] for place in told["places"]]
    (1, 2, [0, 1])
    """
    size = (photograph.levels.shape[1], photograph.levels.shape[2])
    info = model.at(size).layer(layer)
    if info.kind not in ("map", "map_last"):
        raise TargetError(f"{layer} gives no map: its units say nothing of a place; choose a layer before it")
    image = torch.from_numpy(photograph.levels).float()[None] / 255
    with model.tap([layer], size=size) as tap, torch.no_grad():
        maps = tap(image.to(model.device))[layer].movedim(info.axis, 1)[0].float().cpu()
    rows, columns = (min(PLACES, int(count)) for count in maps.shape[1:])
    if (rows, columns) != tuple(maps.shape[1:]):
        maps = adaptive_avg_pool2d(maps, (rows, columns))
    flat = maps.flatten(1)
    spread = flat.std(1, correction=0, keepdim=True)
    stands_out = torch.where(spread > 0, (flat - flat.mean(1, keepdim=True)) / spread.clamp_min(1e-12), flat)
    best = stands_out.topk(min(UNITS, len(flat)), dim=0)
    places = [
        [
            {"unit": unit, "activation": round(float(flat[unit, place]), 4), "above": round(value, 2)}
            for unit, value in zip(
                best.indices[:, place].tolist(), best.values[:, place].tolist(), strict=True
            )
        ]
        for place in range(rows * columns)
    ]
    return {"layer": layer, "rows": rows, "columns": columns, "places": places}
