"""Pictures that stop early: each lane counts its own steps, and a freed lane takes the next picture."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from featvis.engine.lanes import Lanes, Step
from featvis.engine.transparency import PixelGradients
from featvis.errors import Interrupted
from featvis.images.base import Parameters
from featvis.models.handle import ModelHandle
from featvis.objectives.base import stack
from featvis.plan.wanted import Job, Wanted
from featvis.results.picture import Picture, to_levels
from featvis.run.job import (
    Watch,
    climbed_objective,
    climbed_recipe,
    picture_of,
    space_of,
    start_of,
    transforms_of,
    wake_steps_of,
)
from featvis.run.score import score, threads, trace_steps
from featvis.spec.stages import Stage

CHECK = 8
"""A picture is checked once in this many of its own steps; only then does the host wait for the device."""


def run_lanes(
    wanted: Sequence[Wanted], model: ModelHandle, weights: str, watch: Watch | None = None
) -> Iterator[tuple[Wanted, Picture]]:
    """Render pictures of one recipe with ``patience``; yield each as soon as it is finished.

    A picture stops by its own scores alone, so it does not depend on its mates here either. ``watch`` hears
    of the steps of all lanes, counted together.

    Raises:
        Interrupted: at Ctrl-C, with the pictures under way as they stand.
    """
    recipe = wanted[0].recipe
    with threads(recipe.threads):
        pictures = _Pictures(wanted, model, weights)
        try:
            while pictures.under_way:
                with closing(pictures.climb()) as steps:
                    for step in steps:
                        if watch is not None and watch(step) is True:
                            pictures.stop()
                        if pictures.look():
                            break
                yield from pictures.take_finished()
        except KeyboardInterrupt:
            pictures.stop()
            raise Interrupted([picture for _, picture in pictures.take_finished()]) from None


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


class _Pictures:
    """The pictures of a run: which lane each is in, what waits, what is finished."""

    def __init__(self, wanted: Sequence[Wanted], model: ModelHandle, weights: str) -> None:
        self.recipe = recipe = wanted[0].recipe
        self._model, self._weights = model, weights
        first = list(wanted[: recipe.lanes])
        self._waiting = deque(wanted[recipe.lanes :])
        # A short batch is padded, for another width would change the last bits.
        self._at: list[Wanted] = [first[min(lane, len(first) - 1)] for lane in range(recipe.lanes)]
        self._runs = [lane < len(first) for lane in range(recipe.lanes)]
        self._finished: list[int] = []
        self._began = [time.perf_counter()] * recipe.lanes
        self._space = space_of(recipe, model)
        start = start_of(self._at, self._space)
        self._pixels = PixelGradients() if any(item.transparency for item in wanted) else None
        self._lanes = Lanes(
            self._space,
            climbed_recipe(Job(tuple(self._at))),
            [item.stream for item in self._at],
            transforms_of(recipe),
            {name: value.to(model.device) for name, value in start.items()},
            Stage(recipe.size, 0, recipe.steps),
            self._pixels,
        )
        self._started = self._levels(self._lanes.parameters)
        self._scores = torch.zeros((recipe.lanes, recipe.steps), device=model.device)
        self._stopped: set[int] = set()
        self._shots: list[dict[int, Any]] = [{} for _ in range(recipe.lanes)]

    @property
    def under_way(self) -> bool:
        """Whether any picture still climbs."""
        return any(self._runs)

    def climb(self) -> Generator[Step, None, None]:
        """Take steps with the pictures that the lanes hold now."""
        numbers = self._lanes.taken
        for step in self._lanes.climb(self._model, climbed_objective(Job(tuple(self._at)))):
            places = torch.tensor(numbers, device=step.scores.device)[:, None] - 1
            self._scores.scatter_(1, places, step.scores[:, None].to(self._scores.dtype))
            yield step

    def look(self) -> bool:
        """Find the lanes that are finished, at their last step or settled; whether there are any."""
        recipe, taken = self.recipe, self._lanes.taken
        for lane, number in enumerate(taken):
            if self._runs[lane] and number in self._at[lane].snapshots:
                self._shots[lane][number] = self._levels(self._lanes.move.current())[lane]
            if not self._runs[lane]:
                taken[lane] = number % recipe.steps  # padding: it must only stay within its draws
            elif lane in self._finished:
                continue
            elif number == recipe.steps:
                self._finished.append(lane)
            elif number % CHECK == 0 and number > self._lanes.wake_steps[lane]:
                scores = self._scores[lane, :number].tolist()
                if has_settled(scores, recipe.patience, recipe.tolerance):
                    self._finished.append(lane)
        return bool(self._finished)

    def take_finished(self) -> Iterator[tuple[Wanted, Picture]]:
        """Yield the pictures that are finished; their lanes take what waits."""
        if not self._finished:
            return
        levels = self._levels(self._lanes.move.current())
        for lane in self._finished:
            yield self._at[lane], self._picture(lane, levels)
        for lane in self._finished:
            self._runs[lane] = False
            if self._waiting:
                self._refill(lane, self._waiting.popleft())
            else:
                self._lanes.taken[lane] = 0
        self._finished = []

    def stop(self) -> None:
        """Have every picture under way finished as it stands."""
        for lane, number in enumerate(self._lanes.taken):
            if self._runs[lane] and number and lane not in self._finished:
                self._finished.append(lane)
                if number < self.recipe.steps:
                    self._stopped.add(lane)

    def _refill(self, lane: int, wanted: Wanted) -> None:
        self._at[lane], self._runs[lane] = wanted, True
        self._began[lane], self._shots[lane] = time.perf_counter(), {}
        self._stopped.discard(lane)
        start = {name: value[0] for name, value in start_of([wanted], self._space).items()}
        self._lanes.refill(lane, start, wanted.stream, wake_steps_of(wanted))
        self._started[lane] = self._levels(self._lanes.parameters)[lane]

    def _levels(self, parameters: Parameters) -> NDArray[np.uint8]:
        with torch.no_grad():
            return to_levels(self._space.decode(parameters))

    def _picture(self, lane: int, levels: NDArray[np.uint8]) -> Picture:
        wanted, recipe = self._at[lane], self.recipe
        objective = stack([wanted.objective] * recipe.lanes)
        # As many lanes as ever, all of them this picture.
        start_scores, _ = score(self._model, objective, self._started[[lane] * recipe.lanes], recipe)
        scores, gradients = score(self._model, objective, levels[[lane] * recipe.lanes], recipe)
        taken = self._lanes.taken[lane]
        return picture_of(
            wanted,
            levels[lane],
            (start_scores[0], scores[0]),
            gradients[0],
            self._scores[lane, trace_steps(taken)].tolist(),
            seconds=(time.perf_counter() - self._began[lane]) / recipe.lanes,
            model=self._model,
            weights=self._weights,
            taken=taken,
            stopped=lane in self._stopped,
            snapshots=self._shots[lane],
            transparency=self._pixels.levels[lane] if self._pixels is not None else None,
        )
