"""What a plan will cost, from two timed steps of each kind of job."""

from __future__ import annotations

import itertools
import math
import statistics
import time
from dataclasses import dataclass

import torch

from featvis.devices import peak_memory, wait
from featvis.engine.lanes import Step
from featvis.engine.record import recorder_for
from featvis.engine.replay import WARM_UP
from featvis.models.handle import ModelHandle
from featvis.plan.wanted import Job, Wanted, make_jobs
from featvis.run.job import run_job

TIMED = 2
LARGE = 512 * 512
"""Pixels of a canvas, and of all that a step shows the network: what is larger is not climbed to be timed."""
SMALL = 256 * 256
MANY = {"cpu": (64, 4 * LARGE)}
"""Lanes, and pixels of all lanes and copies, by device: of more, fewer are climbed to be timed."""
MANY_ELSEWHERE = (512, 64 * LARGE)


@dataclass(frozen=True)
class Cost:
    """What one kind of job costs."""

    layer: str
    pictures: int
    jobs: int
    lanes: int
    canvas: tuple[int, int]
    steps: int
    seconds: float


def estimate(
    wanted: list[Wanted], model: ModelHandle, weights: str, idle: int | None = None
) -> tuple[list[Cost], int]:
    """Time two steps of each kind of job, and two of those that redirect gradients.

    Args:
        wanted: the pictures.
        model: their network.
        weights: its fingerprint.
        idle: the peak memory in bytes before anything was computed; None if nothing was.

    Returns:
        The cost of each kind, and the peak memory in bytes (of the process, or of the GPU).
    """
    kinds: dict[object, list[Job]] = {}
    for job in make_jobs(wanted):
        kinds.setdefault(job.kind, []).append(job)
    costs = []
    most = 0.0
    idle = peak_memory(model.device) if idle is None else idle
    for jobs in kinds.values():
        # A run that stops when its score has settled holds all its pictures in one job; it is counted as if
        # none stopped early.
        lanes = jobs[0].recipe.lanes
        first = Job(jobs[0].wanted[:lanes])
        count = sum(math.ceil(len(job.wanted) / lanes) for job in jobs)
        steps = first.recipe.steps
        redirected = min(first.recipe.redirect_steps, steps)
        seconds = overhead = 0.0
        timed, times = stand_in(first, model.device)
        if redirected:
            step_seconds, overhead = _time_steps(timed, model, weights, redirect_steps=3)
            seconds += redirected * step_seconds * times
        if redirected < steps:
            step_seconds, overhead = _time_steps(timed, model, weights, redirect_steps=0)
            seconds += (steps - redirected) * step_seconds * times
        overhead *= times
        most = max(most, idle + (peak_memory(model.device) - idle) * times)
        costs.append(
            Cost(
                layer=", ".join(first.wanted[0].objective.layers),
                pictures=len({(item.name, item.seed) for job in jobs for item in job.wanted}),
                jobs=count,
                lanes=lanes,
                canvas=first.recipe.size,
                steps=steps,
                seconds=count * (seconds + overhead),
            )
        )
    return costs, int(most)


def stand_in(job: Job, device: torch.device) -> tuple[Job, float]:
    """Return a job that stands for one of very many lanes or a large canvas, and how much more it is."""
    fewer, lanes = _fewer(job, *MANY.get(device.type, MANY_ELSEWHERE))
    smaller, pixels = _smaller(fewer)
    return smaller, lanes * pixels


def _fewer(job: Job, most: int, pixels: int) -> tuple[Job, float]:
    """Return a job of fewer lanes that stands for one of very many, and the quotient of their lanes."""
    recipe = job.recipe
    height, width = recipe.size
    lanes = min(most, max(8, pixels // (height * width * recipe.copies)))
    if lanes >= recipe.lanes or job.wanted[0].mates is not None:  # the pictures of a set need each other
        return job, 1.0
    return Job(job.wanted[:lanes]).but(lanes=lanes), recipe.lanes / lanes


def _smaller(job: Job) -> tuple[Job, float]:
    """Return a job that stands for one on a large canvas, and how many times its pixels that one has.

    What a step costs grows with its pixels, so that a canvas of 2,048 pixels need not be climbed to be told.
    """
    recipe = job.recipe
    height, width = recipe.size
    pixels = height * width * recipe.lanes * recipe.copies
    fixed = recipe.input_size is not None or any(
        item.start is not None or item.objective.place() is not None for item in job.wanted
    )
    if fixed or height * width <= LARGE or pixels <= LARGE:
        return job, 1.0
    share = math.sqrt(max(LARGE / (recipe.lanes * recipe.copies), SMALL) / (height * width))
    size = (max(32, round(height * share / 32) * 32), max(32, round(width * share / 32) * 32))
    return job.but(size=size, stages=()), height * width / (size[0] * size[1])


def _time_steps(job: Job, model: ModelHandle, weights: str, *, redirect_steps: int) -> tuple[float, float]:
    """Run steps to warm up and two to be timed; return a step's seconds, and those around the steps.

    On a GPU most steps of a run are replayed, so those that are timed come after the one that is recorded;
    steps that wake dead units never are.
    """
    times: list[float] = []

    def watch(step: Step) -> None:
        wait(model.device)
        times.append(time.perf_counter())

    began = time.perf_counter()
    warm = WARM_UP + 1 if recorder_for(model.device) is not None and not redirect_steps else 1
    count = warm + TIMED
    redirected = count if redirect_steps else 0
    run_job(job.but(steps=count, redirect_steps=redirected), model, weights, watch)
    whole = time.perf_counter() - began
    step_seconds = statistics.mean(
        later - earlier for earlier, later in itertools.pairwise(times[warm - 1 :])
    )
    return step_seconds, max(0.0, whole - count * step_seconds)
