"""A step that is recorded once and replayed by a GPU, checked the first time against a computed one."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from featvis.devices import is_out_of_memory
from featvis.engine.record import Recorded, Recorder
from featvis.errors import FeatvisWarning

WARM_UP = 3
"""Steps that are computed before one is recorded: libraries choose and allocate what they need."""

REPLAYED = ("adam", "nadam")
"""Optimizers whose step can be recorded; the others ask the device how to go on."""

NEAR = {"float32": 1e-3, "bfloat16": 3e-2}
"""How much of the largest score a replayed step's scores may differ from a computed one's."""
SAME_WAY = 0.1
"""How much of a step's length the replayed one may end elsewhere: where a gradient is rounding noise, Adam
goes as far, but anywhere. A step that reads what is not there any more goes another way altogether."""

Take = Callable[[int | Tensor], Tensor]
"""Takes one step and returns its scores ``(lanes,)``, detached; the number is on the device if replayed."""

_refused: dict[Hashable, str] = {}
_checked: set[Hashable] = set()
_said: set[str] = set()


class Replaying:
    """Takes the first steps one by one, records one, and lets the device replay it for the rest.

    A step's many small operations then cost no time on the host. The number of the step is counted on
    the device, so every replay reads its own draws. The last step before the recording is watched: what
    waits for the device or copies to it cannot be recorded, is told once, and the run goes on step by step.
    So it does where the first replayed step is not the computed one.
    """

    def __init__(
        self,
        take: Take,
        plain_until: int,
        recorder: Recorder,
        device: torch.device,
        *,
        parameters: Sequence[Tensor],
        state: Callable[[], Iterable[Tensor]],
        kind: Hashable = None,
        precision: str = "float32",
    ) -> None:
        """Take steps by ``take``.

        Args:
            take: one step.
            plain_until: the first step that may be replayed; those before it warm up.
            recorder: of the device.
            device: where the tensors are.
            parameters: what a step moves.
            state: everything that a step changes, the parameters and the optimizer's memory among it.
            kind: jobs of one kind are recorded alike: what was found of one holds for the others.
            precision: ``float32`` or ``bfloat16``.
        """
        self._take, self._plain_until = take, plain_until
        self._recorder, self._device = recorder, device
        self._parameters, self._state = parameters, state
        self._kind, self._near = kind, NEAR[precision]
        self._number = torch.zeros(1, dtype=torch.long, device=device)
        self._graph: Recorded | None = None
        self._held: list[Tensor] = []
        self._scores: Tensor | None = None
        self._plain = kind is not None and kind in _refused
        self.replayed = 0
        """How many steps were replayed so far."""

    def __call__(self, step: int | Tensor) -> Tensor:
        """Take a step and return its scores ``(lanes,)``."""
        step = int(step)
        with self._recorder.aside():
            if self._plain or step < self._plain_until - 1:
                self._number.fill_(step + 1)
                return self._take(step)
            if step == self._plain_until - 1:
                return self._watch(step)
            if self._graph is None:
                self._number.fill_(step)
                return self._begin(step)
            return self._replay(self._graph)

    def _watch(self, step: int) -> Tensor:
        """Take the last step before the recording as it will be recorded, and look at what it does."""
        self._number.fill_(step)
        with self._recorder.watch() as seen:
            scores = self._take(self._number)
            self._number.add_(1)
        if seen.found:
            self._give_up(_because(seen.found[0]))
        return scores

    def _begin(self, step: int) -> Tensor:
        try:
            graph = self._recorder.record(self._take_on_device)
        except RuntimeError as error:
            self._forget()
            if is_out_of_memory(error):
                raise
            self._give_up(_because(" ".join(str(error).split())[:160]))
            return self._take(step)
        self._graph = graph
        if self._kind is not None and self._kind in _checked:
            return self._replay(graph)
        return self._check(graph)

    def _replay(self, graph: Recorded) -> Tensor:
        graph.replay()
        self.replayed += 1
        assert self._scores is not None
        return self._scores.clone()

    def _take_on_device(self) -> None:
        with self._recorder.watch() as seen:
            self._scores = self._take(self._number)
            self._number.add_(1)
        # A recording reads by address: caches may drop what it reads, this run may not.
        self._held = list(seen.read.values())

    def _check(self, graph: Recorded) -> Tensor:
        """Compute the step, put all back, replay it; where both end alike the replayed one stays."""
        tensors = [self._number, *self._state()]
        before = [value.detach().clone() for value in tensors]
        start = [value.detach().clone() for value in self._parameters]
        computed = self._take(self._number)
        self._number.add_(1)
        after = [value.detach().clone() for value in tensors]
        moved = [value.detach() - old for value, old in zip(self._parameters, start, strict=True)]
        with torch.no_grad():
            _put(tensors, before)
        scores = self._replay(graph)
        apart = [value.detach() - old for value, old in zip(self._parameters, start, strict=True)]
        wrong = self._wrong(computed, scores, moved, apart)
        if wrong is None:
            # Of a step that is not finite nothing was compared.
            if self._kind is not None and bool(torch.isfinite(computed).all()):
                _checked.add(self._kind)
            return scores
        with torch.no_grad():
            _put(tensors, after)
        self.replayed -= 1
        self._forget()
        self._give_up(f"replayed steps differ from computed ones on {self._device} ({wrong})")
        return computed

    def _wrong(
        self, computed: Tensor, scores: Tensor, moved: Sequence[Tensor], replayed: Sequence[Tensor]
    ) -> str | None:
        """How a replayed step differs from the computed one; None where it does not."""
        way, other = _length(moved), _length(replayed)
        if not bool(torch.isfinite(computed).all()) or way != way:
            return None  # the step itself is not finite, replayed or not: the picture will say so
        if not bool(torch.isfinite(scores).all()) or other != other:
            return "it is not finite"
        if way > 0 and other == 0:
            return "it does not move"
        difference = float((scores - computed).abs().max())
        if difference > self._near * max(float(computed.abs().max()), 1e-6):
            return f"largest difference of a score {difference:.3g}"
        apart = _length([a - b for a, b in zip(moved, replayed, strict=True)])
        if apart > SAME_WAY * way:
            return f"it ends {apart / max(way, 1e-30):.2g} of its length away"
        return None

    def _forget(self) -> None:
        """Leave nothing of a recording: gradients that were never computed would be added to the next."""
        if self._graph is not None:
            self._graph.reset()
        self._graph, self._scores, self._held = None, None, []
        for value in self._parameters:
            value.grad = None

    def _give_up(self, reason: str) -> None:
        self._plain = True
        if self._kind is not None:
            _refused[self._kind] = reason
        if reason not in _said:
            _said.add(reason)
            warnings.warn(f"{reason}; each is computed anew", FeatvisWarning, stacklevel=5)


def _because(reason: str) -> str:
    return f"steps of this run cannot be replayed by the GPU ({reason})"


def forget_refusals() -> None:
    """Forget what was refused, checked and said so far in this process."""
    _refused.clear()
    _checked.clear()
    _said.clear()


def _put(tensors: Sequence[Tensor], values: Sequence[Tensor]) -> None:
    for tensor, value in zip(tensors, values, strict=True):
        tensor.copy_(value)


def _length(values: Sequence[Tensor]) -> float:
    squares: Any = sum(value.double().square().sum() for value in values)
    return float(squares.sqrt())
