"""From a job to finished pictures."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from featvis.devices import is_gpu
from featvis.engine.lanes import Step, climb, stack_parameters
from featvis.engine.transparency import PixelGradients
from featvis.errors import Interrupted
from featvis.images.base import ImageSpace, Parameters
from featvis.models.handle import ModelHandle
from featvis.objectives.band import Within
from featvis.objectives.base import Objective, stack
from featvis.objectives.reference import fitted
from featvis.objectives.unit import units_of
from featvis.plan.wanted import Job, Wanted, lane_of, lanes_of
from featvis.results.picture import Picture, to_levels
from featvis.run.score import score, threads, trace_steps
from featvis.spec import register
from featvis.spec.recipe import Recipe
from featvis.spec.stages import plan_stages
from featvis.transforms.base import Transform

Watch = Callable[[Step], object]
"""Called with every step; where it returns True, the pictures under way are finished as they stand."""


def run_job(job: Job, model: ModelHandle, weights: str, watch: Watch | None = None) -> list[Picture]:
    """Render one job; ``watch`` hears of every step and may end it by returning True.

    Raises:
        Interrupted: at Ctrl-C, with the pictures as they stand.
    """
    recipe, lanes = climbed_recipe(job), lanes_of(job)
    began = time.perf_counter()
    space = space_of(recipe, model)
    with threads(recipe.threads):
        start = start_of(lanes, first_space(recipe, space))
        with torch.no_grad():
            first = {name: value.to(model.device) for name, value in start.items()}
            started = to_levels(first_space(recipe, space).decode(first))
        last, traced = None, set(trace_steps(recipe.steps))
        kept: list[Tensor] = []
        shots: dict[int, NDArray[np.uint8] | None] = dict.fromkeys(
            number for wanted in job.wanted for number in wanted.snapshots
        )
        stopped, interrupted, replayed = False, False, 0
        pixels = PixelGradients() if any(wanted.transparency for wanted in job.wanted) else None
        steps = climb(
            model,
            climbed_objective(job).by_itself(),
            space,
            recipe,
            [wanted.stream for wanted in lanes],
            transforms=transforms_of(recipe),
            start=start,
            finer=finer_of(lanes, space),
            pixel_gradients=pixels,
        )
        try:
            for last in steps:
                replayed += last.replayed
                if last.number in traced:
                    kept.append(last.scores)  # read at the end only, so that no step waits for the device
                if last.number + 1 in shots:
                    shots[last.number + 1] = to_levels(last.images)
                if watch is not None and watch(last) is True:
                    stopped = last.number + 1 < recipe.steps
                    break
        except KeyboardInterrupt:
            if last is None:
                raise
            interrupted = True
        finally:
            steps.close()
        assert last is not None
        traces = torch.stack(kept, 1).tolist()
        levels = to_levels(last.images)
        opacity = pixels.levels if pixels is not None else None
        objective = stack([wanted.objective for wanted in lanes])
        start_scores, _ = score(model, objective, started, recipe, slopes=False)
        scores, gradients = score(model, objective, levels, recipe)
    seconds = (time.perf_counter() - began) / len(job.wanted)
    pictures = [
        picture_of(
            wanted,
            levels[lane],
            (start_scores[lane], scores[lane]),
            gradients[lane],
            traces[lane],
            seconds=seconds,
            model=model,
            weights=weights,
            taken=last.number + 1 if stopped or interrupted else None,
            stopped=stopped or interrupted,
            snapshots={number: shot[lane] for number, shot in shots.items() if shot is not None},
            transparency=opacity[lane] if opacity is not None else None,
            replayed=replayed if replayed or is_gpu(model.device) else None,
        )
        for lane, wanted in ((lane_of(wanted, place), wanted) for place, wanted in enumerate(job.wanted))
    ]
    if interrupted:
        raise Interrupted(pictures)
    return pictures


def picture_of(
    wanted: Wanted,
    levels: NDArray[np.uint8],
    scores: tuple[float, float],
    gradient: float,
    trace: Sequence[float],
    *,
    seconds: float,
    model: ModelHandle,
    weights: str,
    taken: int | None = None,
    stopped: bool = False,
    snapshots: dict[int, NDArray[np.uint8]] | None = None,
    transparency: NDArray[np.uint8] | None = None,
    replayed: int | None = None,
) -> Picture:
    """Return a finished picture of what was wanted.

    ``levels`` are ``(C, H, W)`` as they are saved, ``scores`` those of the start and of the picture,
    ``gradient`` the largest derivative of the score by a pixel: if it is 0 and the score has not risen,
    the unit is dead. A score that is not finite, at the end or on the way, makes it a failure. ``taken``
    are the steps, if that may be less than the recipe's.
    """
    dead = gradient == 0 and scores[1] <= scores[0]
    failed = not all(map(math.isfinite, (*scores, *trace)))
    return Picture(
        levels=levels,
        target=wanted.name,
        seed=wanted.seed,
        score=scores[1],
        start_score=scores[0],
        trace=[float(f"{value:.4g}") for value in trace],
        recipe=wanted.recipe.to_json(),
        key=wanted.key(weights),
        asked_key=wanted.asked_key(weights),
        status="failed" if failed else "dead" if dead else "stopped" if stopped else "ok",
        taken=taken,
        snapshots=snapshots or {},
        transparency=transparency,
        replayed=replayed,
        layer=wanted.layer,
        unit=wanted.unit,
        label=wanted.label,
        variant=wanted.variant,
        chosen=None if wanted.candidate is None else wanted.own_seed,
        seconds=seconds,
        attempt=wanted.attempt,
        model=model.name,
        weights=weights,
        preprocessing=(model.mean, model.std),
        sample_rate=model.sample_rate,
        frames=model.frames,
        alpha=len(levels) > model.channels,
        evaluations=(taken or wanted.recipe.steps) * passes_of(wanted.recipe),
    )


def passes_of(recipe: Recipe) -> int:
    """Return how many times the network sees a picture at every step: copies, and crops of each."""
    crops: list[int] = [register.make("transforms", spec).copies() for spec in recipe.transforms]
    return recipe.copies * math.prod(crops)


def climbed_objective(job: Job) -> Objective:
    """Return what a job climbs: each lane its own target, less the recipe's penalties."""
    climbed = stack([wanted.objective for wanted in lanes_of(job)])
    target = climbed
    if job.recipe.band is not None:
        climbed = Within(climbed, [job.recipe.band])
    for penalty in job.recipe.penalties:
        term = register.make("objectives", penalty).beside(target.layers, units_of(target))
        climbed = climbed - penalty["weight"] * term
    return climbed


