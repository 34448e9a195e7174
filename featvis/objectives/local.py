"""Weighted units over a window of a map, or a direction at one position."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from featvis.errors import TargetError
from featvis.models.layers.measure import LayerInfo
from featvis.models.layers.network import NetworkAt
from featvis.objectives.base import Objective, copy_with, digest_of, number, vector_of
from featvis.objectives.pattern import dot_times_cosine
from featvis.objectives.shown import Activations
from featvis.objectives.unit import MIDDLE, check_position, place_in_row

Window = tuple[int, int, int, int]
"""(row, column, rows, columns) of a part of a map."""


class Local(Objective):
    """mean over a window of ⟨a, w⟩ · max(.1, cos(a, w))^p, with a weight for each unit."""

    constants = ("_vector",)

    def __init__(
        self,
        layer: str,
        weights: Tensor | Mapping[int, float],
        window: Window | None = None,
        position: tuple[int, int] | None = None,
        power: float = 0.0,
    ) -> None:
        self.layers = (layer,)
        self.weights = weights
        self.window, self.position, self.power = window, position, power
        self._info: LayerInfo | None = None
        self._vector: Tensor = torch.zeros(0)

    def bind(self, network: NetworkAt) -> Objective:  # noqa: D102
        info = network.layer(self.layers[0])
        if self.window is not None:
            if info.kind not in ("map", "map_last"):
                raise TargetError(f"{info.name} has no map for a window; its shape is {info.shape}")
            row, column, rows, columns = self.window
            height, width = (n for axis, n in enumerate(info.shape) if axis not in (0, info.axis))
            if row + rows > height or column + columns > width:
                raise TargetError(
                    f"the window of {rows}x{columns} positions at {row},{column} reaches past the map of "
                    f"{info.name}, {height} rows by {width} columns at this canvas"
                )
        position = check_position(info, self.position)
        return copy_with(self, _info=info, position=position, _vector=self._weights_of(info))

    def _weights_of(self, info: LayerInfo) -> Tensor:
        if isinstance(self.weights, Tensor):
            if len(self.weights) != info.units:
                raise TargetError(f"{info.name} has {info.units} units, got {len(self.weights)} weights")
            return self.weights
        vector = torch.zeros(info.units)
        for unit, weight in self.weights.items():
            if not 0 <= unit < info.units:
                raise TargetError(f"unit {unit} is out of range; {info.name} has units 0 to {info.units - 1}")
            vector[unit] = weight
        return vector

    def score(self, activations: Activations, images: Tensor) -> Tensor:  # noqa: D102
        info = self._bound(self._info)
        activation = activations[self.layers[0]].movedim(info.axis, 1)
        if self.position is not None:
            row, column = self.position
            if activation.dim() == 3:
                activation = activation[:, :, place_in_row(info, row, column), None]
            else:
                activation = activation[:, :, row : row + 1, column : column + 1]
        elif self.window is not None:
            row, column, rows, columns = self.window
            activation = activation[:, :, row : row + rows, column : column + columns]
        elif activation.dim() == 3:
            activation = activation[:, :, info.prefix :]
        vector = self._vector.to(activation.device)
        spread = activation.float().flatten(2) if activation.dim() > 2 else activation.float()[:, :, None]
        return dot_times_cosine(spread, vector[None, :, None], self.power, 1).mean(1)

    def place(self) -> tuple[str, tuple[int, int]] | None:  # noqa: D102
        known = self.position is not None and self.position != MIDDLE
        return (self.layers[0], self.position) if known and self.position is not None else None

    def moved(self, position: tuple[int, int]) -> Objective:  # noqa: D102
        return copy_with(self, position=position)

    def describe(self) -> str:  # noqa: D102
        if isinstance(self.weights, Tensor):
            weights = digest_of(self.weights.cpu().double())
        else:
            weights = (
                "{" + ", ".join(f"{unit}: {number(weight)}" for unit, weight in self.weights.items()) + "}"
            )
        power = f", power={number(self.power)}" if self.power else ""
        where = f", position={self.position[0]},{self.position[1]}" if self.position is not None else ""
        if self.window is not None:
            where = f", window={','.join(map(str, self.window))}"
        return f"weighted({self.layers[0]}, {weights}{power}{where})"


def weighted(
    layer: str,
    weights: Mapping[int, float] | Sequence[float] | Tensor,
    *,
    window: Window | None = None,
    position: tuple[int, int] | None = None,
) -> Local:
    """Climb a weighted sum of units, averaged over the map, a window of it, or at one position.

    Args:
        layer: the layer's name.
        weights: by unit, ``{3: 1.0, 7: -0.5}``, or one number for each unit of the layer.
        window: (row, column, rows, columns) of the map.
        position: (row, column) of the map, instead of a window.

    Raises:
        TargetError: no weight, not finite or all zero; a window or position outside the map (at bind).

    >>> import featvis as fv
    >>> fv.weighted("conv", {3: 1, 7: -0.5}, position=(4, 6))
    weighted(conv, {3: 1, 7: -0.5}, position=4,6)
    """
    if window is not None:
        if position is not None:
            raise TargetError("weighted: a window or a position, not both")
        if len(window) != 4 or min(window[:2]) < 0 or min(window[2:]) < 1:
            raise TargetError(f"a window is (row, column, rows, columns), at least 1 by 1; got {window!r}")
        window = (window[0], window[1], window[2], window[3])
    if isinstance(weights, Mapping):
        named = {int(unit): float(weight) for unit, weight in weights.items()}
        vector_of("a weighted sum", list(named.values()))
        return Local(layer, named, window, position)
    return Local(layer, vector_of("a weighted sum", weights), window, position)


def direction_at(
    layer: str,
    vector: Tensor | Sequence[float],
    position: tuple[int, int] | None = None,
    *,
    power: float = 0.0,
    whitening: Tensor | None = None,
) -> Local:
    """Climb a direction at one position of a map.

    Args:
        layer: a map.
        vector: one component for each unit.
        position: (row, column), by default the middle (⌊H/2⌋, ⌊W/2⌋).
        power: of max(.1, cosine), from 0 up.
        whitening: S ``(units, units)``, the inverse of AᵀA/n (uncentred); v' = v·S is climbed
            (Activation Atlas, Carter et al. 2019).

    Raises:
        TargetError: no vector, not finite or zero, a whitening of another shape, a position outside the map.

    >>> import featvis as fv
    >>> fv.direction_at("conv", [1.0, 0.0, -1.0], (1, 2)).place()
    ('conv', (1, 2))
    """
    values = vector_of("a direction", vector, power)
    if whitening is not None:
        if tuple(whitening.shape) != (len(values), len(values)):
            raise TargetError(
                f"the whitening of a direction of {len(values)} components is {len(values)}x{len(values)}, "
                f"got {tuple(whitening.shape)}"
            )
        values = vector_of("a whitened direction", values @ whitening.detach().float())
    return Local(layer, values, None, position if position is not None else MIDDLE, power)
