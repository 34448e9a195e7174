"""A pattern over units and positions: a whole-tensor direction, and dot · cosine^p of whole tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from featvis.errors import CanvasError, TargetError
from featvis.models.layers.measure import LayerInfo
from featvis.models.layers.network import NetworkAt
from featvis.objectives.base import Objective, copy_with, digest_of, number, vector_of
from featvis.objectives.shown import Activations

LEAST_COSINE = 0.1
"""Below it the cosine counts as this, so that a picture that points the wrong way still has a gradient."""


def dot_times_cosine(activation: Tensor, pattern: Tensor, power: float, dim: int) -> Tensor:
    """Return ⟨a, v⟩ · max(.1, ⟨a, v⟩ / ((‖a‖ + 1e-4)(‖v‖ + 1e-4)))^p along ``dim`` (Lucid)."""
    dot = (activation * pattern).sum(dim)
    if power == 0:
        return dot
    norms = (activation.norm(dim=dim) + 1e-4) * (pattern.norm(dim=dim) + 1e-4)
    towards: Tensor = (dot / norms).clamp(min=LEAST_COSINE) ** power
    return dot * towards


class Pattern(Objective):
    """An activation pattern ``(units, rows, columns)`` on the centre crop of a map that fits it.

    - each position by itself (``whole`` false): mean over positions of ⟨a, v⟩ · max(.1, cos(a, v))^p;
    - the pattern as one vector (``whole`` true): ⟨A, V⟩ · max(.1, cos(A, V))^p, one cosine for each picture.
    """

    constants = ("patterns",)

    def __init__(self, layer: str, patterns: Tensor, power: float, *, whole: bool) -> None:
        self.layers = (layer,)
        self.patterns = patterns  # (1 or B, units, rows, columns)
        self.power, self.whole = power, whole
        self._info: LayerInfo | None = None
        self._corner = (0, 0)

    def bind(self, network: NetworkAt) -> Objective:  # noqa: D102
        info = network.layer(self.layers[0])
        if info.kind not in ("map", "map_last"):
            raise TargetError(f"{info.name} has no map for a pattern; its shape is {info.shape}")
        _, units, *rows_columns = self.patterns.shape
        if units != info.units:
            raise TargetError(f"a pattern of {info.name} has {info.units} units, got {units}")
        map_size = [n for axis, n in enumerate(info.shape) if axis not in (0, info.axis)]
        if rows_columns[0] > map_size[0] or rows_columns[1] > map_size[1]:
            raise CanvasError(
                f"a pattern of {rows_columns[0]}x{rows_columns[1]} positions does not fit the map of "
                f"{info.name}, {map_size[0]}x{map_size[1]} at this canvas; use a larger one"
            )
        corner = tuple((whole - own) // 2 for whole, own in zip(map_size, rows_columns, strict=True))
        return copy_with(self, _info=info, _corner=corner)

    def score(self, activations: Activations, images: Tensor) -> Tensor:  # noqa: D102
        info = self._bound(self._info)
        activation = activations[self.layers[0]].movedim(info.axis, 1).float()
        patterns = self.patterns.to(activation.device)
        (row, column), (rows, columns) = self._corner, patterns.shape[2:]
        crop = activation[:, :, row : row + rows, column : column + columns]
        if self.whole:
            return dot_times_cosine(crop.flatten(1), patterns.flatten(1), self.power, 1)
        return dot_times_cosine(crop.flatten(2), patterns.flatten(2), self.power, 1).mean(1)

    def describe(self) -> str:  # noqa: D102
        shape = "x".join(map(str, self.patterns.shape[1:]))
        values = digest_of(self.patterns.cpu().double())
        power = f", power={number(self.power)}" if self.power else ""
        name = "dot_cosine" if self.whole else "tensor_direction"
        return f"{name}({self.layers[0]}, {shape}, {values}{power})"

    def stacks_with(self) -> tuple[object, ...]:  # noqa: D102
        return (Pattern, self.layers, self.power, self.whole, tuple(self.patterns.shape[1:]))

    @classmethod
    def stack(cls, objectives: Sequence[Any]) -> Objective:  # noqa: D102
        first: Pattern = objectives[0]
        return copy_with(first, patterns=torch.cat([objective.patterns for objective in objectives]))


def tensor_direction(layer: str, pattern: Tensor, power: float = 0.0) -> Pattern:
    """Climb a direction of its own at each position, the mean of ⟨a, v⟩ · max(.1, cos(a, v))^p (Lucid).

    Args:
        layer: a map.
        pattern: ``(units, rows, columns)``, no larger than the map; compared with the centre of it.
        power: p, from 0 up.

    Raises:
        TargetError: no such shape, not finite, or all zero.
        CanvasError: once bound, it does not fit the map.

    >>> import featvis as fv, torch
    >>> fv.tensor_direction("conv", torch.ones(4, 2, 3)).layers
    ('conv',)
    """
    values = vector_of("a pattern", pattern, power, ("units", "rows", "columns"))
    return Pattern(layer, values[None], power, whole=False)


def dot_cosine(layer: str, pattern: Tensor, power: float = 2.0) -> Pattern:
    """Climb ⟨A, V⟩ · max(.1, cos(A, V))^p of the whole pattern: one product for each picture (Lucid).

    The product of a negative dot is negative and rises with the dot, too.

    Args:
        layer: a map.
        pattern: V, ``(units, rows, columns)`` as large as the map; finite and not zero.
        power: p, from 0 up.

    Raises:
        TargetError: as for :func:`featvis.tensor_direction`.

    >>> import featvis as fv, torch
    >>> fv.dot_cosine("conv", torch.ones(4, 2, 3)).power
    2.0
    """
    values = vector_of("a pattern", pattern, power, ("units", "rows", "columns"))
    return Pattern(layer, values[None], power, whole=True)
