"""Pictures that stop early: each lane counts its own steps, and a freed lane takes the next picture."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from featvis.ascent import Step, find_slopes, gather_units
from featvis.images.base import ImageSpace, Parameters
from featvis.jobs import (
    Job,
    Wanted,
    Watch,
    climbed_objective,
    picture_of,
    score,
    seen_size,
    settings_of,
    space_of,
    threads,
    trace_steps,
)
from featvis.models.handle import ModelHandle
from featvis.objectives.base import read, stack
from featvis.optimizers import make_optimizer, rate
from featvis.pictures import Picture, to_levels
from featvis.redirect import RedirectedReLU
from featvis.transforms.chain import Chain

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
        watch: called with every step of all lanes; its number counts these.
    """
    recipe = wanted[0].recipe
    with threads(recipe.threads):
        lanes = _Lanes(wanted, model, weights)
        number = 0
        while lanes.busy:
            for scores in lanes.climb():
                if watch is not None:
                    watch(Step(number, scores, lanes.space, lanes.parameters))
                number += 1
            yield from lanes.take_finished()


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
        self._chain = Chain(
            settings["transforms"],
            settings["streams"],
            steps=self.recipe.steps,
            channels=self.space.channels,
            canvas=self.recipe.size,
            seen=seen_size(self.recipe),
            device=device,
        )
        self._number = [0] * width
        self._redirect = [settings["redirect_steps"]] * width
        self._scores = torch.zeros((width, self.recipe.steps), device=device)
        self._optimizers = [self._optimizer(lane) for lane in range(width)]

    @property
    def busy(self) -> bool:
        """Whether any lane still climbs."""
        return any(self._runs)

    def climb(self) -> Iterator[Tensor]:
        """Take steps until a picture is finished; yield the scores of each."""
        recipe, model = self.recipe, self._model
        seen = seen_size(recipe)
        bound = climbed_objective(Job(tuple(self._at))).bind(model.at(seen))
        bound, only = gather_units(bound, model, recipe.lanes, seen)
        device = model.device
        with (
            bound.opened(device, recipe.precision) as ready,
            model.tap(bound.layers, size=seen, precision=recipe.precision, only=only) as activations,
        ):
            while not self._finished:
                numbers = torch.tensor(self._number, device=device)
                woken = [number < most for number, most in zip(self._number, self._redirect, strict=True)]
                lanes = torch.tensor(woken, device=device)
                images = self.space.decode(self.parameters)
                shown = partial(self._chain, step=numbers)
                with RedirectedReLU(lanes) if any(woken) else nullcontext():
                    found = read(ready, activations, images, shown)
                scores = ready(found, images)
                find_slopes(scores)
                told = scores.detach()
                self._scores.scatter_(1, numbers[:, None], told[:, None].to(self._scores.dtype))
                self._move()
                yield told
                self._look()

    def take_finished(self) -> Iterator[tuple[Wanted, Picture]]:
        """Yield the pictures that are finished; their lanes take what waits."""
        levels = self._levels()
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

    def _move(self) -> None:
        for lane, optimizer in enumerate(self._optimizers):
            (group,) = optimizer.param_groups
            now = rate(self.recipe.schedule, self._number[lane], self.recipe.steps)
            group["lr"] = self.recipe.learning_rate * now
            for view, name in zip(group["params"], self.parameters, strict=True):
                gradient = self.parameters[name].grad
                assert gradient is not None
                view.grad = gradient[lane]
            optimizer.step()
        for value in self.parameters.values():
            value.grad = None
        self._number = [number + 1 for number in self._number]

    def _look(self) -> None:
        """Find the lanes that are finished: at their last step, or settled."""
        recipe = self.recipe
        for lane, number in enumerate(self._number):
            if not self._runs[lane]:
                self._number[lane] = number % recipe.steps
            elif number == recipe.steps:
                self._finished.append(lane)
            elif number % CHECK == 0 and number > self._redirect[lane]:
                scores = self._scores[lane, :number].tolist()
                if has_settled(scores, recipe.patience, recipe.tolerance):
                    self._finished.append(lane)

    def _refill(self, lane: int, one: Wanted) -> None:
        self._at[lane], self._runs[lane], self._number[lane] = one, True, 0
        self._began[lane] = time.perf_counter()
        settings = settings_of(Job((one,)), self.space)
        self._redirect[lane] = settings["redirect_steps"]
        with torch.no_grad():
            for name, value in self.parameters.items():
                value[lane] = settings["start"][name][0].to(value.device)
        self._started[lane] = self._levels()[lane]
        self._chain.redraw(lane, one.stream)
        self._optimizers[lane] = self._optimizer(lane)

    def _optimizer(self, lane: int) -> torch.optim.Optimizer:
        recipe = self.recipe
        # Of a lane's own part of the parameters, so that its count of steps is its own.
        views = [value.detach()[lane].requires_grad_() for value in self.parameters.values()]
        return make_optimizer(
            recipe.optimizer, views, recipe.learning_rate, recipe.momentum, recipe.second_momentum
        )

    def _levels(self) -> Any:
        with torch.no_grad():
            return to_levels(self.space.decode(self.parameters))

    def _picture(self, lane: int, levels: Any) -> Picture:
        one, recipe = self._at[lane], self.recipe
        objective = stack([one.objective] * recipe.lanes)
        # As many lanes as ever, all of them this picture.
        start_scores, _ = score(self._model, objective, self._started[[lane] * recipe.lanes], recipe)
        scores, slopes = score(self._model, objective, levels[[lane] * recipe.lanes], recipe)
        taken = self._number[lane]
        trace = self._scores[lane, trace_steps(taken)].tolist()
        picture = picture_of(
            one,
            levels[lane],
            (start_scores[0], scores[0]),
            slopes[0],
            trace,
            seconds=(time.perf_counter() - self._began[lane]) / recipe.lanes,
            model=self._model,
            weights=self._weights,
        )
        return replace(picture, taken=taken)
