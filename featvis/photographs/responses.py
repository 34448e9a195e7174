"""What a layer's units say to each photograph: the largest activation, where, and the score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from featvis.models.layers.measure import LayerInfo
from featvis.models.layers.receptive import grid_of
from featvis.spec.same import SameByValue

GRIDDED = ("map", "map_last", "tokens")
"""The kinds of layers whose positions lie in rows and columns."""

_ROW = 2**20  # A place is one number: the row times this, plus the column


@dataclass(frozen=True, eq=False)
class Responses(SameByValue):
    """Of some photographs to some units, each ``(B, units)``."""

    values: Tensor
    """The largest activation over the map or the patch tokens; a vector's own; -inf where not finite."""
    places: Tensor  # Where it was; -1 where there is no map
    scores: Tensor
    """The mean over the map or the patch tokens, as pictures are scored; NaN where not finite."""


def read_responses(
    activation: Tensor, layer: LayerInfo, units: Sequence[int], canvas: tuple[int, int]
) -> Responses:
    """Read off a layer's activation, for photographs shown at ``canvas``, what some of its units say."""
    chosen = torch.as_tensor(units, device=activation.device)
    picked = activation.movedim(layer.axis, 1).index_select(1, chosen).float()
    if picked.dim() == 2:
        values, scores, places = picked, picked, torch.full(picked.shape, -1)
    else:
        grid = grid_of(layer, tuple(activation.shape), canvas)
        flat = picked.flatten(2)[:, :, layer.prefix :]
        scores = flat.mean(2)
        places = flat.argmax(2)
        values = flat.gather(2, places[:, :, None])[:, :, 0]
        places = places // grid[1] * _ROW + places % grid[1] if grid else torch.full_like(places, -1)
    values = torch.where(values.isfinite(), values, -torch.inf)
    scores = torch.where(scores.isfinite(), scores, torch.nan)
    return Responses(values.cpu(), places.cpu(), scores.cpu())


def position_of(place: int) -> tuple[int, int] | None:
    """Return (row, column) of a place.

    >>> position_of(3 * 2**20 + 5)
    (3, 5)
    """
    return divmod(place, _ROW) if place >= 0 else None
