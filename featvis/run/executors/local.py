"""Jobs one after another on this machine: dead units tried again, fewer lanes where memory runs out."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from featvis.devices import free, is_out_of_memory
from featvis.errors import count_of
from featvis.models.handle import ModelHandle
from featvis.plan.wanted import Job, Wanted, lane_of, lanes_of, make_jobs, with_fewer_lanes
from featvis.results.picture import Picture
from featvis.run.executors.register import executor
from featvis.run.job import Watch, run_job
from featvis.run.lanes import run_lanes

log = logging.getLogger(__name__)


@executor("local", about="one job after another, on the network's device")
def local(
    wanted: Sequence[Wanted],
    model: ModelHandle,
    weights: str,
    *,
    watch: Watch | None = None,
    say: Callable[[str], None] | None = None,
    failed: Callable[[Wanted, str], None] | None = None,
) -> Iterator[Picture]:
    """Compute pictures as every :class:`~featvis.run.executors.register.Executor` does.

    A dead unit is tried again from other starts, up to the recipe's ``attempts``; the last attempt is
    yielded with status ``dead``. Where memory runs out, the lanes are halved and the job done again.
    """
    jobs = deque(make_jobs(wanted))
    retries: list[Wanted] = []
    while jobs or retries:
        if not jobs:
            jobs, retries = deque(make_jobs(retries)), []
        job = jobs.popleft()
        lanes = count_of(job.recipe.lanes, "lane")
        log.info("%s: %s, %d steps, from %s", lanes, job.recipe.size, job.recipe.steps, job.wanted[0].name)
        finished: list[Wanted] = []
        pictures: list[Picture] = []
        try:
            if job.recipe.patience:
                for item, picture in run_lanes(job.wanted, model, weights, watch):
                    finished.append(item)
                    if _tried_again(item, picture, retries, say):
                        continue
                    yield picture
                continue
            if job.wanted[0].mates is not None:
                yield from _render_set(job, model, weights, watch, retries, say)
                continue
            pictures = run_job(job, model, weights, watch)
        except (MemoryError, RuntimeError) as error:
            if finished:  # the rest of a run with patience
                job = Job(tuple(item for item in job.wanted if all(item is not other for other in finished)))
            if not is_out_of_memory(error) or job.recipe.lanes == 1 or job.wanted[0].mates is not None:
                if failed is None:
                    raise
                if len(job.wanted) == 1:
                    failed(job.wanted[0], " ".join(str(error).split()) or type(error).__name__)
                else:  # one by one: a short job is padded, so that the others' bytes are the same
                    jobs.extendleft(Job((item,)) for item in reversed(job.wanted))
                continue
            pictures = []
            jobs = deque(
                make_jobs([with_fewer_lanes(item, job.recipe.lanes // 2) for item in _left(job, jobs)])
                + _others(job, jobs)
            )
            if say is not None:
                say(f"out of memory with {job.recipe.lanes} lanes; going on with {job.recipe.lanes // 2}")
        if not pictures:
            free(model.device)
        for item, picture in zip(job.wanted, pictures, strict=False):
            if not _tried_again(item, picture, retries, say):
                yield picture


def _render_set(
    job: Job,
    model: ModelHandle,
    weights: str,
    watch: Watch | None,
    retries: list[Wanted],
    say: Callable[[str], None] | None,
) -> Iterator[Picture]:
    """Render pictures that depend on each other: the whole set, from other starts if any of it is dead."""
    first = job.wanted[0]
    pictures = run_job(Job(tuple(lanes_of(job))), model, weights, watch)
    if any(picture.status == "dead" for picture in pictures) and first.attempt + 1 < first.recipe.attempts:
        retries += [replace(wanted, attempt=wanted.attempt + 1) for wanted in job.wanted]
        if say is not None:
            say(f"{first.name} has a picture without gradient; trying other starts")
        return
    for wanted in job.wanted:
        yield pictures[lane_of(wanted, 0)]


def _tried_again(
    wanted: Wanted, picture: Picture, retries: list[Wanted], say: Callable[[str], None] | None
) -> bool:
    """Put a dead unit down for another start, if it has any left."""
    if picture.status != "dead" or wanted.attempt + 1 >= wanted.recipe.attempts:
        return False
    retries.append(replace(wanted, attempt=wanted.attempt + 1))
    if say is not None:
        say(f"{wanted.name} has no gradient from this start; trying another")
    return True


def _left(job: Job, jobs: Sequence[Job]) -> list[Wanted]:
    """The pictures of this job and of the waiting ones that share its recipe."""
    same = [other for other in jobs if _shares_lanes(job, other)]
    return [wanted for sharing in (job, *same) for wanted in sharing.wanted]


def _others(job: Job, jobs: Sequence[Job]) -> list[Job]:
    return [other for other in jobs if not _shares_lanes(job, other)]


def _shares_lanes(job: Job, other: Job) -> bool:
    return other.recipe == job.recipe and other.wanted[0].mates is None
