"""What an objective is given to read: activations, and for some what the network was shown."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from torch import Tensor

from featvis.errors import UserError

Activations = Mapping[str, Tensor]
"""What the wanted layers gave, by name, each with the lanes as its first axis."""


class Reader(Protocol):
    """What is to be known of an objective that reads."""

    layers: tuple[str, ...]
    sees: bool

    def describe(self) -> str:
        """Return a text that tells it from every other."""


class Seen(dict[str, Tensor]):
    """Activations, with what the network was shown and a way to show it other images just so."""

    def __init__(
        self, given: Activations, shown: Tensor, show: Callable[[Tensor], tuple[Activations, Tensor]]
    ) -> None:
        super().__init__(given)
        self.shown = shown
        """``(B, C, H, W)``: the images after this step's transforms."""
        self._show = show

    def look(self, images: Tensor) -> Seen:
        """Return what the layers give for other images ``(B, C, H, W)`` under this step's very transforms.

        A pass of the network for each call, and not with several crops; where activations will do,
        :attr:`Objective.references` costs less.
        """
        given, shown = self._show(images)
        return Seen(given, shown, self._show)

    def lane(self, lane: int, layers: Sequence[str]) -> Seen:
        """Return what one lane saw, with the layers named."""
        lanes = self.shown.shape[0]

        def show(images: Tensor) -> tuple[Activations, Tensor]:
            given, shown = self._show(images.expand(lanes, -1, -1, -1))
            return {name: given[name][lane : lane + 1] for name in layers}, shown[lane : lane + 1]

        own = {name: self[name][lane : lane + 1] for name in layers}
        return Seen(own, self.shown[lane : lane + 1], show)


def read(
    objective: Reader,
    tap: Callable[[Tensor], Activations],
    images: Tensor,
    transformed: Callable[[Tensor], Tensor],
) -> dict[str, Tensor]:
    """Return what an objective is to read of a step, no more than it needs.

    Args:
        objective: what is climbed.
        tap: from what the network is shown to the activations of the objective's layers.
        images: of the image space.
        transformed: from images to what the network is shown; the same draws whenever it is called.
    """

    def show(given: Tensor) -> tuple[Activations, Tensor]:
        shown = transformed(given)
        return (tap(shown) if objective.layers else {}), shown

    found, shown = show(images)
    return Seen(found, shown, show) if objective.sees else dict(found)


def seen(activations: Activations, who: Reader) -> Seen:
    """Return activations that tell what the network was shown, or say how to get them."""
    if isinstance(activations, Seen):
        return activations
    raise UserError(f"{who.describe()} looks at what the network is shown: render it, or use fv.ascend")
