"""What an objective is given to read: activations, and for some what the network was shown."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from torch import Tensor

from featvis.errors import UserError

Activations = Mapping[str, Tensor]
"""What the wanted layers gave, by name, each with the lanes as its first axis."""


class Reader(Protocol):
    """What is to be known of an objective that reads."""

    layers: tuple[str, ...]
    reads_shown: bool

    def describe(self) -> str:
        """Return a text that tells it from every other."""


class Shown(dict[str, Tensor]):
    """Activations, with what the network was shown and a way to show it other images just so."""

    def __init__(
        self,
        activations: Activations,
        images: Tensor,
        move: Callable[[Tensor], Tensor],
        tap: Callable[[Tensor], Activations],
    ) -> None:
        super().__init__(activations)
        self.images = images
        """``(B, C, H, W)``: the images after this step's transforms."""
        self.move = move
        """From other images ``(B, C, H, W)`` to what the network would be shown: this step's transforms."""
        self._tap = tap

    def look(self, images: Tensor) -> Shown:
        """Return what the layers give for other images ``(B, C, H, W)`` under this step's very transforms.

        A pass of the network for each call, and not with several crops; where activations will do,
        :attr:`Objective.references` costs less.
        """
        shown = self.move(images)
        return Shown(self._tap(shown), shown, self.move, self._tap)


def read(
    objective: Reader,
    tap: Callable[[Tensor], Activations],
    images: Tensor,
    transformed: Callable[[Tensor], Tensor],
) -> dict[str, Tensor]:
    """Return what an objective is to read of a step, no more than it needs.

    ``transformed`` leads from images to what the network is shown, by the same draws whenever it is called;
    ``tap`` from there to the activations of the objective's layers.
    """

    def activations_of(shown: Tensor) -> Activations:
        return tap(shown) if objective.layers else {}

    shown = transformed(images)
    activations = activations_of(shown)
    if objective.reads_shown:
        return Shown(activations, shown, transformed, activations_of)
    return dict(activations)


def under_reference(digest: str, layer: str) -> str:
    """Return the name under which a photograph's activations of a layer stand among the images' own."""
    return f"{layer} of {digest}"


def require_shown(activations: Activations, objective: Reader) -> Shown:
    """Return activations that tell what the network was shown, or say how to get them."""
    if isinstance(activations, Shown):
        return activations
    raise UserError(f"{objective.describe()} looks at what the network is shown: render it, or use fv.ascend")
