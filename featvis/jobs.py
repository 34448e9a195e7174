"""From wanted pictures to jobs of a fixed number of lanes, and from a job to finished pictures."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from featvis import draws, parts
from featvis.ascent import Step, ascend, stack_parameters
from featvis.images.base import ImageSpace
from featvis.models.handle import ModelHandle
from featvis.objectives.base import Objective, read, stack
from featvis.pictures import Picture, to_levels
from featvis.recipe import Recipe
from featvis.stages import plan_stages
from featvis.transforms.warp import Warp

Watch = Callable[[Step], None]

TRACE = 64
"""The most scores of a run that a picture tells."""


@dataclass(frozen=True)
class Wanted:
    """One picture that is asked for."""

    objective: Objective
    """Bound to the network."""
    name: str
    """The target's address or the objective's description: part of its key and of its chance."""
    recipe: Recipe
    seed: int = 0
    attempt: int = 0
    layer: str = ""
    unit: int | None = None
    label: str = ""
    start: Tensor | None = None
    variant: str = "picture"
    asked: Recipe | None = None
    """The recipe as it was asked for, where memory forced fewer lanes."""

    def stream(self, purpose: str) -> torch.Generator:
        """Return this picture's own generator for a purpose."""
        return draws.stream(self.seed, self.name, self.attempt, purpose)

    def key(self, weights: str) -> str:
        """Return the picture's key."""
        return self.recipe.key(self.name, self.seed, weights)

    def asked_key(self, weights: str) -> str | None:
        """Return the key of the recipe as asked for, if another one is used."""
        return self.asked.key(self.name, self.seed, weights) if self.asked is not None else None


@dataclass(frozen=True)
class Job:
    """Pictures that are computed together: up to ``recipe.lanes``, of one recipe and one kind."""

    wanted: tuple[Wanted, ...]

    @property
    def recipe(self) -> Recipe:
        """The recipe of every picture in it."""
        return self.wanted[0].recipe


def settle(recipe: Recipe) -> Recipe:
    """Return the recipe with what it leaves to the machine settled."""
    return recipe if recipe.threads is not None else recipe.but(threads=torch.get_num_threads())


def plan(wanted: Sequence[Wanted]) -> list[Job]:
    """Group wanted pictures into jobs, in the order asked for within each kind."""
    groups: dict[object, list[Wanted]] = {}
    for one in wanted:
        # Only objectives of one kind share a job, so that a score's sums never depend on the mates.
        kind = (one.recipe.model_dump_json(), one.objective.stacks_with(), one.start is None)
        groups.setdefault(kind, []).append(one)
    jobs = []
    for group in groups.values():
        # Where pictures stop early, freed lanes take the next one of the whole group.
        lanes = len(group) if group[0].recipe.patience else group[0].recipe.lanes
        jobs += [Job(tuple(group[place : place + lanes])) for place in range(0, len(group), lanes)]
    return jobs


def run(job: Job, model: ModelHandle, weights: str, watch: Watch | None = None) -> list[Picture]:
    """Render one job.

    Args:
        job: what to render.
        model: the network; given back as it was, on every way out.
        weights: the network's fingerprint.
        watch: called with every step.
    """
    recipe = job.recipe
    began = time.perf_counter()
    space = space_of(recipe, model)
    with threads(recipe.threads):
        settings = settings_of(job, space)
        with torch.no_grad():
            start = {name: value.to(model.device) for name, value in settings["start"].items()}
            started = to_levels(first_space(recipe, space).decode(start))
        last, told = None, set(trace_steps(recipe.steps))
        kept = []
        for last in ascend(model, climbed_objective(job), space, **settings):
            if last.number in told:
                kept.append(last.scores)  # read at the end only, so that no step waits for the device
            if watch is not None:
                watch(last)
        assert last is not None
        traces = torch.stack(kept, 1).tolist()
        levels = to_levels(last.images)
        objective = stack([one.objective for one in lanes_of(job)])
        start_scores, _ = score(model, objective, started, recipe)
        scores, slopes = score(model, objective, levels, recipe)
    seconds = (time.perf_counter() - began) / len(job.wanted)
    return [
        picture_of(
            one,
            levels[lane],
            (start_scores[lane], scores[lane]),
            slopes[lane],
            traces[lane],
            seconds=seconds,
            model=model,
            weights=weights,
        )
        for lane, one in enumerate(job.wanted)
    ]


def picture_of(
    one: Wanted,
    levels: NDArray[np.uint8],
    scores: tuple[float, float],
    slope: float,
    trace: Sequence[float],
    *,
    seconds: float,
    model: ModelHandle,
    weights: str,
) -> Picture:
    """Return the finished picture of a wish.

    Args:
        one: what was asked for.
        levels: ``(C, H, W)``, as they are saved.
        scores: of the start and of the picture.
        slope: the largest derivative of the score by a pixel; zero, without a rise, says the unit is dead.
        trace: scores over the run.
        seconds: that it took.
        model: the network.
        weights: its fingerprint.
    """
    dead = slope == 0 and scores[1] <= scores[0]
    return Picture(
        levels=levels,
        target=one.name,
        seed=one.seed,
        score=scores[1],
        start_score=scores[0],
        trace=[float(f"{value:.4g}") for value in trace],
        recipe=one.recipe.to_json(),
        key=one.key(weights),
        asked_key=one.asked_key(weights),
        status="dead" if dead else "ok",
        layer=one.layer,
        unit=one.unit,
        label=one.label,
        variant=one.variant,
        seconds=seconds,
        attempt=one.attempt,
        model=model.name,
        weights=weights,
    )


