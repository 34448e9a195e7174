"""Several networks at once: each looks at the same images with a size and a normalization of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from featvis.errors import ModelError, UserError
from featvis.models.handle import ModelHandle
from featvis.models.layers.network import NetworkAt
from featvis.objectives.base import Composite, Objective, Sum, copy_with
from featvis.objectives.reference import References
from featvis.objectives.resize import Resize
from featvis.objectives.shown import Activations, read, require_shown
from featvis.objectives.unit import as_objective


class Elsewhere(Composite):
    """An objective of another network, which is shown what the first one is, but at its own input size."""

    reads_shown = True

    def __init__(self, model: ModelHandle, objective: Objective) -> None:
        self.model = model
        self._tap: Callable[[Tensor], Activations] | None = None
        self._resize: Resize | None = None
        self._laid_out: dict[tuple[tuple[int, int], int], References] = {}
        super().__init__([objective])

    def _follow(self) -> None:
        super()._follow()
        # They are read here, by the other network: the first one must look neither for its layers nor at
        # its photographs.
        self.layers, self.references = (), {}

    def bind(self, network: NetworkAt) -> Objective:  # noqa: D102
        if network.module is self.model.module:
            return self.inner[0].bind(network)  # it is run anyway, and a network is borrowed once
        if any(module is self.model.module for module in network.module.modules()):
            raise ModelError(f"ensemble: {self.model.name} is a part of {network.name}; load it on its own")
        return super().bind(self.model.at(self.model.input_size))

    # What is asked about layers, places and units is meant of the first network: this one has none there.
    beside, place, moved, gather = Objective.beside, Objective.place, Objective.moved, Objective.gather

    def replicated(self, device: torch.device, networks: dict[int, ModelHandle]) -> Objective:  # noqa: D102
        own = id(self.model.module)
        if own not in networks:
            networks[own] = self.model.copy(device=device)
        (inner,) = (objective.replicated(device, networks) for objective in self.inner)
        return copy_with(self.with_inner([inner]), model=networks[own])

    @contextmanager
    def opened(self, device: torch.device, precision: str = "float32") -> Iterator[Objective]:  # noqa: D102
        # Of this thread: another worker's copy of the network is another network.
        held: set[int] = _HELD.__dict__.setdefault("networks", set())
        if id(self.model.module) in held:
            raise UserError(
                f"{self.model.name} stands in two ensembles of one sum; give all of it to one fv.ensemble"
            )
        held.add(id(self.model.module))
        try:
            with (
                self.inner[0].opened(self.model.device, precision) as ready,
                self.model.tap(ready.layers, precision=precision) as tap,
            ):
                resize = Resize(self.model.input_size)
                yield copy_with(self.with_inner([ready]), _tap=tap, _resize=resize, _laid_out={})
        finally:
            held.discard(id(self.model.module))

    def score(self, activations: Activations, images: Tensor) -> Tensor:  # noqa: D102
        shown = require_shown(activations, self)
        if self._tap is None or self._resize is None:
            raise UserError(f"{self.describe()} is not opened yet; render it, or use fv.ascend")
        channels = shown.images.shape[1]
        if channels != self.model.channels:
            raise ModelError(
                f"{self.model.name} takes images of {self.model.channels} channels, not {channels}"
            )

        def transformed(others: Tensor) -> Tensor:
            assert self._resize is not None
            moved = shown.images if others is images else shown.move(others)
            return self._resize(moved).to(self.model.device)

        own = read(self.inner[0], self._tap, images, transformed)
        own |= self._photographs(images).read(self._tap, transformed)
        return self.inner[0](own, images).to(images.device)

    def _photographs(self, images: Tensor) -> References:
        canvas, lanes = (images.shape[2], images.shape[3]), images.shape[0]
        if (canvas, lanes) not in self._laid_out:  # once, and not at every step
            self._laid_out[canvas, lanes] = References(
                self.inner[0], canvas, lanes, images.device, moved=True
            )
        return self._laid_out[canvas, lanes]

    def describe(self) -> str:  # noqa: D102
        return f"{self.model.name}#{self.model.fingerprint()[:12]}({self.inner[0].describe()})"


_HELD = threading.local()
"""The networks that this thread's ensembles hold now: one that is borrowed twice would be folded twice."""


def ensemble(*terms: tuple[ModelHandle, Objective] | tuple[ModelHandle, Objective, float]) -> Objective:
    """Climb objectives of several networks at once, each with its own input size and normalization.

    It can be given to any of them; that one sees the canvas (or the recipe's ``input_size``) as always.

    Args:
        *terms: a network, an objective of it (or the address of one unit), and its weight (1 if it is left
            out).

    Raises:
        UserError: no terms, or a term that is something else.

    >>> import featvis as fv, torch
    >>> a, b = (fv.load_model(torch.nn.Conv2d(3, 4, 3), mean=(0.5,) * 3, std=(0.5,) * 3) for _ in "ab")
    >>> len(fv.ensemble((a, fv.channel("0", 1)), (b, fv.channel("0", 2), 0.5)).terms)
    2
    """
    if not terms:
        raise UserError("an ensemble has terms, each (model, objective) or (model, objective, weight)")
    grouped: dict[int, tuple[ModelHandle, Objective]] = {}
    for term in terms:
        if (
            not isinstance(term, tuple)
            or len(term) not in (2, 3)
            or not isinstance(term[0], ModelHandle)
            or not isinstance(term[1], Objective | str)
        ):
            raise UserError(
                f"an ensemble's term is (model, objective) or (model, objective, weight), got {term!r}"
            )
        model, own = term[0], as_objective(term[1], "an ensemble") * (term[2] if len(term) == 3 else 1.0)
        if id(model.module) in grouped:
            model, before = grouped[id(model.module)]
            own = before + own
        grouped[id(model.module)] = (model, own)
    return Sum([(1.0, Elsewhere(model, own)) for model, own in grouped.values()])
