"""A step that is recorded once and replayed by a GPU."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from featvis.errors import FeatvisWarning

WARM_UP = 3
"""Steps that are computed before one is recorded: libraries choose and allocate what they need."""

REPLAYED = ("adam", "nadam")
"""Optimizers whose step can be recorded; the others ask the device how to go on."""

Take = Callable[[int | Tensor], Tensor]
"""Takes one step and returns its scores ``(lanes,)``, detached; the number is on the device if replayed."""


class Replaying:
    """Takes the first steps one by one, records one, and lets the device replay it for the rest.

    A step's many small operations then cost no time on the host. The number of the step is counted on
    the device, so every replay reads its own draws. A step that cannot be recorded (because an
    objective waits for the device, say) gives one warning, and the run goes on step by step.
    """

    def __init__(self, take: Take, plain_until: int, device: torch.device) -> None:
        """Take steps by ``take``, and record none before step ``plain_until``."""
        self._take, self._plain_until = take, plain_until
        self._number = torch.zeros(1, dtype=torch.long, device=device)
        self._graph: Any = None
        self._scores: Tensor | None = None
        self._refused = False

    def __call__(self, step: int | Tensor) -> Tensor:
        """Take a step and return its scores ``(lanes,)``."""
        step = int(step)
        if step < self._plain_until or self._refused:
            self._number.fill_(step + 1)
            with self._aside():
                return self._take(step)
        if self._graph is None:
            try:
                self._graph = self._record()
            except RuntimeError as error:
                self._refused = True
                reason = " ".join(str(error).split())[:160]
                warnings.warn(
                    f"a step of this run cannot be replayed by the GPU; each is computed anew ({reason})",
                    FeatvisWarning,
                    stacklevel=2,
                )
                return self._take(step)
        self._graph.replay()
        assert self._scores is not None
        return self._scores.clone()

    def _take_on_device(self) -> None:
        self._scores = self._take(self._number)
        self._number.add_(1)

    def _record(self) -> Any:
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._take_on_device()
        return graph

    @contextmanager
    def _aside(self) -> Iterator[None]:
        # What is recorded later must have run on another stream than the default one first.
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        try:
            with torch.cuda.stream(stream):
                yield
        finally:
            torch.cuda.current_stream().wait_stream(stream)