def trace_steps(steps: int) -> list[int]:
    """Return the steps whose scores a picture tells: evenly spread, the first and the last among them.

    >>> trace_steps(4), len(trace_steps(500)), trace_steps(500)[-1]
    ([0, 1, 2, 3], 64, 499)
    """
    if steps <= TRACE:
        return list(range(steps))
    return [round(place * (steps - 1) / (TRACE - 1)) for place in range(TRACE)]


def lanes_of(job: Job) -> list[Wanted]:
    """Return the wish of each lane: a short batch is padded, for another width would change the last bits."""
    return [job.wanted[min(lane, len(job.wanted) - 1)] for lane in range(job.recipe.lanes)]


def climbed_objective(job: Job) -> Objective:
    """Return what a job climbs: each lane its own target, less the recipe's penalties."""
    climbed = stack([one.objective for one in lanes_of(job)])
    layers = climbed.layers
    for penalty in job.recipe.penalties:
        term = parts.make("objectives", penalty).beside(layers)
        climbed = climbed - penalty["weight"] * term
    return climbed


def settings_of(job: Job, space: ImageSpace) -> dict[str, Any]:
    """Return what :func:`featvis.ascend` is told for a job, the start of each lane included."""
    recipe, lanes = job.recipe, lanes_of(job)
    space = first_space(recipe, space)
    attempt = lanes[0].attempt
    start = [
        # An image is known by its 8-bit levels, so the run starts from these.
        space.draw(one.stream("start"), 10.0**attempt)
        if one.start is None
        else space.fit(torch.from_numpy(to_levels(one.start)).float() / 255)
        for one in lanes
    ]
    return {
        "steps": recipe.steps,
        "transforms": [parts.make("transforms", spec) for spec in recipe.transforms],
        "optimizer": recipe.optimizer,
        "learning_rate": recipe.learning_rate,
        "momentum": recipe.momentum,
        "second_momentum": recipe.second_momentum,
        "schedule": recipe.schedule,
        # A retry of a dead unit is woken for longer.
        "redirect_steps": min(recipe.redirect_steps * 4**attempt, recipe.steps),
        "precision": recipe.precision,
        "seen": recipe.input_size,
        "stages": recipe.stages,
        "start": stack_parameters(start),
        "streams": [one.stream for one in lanes],
    }


def score(
    model: ModelHandle,
    objective: Objective,
    levels: NDArray[np.uint8],
    recipe: Recipe,
) -> tuple[list[float], list[float]]:
    """Score 8-bit pictures ``(lanes, C, H, W)`` as they are saved: no transforms, no penalties.

    Returns:
        The score of each, and the largest absolute derivative of it by any of its pixels.
    """
    images = (torch.from_numpy(levels).to(model.device).float() / 255).requires_grad_()
    seen = seen_size(recipe) or (levels.shape[2], levels.shape[3])

    def shown(given: Tensor) -> Tensor:
        if seen == tuple(levels.shape[2:]):
            return given
        plain = Warp()
        middle = torch.full((levels.shape[0], 1, plain.numbers), 0.5)
        values = plain.prepare(middle, torch.zeros(1), (levels.shape[2], levels.shape[3]), seen)
        return plain.apply(given, values[:, 0].to(given.device), None, seen)

    with (
        objective.opened(model.device, recipe.precision) as ready,
        model.tap(objective.layers, size=seen, precision=recipe.precision) as activations,
    ):
        scores = ready(read(ready, activations, images, shown), images)
        slopes = torch.zeros_like(scores)
        if scores.requires_grad:
            (gradient,) = torch.autograd.grad(scores.sum(), images, allow_unused=True)
            slopes = slopes if gradient is None else gradient.abs().flatten(1).amax(1)
    return scores.detach().tolist(), slopes.tolist()


def space_of(recipe: Recipe, model: ModelHandle) -> ImageSpace:
    """Build the recipe's image space for a network's channels."""
    space: ImageSpace = parts.make("images", recipe.space, size=recipe.size, channels=model.channels)
    return space


def first_space(recipe: Recipe, space: ImageSpace) -> ImageSpace:
    """Return the image space on the canvas that the run begins with."""
    return space.resized(plan_stages(recipe.stages, recipe.size, recipe.steps)[0].size)


def seen_size(recipe: Recipe) -> tuple[int, int]:
    """Return (height, width) of what the network is shown."""
    return recipe.input_size or recipe.size


def with_fewer_lanes(wanted: Wanted, lanes: int) -> Wanted:
    """Return the same wish with fewer lanes, remembering what was asked for."""
    return replace(wanted, recipe=wanted.recipe.but(lanes=lanes), asked=wanted.asked or wanted.recipe)


@contextmanager
def threads(count: int | None) -> Iterator[None]:
    """Compute with ``count`` CPU threads, and give back the number there was."""
    before = torch.get_num_threads()
    try:
        if count is not None and count != before:
            torch.set_num_threads(count)
        yield
    finally:
        if torch.get_num_threads() != before:
            torch.set_num_threads(before)
