"""One unit of a layer: channel (its mean over the map), neuron (one position), logit."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from featvis.errors import TargetError
from featvis.models.layers.measure import LayerInfo
from featvis.models.layers.network import NetworkAt
from featvis.objectives.base import Objective, copy_with
from featvis.objectives.shown import Activations
from featvis.read import is_whole_number
from featvis.spec.target import Request, Target, expand, parse_request, parse_vectors


class Unit(Objective):
    """A unit's activation: averaged over its map or tokens, or at one position.

    - channel: mean over all positions of A[u] (Lucid);
    - neuron: A[u, row, column], by default row ⌊H/2⌋ and column ⌊W/2⌋;
    - logit: A[u] of a ``(B, C)`` layer, before any softmax (a softmax rises by lowering the others).
    """

    def __init__(self, layer: str, units: Sequence[int], positions: Sequence[tuple[int, int] | None]) -> None:
        self.layers = (layer,)
        self.units = tuple(_whole(layer, unit) for unit in units)
        self.positions = tuple(position if position is None else _place(position) for position in positions)
        self._info: LayerInfo | None = None
        self._where: Tensor | None = None

    @property
    def layer(self) -> str:
        """The layer's name."""
        return self.layers[0]

    def bind(self, network: NetworkAt) -> Objective:  # noqa: D102
        info = network.layer(self.layer)
        # Not by way of an address as text: a module's name may hold what the grammar cannot.
        expand(Request(self.layer, ",".join(map(str, self.units))), info.units)
        positions = tuple(check_position(info, position) for position in self.positions)
        return copy_with(self, _info=info, positions=positions)

    def score(self, activations: Activations, images: Tensor) -> Tensor:  # noqa: D102
        info = self._bound(self._info)
        activation = activations[self.layer].movedim(info.axis, 1)
        lanes = activation.shape[0]
        if self._where is None or self._where.shape[1] != lanes or self._where.device != activation.device:
            self._where = self._indices(lanes).to(activation.device)
        lane, unit, *position = self._where
        # The unit is picked first: the rest of a layer is never copied.
        if self.positions[0] is not None:
            if activation.dim() == 3:
                return activation[lane, unit, place_in_row(info, *position)].float()
            return activation[lane, unit, position[0], position[1]].float()
        picked = activation[lane, unit].float().flatten(1) if activation.dim() > 2 else activation[lane, unit]
        return picked[:, info.prefix :].mean(1) if activation.dim() > 2 else picked.float()

    def place(self) -> tuple[str, tuple[int, int]] | None:  # noqa: D102
        first = self.positions[0]
        return (self.layer, first) if first is not None and set(self.positions) == {first} else None

    def moved(self, position: tuple[int, int]) -> Objective:  # noqa: D102
        return copy_with(self, positions=(position,) * len(self.positions), _where=None)

    def gather(self, lanes: int) -> tuple[Objective, dict[str, tuple[int, ...]]]:  # noqa: D102
        units = self.units * (lanes // len(self.units))
        positions = self.positions * (lanes // len(self.units))
        read = copy_with(self, units=tuple(range(lanes)), positions=positions, _where=None)
        return read, {self.layer: units}

    def _indices(self, lanes: int) -> Tensor:
        """Lane, unit, row and column of each lane's score, ``(4, lanes)``."""
        times = lanes // len(self.units)
        positions = [position or (0, 0) for position in self.positions] * times
        rows, columns = zip(*positions, strict=True)
        return torch.tensor([range(lanes), self.units * times, rows, columns])

    def describe(self) -> str:  # noqa: D102
        return ",".join(str(target) for target in self.targets)

    @property
    def targets(self) -> list[Target]:
        """The addresses, one for each lane."""
        return [Target(self.layer, *pair) for pair in zip(self.units, self.positions, strict=True)]

    @property
    def label(self) -> str:
        """The name of its class, if the layer's units have names."""
        labels = self._info.labels if self._info is not None else ()
        return labels[self.units[0]] if labels else ""

    def stacks_with(self) -> tuple[object, ...]:  # noqa: D102
        return (Unit, self.layer, self.positions[0] is None)

    @classmethod
    def stack(cls, objectives: Sequence[Any]) -> Objective:  # noqa: D102
        first: Unit = objectives[0]
        units = [unit for objective in objectives for unit in objective.units]
        positions = [position for objective in objectives for position in objective.positions]
        return copy_with(first, units=tuple(units), positions=tuple(positions), _where=None)


def _whole(layer: str, unit: Any) -> int:
    try:
        return operator.index(unit) if not isinstance(unit, bool) else operator.index("")  # type: ignore[arg-type]
    except TypeError:
        several = isinstance(unit, list | tuple | range | slice)
        hint = "; several are several targets, for instance 'conv:4,5'" if several else ""
        raise TargetError(f"a unit of {layer} is a whole number from 0 up, got {unit!r}{hint}") from None


def _place(position: Any) -> tuple[int, int]:
    try:
        row, column = (operator.index(number) for number in position)
    except (TypeError, ValueError):
        raise TargetError(f"a position is (row, column), two whole numbers, got {position!r}") from None
    return row, column


def as_objective(given: object, what: str) -> Objective:
    """Return an objective that was given as it is, or by the address of one unit.

    Args:
        given: an objective, an address (``conv:5``, ``conv:5@2,3``, ``classifier:tabby``), or a parsed one.
        what: whose it is, for errors.

    Raises:
        TargetError: anything else, or an address of several units.

    >>> as_objective("conv:5", "a band"), as_objective("fc:tabby", "a band")
    (conv:5, logit(tabby))
    """
    if isinstance(given, Objective):
        return given
    if isinstance(given, Target):
        return of_target(given)
    if isinstance(given, str) and parse_vectors(given) is None:
        request = parse_request(given)
        if len(request.layers) == 1 and is_whole_number(request.units):
            return of_target(Target(request.layers[0], int(request.units), request.position))
        if len(request.layers) == 1 and not request.is_numeric and request.position is None:
            return Logit(request.units, request.layers[0])
        raise TargetError(f"{what} is of one unit, for instance 'conv:5'; {given!r} names others")
    raise TargetError(
        f"{what} takes an objective, for instance fv.channel('conv', 5), or an address, got "
        + (repr(given) if isinstance(given, str) else type(given).__name__)
    )


def units_of(objective: Objective) -> tuple[int, ...]:
    """Return the units that an objective climbs, one for each lane; none where it is not one of a layer's."""
    return objective.units if isinstance(objective, Unit) else ()


def of_target(target: Target) -> Unit:
    """Return the objective that a target names."""
    return Unit(target.layer, [target.unit], [target.position])


def channel(layer: str, unit: int) -> Unit:
    """Climb a channel: its mean over the map (over the tokens of a transformer).

    Args:
        layer: the layer's name.
        unit: from 0 up.

    Raises:
        TargetError: once bound, no such layer or unit.

    >>> import featvis as fv
    >>> fv.channel("blocks.4", 5)
    blocks.4:5
    """
    return Unit(layer, [unit], [None])


def neuron(layer: str, unit: int, position: tuple[int, int] | None = None) -> Unit:
    """Climb one neuron of a map.

    Args:
        layer: a map.
        unit: from 0 up.
        position: (row, column), by default the middle (⌊H/2⌋, ⌊W/2⌋); of a signal (0, step in time).

    Raises:
        TargetError: once bound, no such layer, unit or position.

    >>> import featvis as fv
    >>> fv.neuron("blocks.4", 5, (2, 3))
    blocks.4:5@2,3
    """
    return Unit(layer, [unit], [position if position is not None else MIDDLE])


class Logit(Objective):
    """A class by its number or its name; becomes a :class:`Unit` when it is bound."""

    def __init__(self, wanted: int | str, layer: str | None = None) -> None:
        self.wanted = wanted if isinstance(wanted, str) else _whole("the classes", wanted)
        self.layers = (layer,) if layer else ()

    def bind(self, network: NetworkAt) -> Objective:  # noqa: D102
        name = self.layers[0] if self.layers else network.logits_layer
        info = network.layer(name)
        if len(info.shape) != 2 and name != network.output_layer:
            raise TargetError(f"logit: {name!r} gives a map, not (B, classes); name a classifier layer")
        target = expand(network.request(f"{name}:{self.wanted}"), info.units, info.labels)[0]
        return of_target(target).bind(network)

    def score(self, activations: Activations, images: Tensor) -> Tensor:  # noqa: D102
        raise TargetError(f"{self.describe()} is not bound to a network yet; call .bind(model)")

    def describe(self) -> str:  # noqa: D102
        return f"logit({self.wanted})"


def logit(unit: int | str, layer: str | None = None) -> Logit:
    """Climb a class logit, before any softmax.

    Args:
        unit: the class, by number or name.
        layer: the ``(B, classes)`` layer; by default the one that gives what the network returns. Where no
            module gives that (heads side by side, cosines, -x), it is the layer ``output``.

    Raises:
        TargetError: once bound, no such class, or no classifier layer.

    >>> import featvis as fv
    >>> fv.logit("Pembroke")
    logit(Pembroke)
    """
    return Logit(unit, layer)


MIDDLE = (-1, -1)
"""Stands for the middle of a map until the map's size is known."""


def check_position(layer: LayerInfo, position: tuple[int, int] | None) -> tuple[int, int] | None:
    """Return a position inside the layer's map, or raise a TargetError that says the valid range."""
    if position is None:
        return None
    if layer.kind not in ("map", "map_last") and layer.grid is None:
        raise TargetError(
            f"{layer.name} has no map, so no position can be given, only units, for instance "
            f"'{layer.name}:0'; its shape is {layer.shape}"
        )
    height, width = layer.grid or [n for axis, n in enumerate(layer.shape) if axis not in (0, layer.axis)]
    if tuple(position) == MIDDLE:
        return (height // 2, width // 2)
    row, column = position
    if not (0 <= row < height and 0 <= column < width):
        raise TargetError(
            f"position @{row},{column} is outside the map of {layer.name}, {height} rows by {width} columns "
            f"at this canvas (0,0 to {height - 1},{width - 1})"
        )
    return (row, column)


def place_in_row(layer: LayerInfo, row: Any, column: Any) -> Any:
    """Return where positions, numbers or tensors, lie on the one axis of tokens or of steps in time."""
    assert layer.grid is not None
    return layer.prefix + row * layer.grid[1] + column
