"""Pictures that stop early: each lane counts its own steps, and a freed lane takes the next picture."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor

from featvis.engine.ascend import Step, gather_units
from featvis.engine.look import Look, copies_of
from featvis.engine.move import LaneMover, drawn_at
from featvis.engine.transparency import Gathered
from featvis.errors import Interrupted
from featvis.images.base import ImageSpace, Parameters
from featvis.models.borrow.wake import RedirectedReLU
from featvis.models.handle import ModelHandle
from featvis.objectives.base import stack
from featvis.objectives.reference import References
from featvis.plan.wanted import Job, Wanted
from featvis.results.picture import Picture, to_levels
from featvis.run.job import Watch, climbed_objective, picture_of, settings_of, space_of
from featvis.run.score import score, threads, trace_steps
from featvis.transforms.chain import Chain, with_background

CHECK = 8
"""A picture is looked at once in so many of its own steps: only then is the device waited for."""


def flow(
    wanted: Sequence[Wanted], model: ModelHandle, weights: str, watch: Watch | None = None
) -> Iterator[tuple[Wanted, Picture]]:
    """Render pictures of one recipe with ``patience`` and yield each as soon as it is finished.

    A picture stops by its own scores alone, so it does not depend on its mates here either.

    Args:
        wanted: of one kind, any number of them.
        model: the network; given back as it was, on every way out.
        weights: its fingerprint.
        watch: called with every step of all lanes; its number counts these. Where it returns True, the
            pictures under way are finished as they stand.

    Raises:
        Interrupted: at Ctrl-C, with the pictures under way as they stand.
    """
    recipe = wanted[0].recipe
    with threads(recipe.threads):
        lanes = _Lanes(wanted, model, weights)
        number = 0
        try:
            while lanes.busy:
                for scores in lanes.climb():
                    told = Step(number, scores, lanes.space, lanes.move.stand)
                    number += 1
                    if watch is not None and watch(told) is True:
                        lanes.stop()
                yield from lanes.take_finished()
        except KeyboardInterrupt:
            lanes.stop()
            raise Interrupted([picture for _, picture in lanes.take_finished()]) from None


def has_settled(scores: Sequence[float], patience: int, tolerance: float) -> bool:
    """Whether the mean of the last ``patience`` scores is hardly above that of the ``patience`` before.

    Hardly: by no more than ``tolerance`` times the rise since the first ones.

    >>> rising = [float(n) for n in range(20)]
    >>> has_settled(rising, 5, 0.01), has_settled(rising + [19.0] * 10, 5, 0.01)
    (False, True)
    """
    if len(scores) < 3 * patience:
        return False
    first, before, recent = (
        sum(part) / patience
        for part in (scores[:patience], scores[-2 * patience : -patience], scores[-patience:])
    )
    return recent - before <= tolerance * max(recent - first, 0.0)


class _Lanes:
    """The lanes of a run: what each is at, and what waits."""

    def __init__(self, wanted: Sequence[Wanted], model: ModelHandle, weights: str) -> None:
        self.recipe = wanted[0].recipe
        self._model, self._weights = model, weights
        self.space: ImageSpace = space_of(self.recipe, model)
        width = self.recipe.lanes
        first = list(wanted[:width])
        self._waiting = deque(wanted[width:])
        # A short batch is padded, for another width would change the last bits.
        self._at: list[Wanted] = [first[min(lane, len(first) - 1)] for lane in range(width)]
        self._runs = [lane < len(first) for lane in range(width)]
        self._finished: list[int] = []
        self._began = [time.perf_counter()] * width
        settings = settings_of(Job(tuple(self._at)), self.space)
        device = model.device
        self.parameters: Parameters = {
            name: value.to(device).requires_grad_() for name, value in settings["start"].items()
        }
        self._started = self._levels()
        passes = zip(*(copies_of(one.stream, self.recipe.copies) for one in self._at), strict=True)
        self._chains = [
            Chain(
                with_background(settings["transforms"], self.space.backdrop),
                list(each),
                steps=self.recipe.steps,
                channels=self.space.channels,
                canvas=self.recipe.size,
                seen=self.recipe.shown_size,
                device=device,
            )
            for each in passes
        ]
        self._number = [0] * width
        self._redirect = [settings["redirect_steps"]] * width
        self._scores = torch.zeros((width, self.recipe.steps), device=device)
        self.move = LaneMover(self.parameters, self.recipe)
        self._gathered = Gathered() if any(one.transparency for one in wanted) else None
        if self._gathered is not None:
            self._gathered.begin(width, self.recipe.size, device)
        self._stopped: set[int] = set()
        self._shots: list[dict[int, Any]] = [{} for _ in range(width)]

    @property
    def busy(self) -> bool:
        """Whether any lane still climbs."""
        return any(self._runs)

    def climb(self) -> Iterator[Tensor]:
        """Take steps until a picture is finished; yield the scores of each."""
        recipe, model = self.recipe, self._model
        seen = recipe.shown_size
        bound = climbed_objective(Job(tuple(self._at))).bind(model.at(seen))
        bound, only = gather_units(bound, model, recipe.lanes, seen)
        device = model.device
        moved = bool(self._chains[0].transforms)
        with (
            bound.opened(device, recipe.precision) as ready,
            model.tap(bound.layers, size=seen, precision=recipe.precision, only=only) as activations,
        ):
            photographs = References(ready, recipe.size, recipe.lanes, device, moved=moved)
            look = Look(
                self.space,
                self._chains,
                activations,
                ready,
                pool_gradients=recipe.pool_gradients,
                photographs=photographs,
                gathered=self._gathered,
            )
            while not self._finished:
                numbers = torch.tensor(self._number, device=device)
                woken = [number < most for number, most in zip(self._number, self._redirect, strict=True)]
                lanes = torch.tensor(woken * self._chains[0].copies, device=device)
                with RedirectedReLU(lanes) if any(woken) else nullcontext():
                    told = look(self.parameters, drawn_at(numbers, recipe))
                self._scores.scatter_(1, numbers[:, None], told[:, None].to(self._scores.dtype))
                self._number = [number + 1 for number in self._number]
                self.move(told, self._number)
                yield told
                self._look()

    def take_finished(self) -> Iterator[tuple[Wanted, Picture]]:
        """Yield the pictures that are finished; their lanes take what waits."""
        if not self._finished:
            return
        levels = self._levels(self.move.stand())
        for lane in self._finished:
            yield self._at[lane], self._picture(lane, levels)
        for lane in self._finished:
            self._runs[lane] = False
            if self._waiting:
                self._refill(lane, self._waiting.popleft())
            else:
                # It goes on as padding; it must only stay within its draws.
                self._number[lane] = 0
        self._finished = []

    def stop(self) -> None:
        """Have every picture under way finished as it stands."""
        for lane, number in enumerate(self._number):
            if self._runs[lane] and number and lane not in self._finished:
                self._finished.append(lane)
                if number < self.recipe.steps:
                    self._stopped.add(lane)

    def _look(self) -> None:
        """Find the lanes that are finished: at their last step, or settled."""
        recipe = self.recipe
        for lane, number in enumerate(self._number):
            if self._runs[lane] and number in self._at[lane].snapshots:
                self._shots[lane][number] = self._levels(self.move.stand())[lane]
            if not self._runs[lane]:
                self._number[lane] = number % recipe.steps
            elif lane in self._finished:
                continue
            elif number == recipe.steps:
                self._finished.append(lane)
            elif number % CHECK == 0 and number > self._redirect[lane]:
                scores = self._scores[lane, :number].tolist()
                if has_settled(scores, recipe.patience, recipe.tolerance):
                    self._finished.append(lane)

    def _refill(self, lane: int, one: Wanted) -> None:
        self._at[lane], self._runs[lane], self._number[lane] = one, True, 0
        self._began[lane], self._shots[lane] = time.perf_counter(), {}
        self._stopped.discard(lane)
        settings = settings_of(Job((one,)), self.space)
        self._redirect[lane] = settings["redirect_steps"]
        with torch.no_grad():
            for name, value in self.parameters.items():
                value[lane] = settings["start"][name][0].to(value.device)
        self._started[lane] = self._levels()[lane]
        for chain, stream in zip(self._chains, copies_of(one.stream, self.recipe.copies), strict=True):
            chain.redraw(lane, stream)
        if self._gathered is not None:
            self._gathered.forget(lane)
        self.move.forget(lane)

    def _levels(self, parameters: Parameters | None = None) -> Any:
        with torch.no_grad():
            return to_levels(self.space.decode(parameters or self.parameters))

    def _picture(self, lane: int, levels: Any) -> Picture:
        one, recipe = self._at[lane], self.recipe
        objective = stack([one.objective] * recipe.lanes)
        # As many lanes as ever, all of them this picture.
        start_scores, _ = score(self._model, objective, self._started[[lane] * recipe.lanes], recipe)
        scores, slopes = score(self._model, objective, levels[[lane] * recipe.lanes], recipe)
        taken = self._number[lane]
        trace = self._scores[lane, trace_steps(taken)].tolist()
        return picture_of(
            one,
            levels[lane],
            (start_scores[0], scores[0]),
            slopes[0],
            trace,
            seconds=(time.perf_counter() - self._began[lane]) / recipe.lanes,
            model=self._model,
            weights=self._weights,
            taken=taken,
            stopped=lane in self._stopped,
            snapshots=self._shots[lane],
            transparency=self._gathered.levels[lane] if self._gathered is not None else None,
        )