def climbed_recipe(job: Job) -> Recipe:
    """Return a job's recipe as it is climbed: a retry of a dead unit is woken for longer."""
    recipe = job.recipe
    return recipe.model_copy(update={"redirect_steps": wake_steps_of(job.wanted[0])})


def wake_steps_of(wanted: Wanted) -> int:
    """Return for how many steps dead ReLUs pass a picture's gradient: four times as many at each attempt."""
    return min(wanted.recipe.redirect_steps << 2 * wanted.attempt, wanted.recipe.steps)


def transforms_of(recipe: Recipe) -> list[Transform]:
    """Build a recipe's transforms."""
    return [register.make("transforms", spec) for spec in recipe.transforms]


def start_of(lanes: Sequence[Wanted], space: ImageSpace) -> Parameters:
    """Return the parameters that pictures start from on a canvas, the lanes as first axis."""
    return stack_parameters(
        [
            space.draw(wanted.stream("start"), 10.0 ** lanes[0].attempt)
            if wanted.start is None
            else space.begin(_start_at(wanted.start, space.canvas), wanted.stream("start"))
            for wanted in lanes
        ]
    )


def finer_of(lanes: Sequence[Wanted], space: ImageSpace) -> list[Parameters]:
    """Return, for each stage after the first, what of its start images the smaller canvas could not hold.

    DeepDream's octaves (Mordvintsev et al. 2015): what was dreamt is enlarged, the photograph is not.
    """
    recipe = lanes[0].recipe
    if lanes[0].start is None:
        return []
    finer = []
    for stage, later in itertools.pairwise(plan_stages(recipe.stages, recipe.size, recipe.steps)):
        smaller, larger = space.resized(stage.size), space.resized(later.size)
        small, large = (
            stack_parameters(
                [
                    stage_space.fit(_start_at(wanted.start, stage_space.canvas))
                    for wanted in lanes
                    if wanted.start is not None
                ]
            )
            for stage_space in (smaller, larger)
        )
        grown = smaller.grow(small, larger)
        finer.append({name: large[name] - grown[name] for name in large})
    return finer


def _start_at(image: Tensor, canvas: tuple[int, int]) -> Tensor:
    # An image is known by its 8-bit levels, so the run starts from these.
    levels = torch.from_numpy(to_levels(image)).float() / 255
    return fitted(levels[None], canvas)[0]


def space_of(recipe: Recipe, model: ModelHandle) -> ImageSpace:
    """Build the recipe's image space for a network's channels."""
    space: ImageSpace = register.make("images", recipe.space, size=recipe.size, channels=model.channels)
    return space


def first_space(recipe: Recipe, space: ImageSpace) -> ImageSpace:
    """Return the image space on the canvas that the run begins with."""
    return space.resized(plan_stages(recipe.stages, recipe.size, recipe.steps)[0].size)
