"""Jobs given to workers elsewhere: a few at a time to each, and once more where a worker is lost.

The :class:`Cluster` says how workers are started, given something and heard of; an executor brings one.
"""

from __future__ import annotations

import pickle
import time
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from featvis.errors import FeatvisError, RecipeError, count_of
from featvis.plan.wanted import Job, Wanted, make_jobs
from featvis.results.picture import Picture
from featvis.run.executors.worker import Outcome, versions, with_changes

IN_FLIGHT = 2
"""Jobs that a worker has at once: the one that it computes, and the next."""
TRIES = 2
"""How many workers a job may take with it."""
LOSSES = 5
"""How many may be lost with it at all, its fault or not."""
STARTS = 5
"""How many workers may be lost one after the other before any is ready."""
PATIENCE = 60.0
"""Seconds without a worker after which it is said that there is none."""
_SHARES = 4
"""Runs of pictures that stop early are cut into jobs of this many times the lanes, so that all have work."""


class LostError(FeatvisError):
    """Workers were lost, so that pictures could not be computed."""


@dataclass(frozen=True)
class Ready:
    """A worker has started."""

    worker: Hashable
    about: dict[str, str]


@dataclass(frozen=True)
class Done:
    """A worker has finished a job; the oldest that it had."""

    worker: Hashable
    content: bytes


@dataclass(frozen=True)
class Lost:
    """A worker is gone, with all that it had."""

    worker: Hashable
    reason: str
    blameless: bool = False
    """Whether it is known that no job was to blame: the machine was taken away."""


Event = Ready | Done | Lost


class Cluster(Protocol):
    """Workers somewhere."""

    def start(self) -> Hashable:
        """Begin to start a worker and return what names it; it is heard of when it is ready."""

    def give(self, worker: Hashable, content: bytes) -> None:
        """Give a worker a job, which it takes up after those that it has."""

    def wait(self, seconds: float) -> list[Event]:
        """Return what has happened since; wait for it, but not longer than so many seconds."""

    def stop(self) -> None:
        """Let go of all workers, whatever they do."""


@dataclass
class _Task:
    """A job, how many workers it took with it, and how many were lost with it, its fault or not."""

    job: Job
    strikes: int = 0
    losses: int = 0


@dataclass
class _Member:
    """A worker that has started, and what it has been given."""

    tasks: deque[_Task] = field(default_factory=deque)

    def takes(self, waiting: deque[_Task], members: int) -> bool:
        """Whether it is given the next job: a second one only while there are enough for the others.

        A job that took a worker with it is alone with its next one, so that no other is blamed.
        """
        if not waiting:
            return False
        if not self.tasks:
            return True
        suspect = any(task.strikes for task in (*self.tasks, waiting[0]))
        return not suspect and len(self.tasks) < IN_FLIGHT and len(waiting) >= members


def share_out(
    jobs: Sequence[Job],
    cluster: Cluster,
    pack: Callable[[Job], bytes],
    workers: int,
    *,
    say: Callable[[str], None] | None = None,
    failed: Callable[[Wanted, str], None] | None = None,
    crew: Callable[[int], None] | None = None,
) -> Iterator[Picture]:
    """Have a cluster's workers compute jobs and yield the pictures, in the order in which they come.

    What a lost worker had is given to another; the job that two workers were lost with has failed. The
    cluster's workers are let go of on every way out.

    Args:
        jobs: as :func:`make_shares` makes them.
        cluster: where they are computed.
        pack: writes a job as the workers read it.
        workers: how many there are to be.
        say: called with a line for each loss, and for whatever the workers say.
        failed: called with each picture that fails and why; by default the error is raised.
        crew: called with the number of workers that are at work, whenever it changes.

    Raises:
        LostError: a job took two workers with it, and ``failed`` is not given; or workers die one after the
            other before any is ready.
        RecipeError: a worker has other versions of what makes the pictures.
    """
    yield from _Sharing(jobs, cluster, pack, workers, say, failed, crew).run()


class _Sharing:
    """One call of :func:`share_out`."""

    def __init__(
        self,
        jobs: Sequence[Job],
        cluster: Cluster,
        pack: Callable[[Job], bytes],
        workers: int,
        say: Callable[[str], None] | None,
        failed: Callable[[Wanted, str], None] | None,
        crew: Callable[[int], None] | None,
    ) -> None:
        self._waiting = deque(_Task(job) for job in jobs)
        self._cluster, self._pack, self._workers = cluster, pack, workers
        self._say = say or (lambda line: None)
        self._failed, self._crew = failed, crew or (lambda count: None)
        self._members: dict[Hashable, _Member] = {}
        self._starting: set[Hashable] = set()
        self._under_way = 0  # jobs that workers have
        self._losses = 0  # of workers that were not ready yet, since one was
        self._idle_since, self._told = time.monotonic(), False

    def run(self) -> Iterator[Picture]:
        try:
            for _ in range(min(self._workers, len(self._waiting))):
                self._starting.add(self._cluster.start())
            while self._waiting or self._under_way:
                for event in self._cluster.wait(1.0):
                    if isinstance(event, Ready):
                        self._add(event)
                    elif isinstance(event, Lost):
                        self._lose(event)
                    else:
                        yield from self._take(event)
                self._look_for_workers()
        finally:
            self._cluster.stop()

    def _add(self, event: Ready) -> None:
        for name, own in versions().items():
            if event.about[name] != own:
                raise RecipeError(
                    f"the workers have {name} {event.about[name]}, here it is {own}: pictures would not be "
                    "the same; install the same everywhere"
                )
        self._starting.discard(event.worker)
        self._losses = 0
        self._members[event.worker] = _Member()
        self._crew(len(self._members))
        self._give(event.worker)

    def _give(self, worker: Hashable) -> None:
        member = self._members[worker]
        while member.takes(self._waiting, len(self._members) + len(self._starting)):
            task = self._waiting.popleft()
            self._cluster.give(worker, self._pack(task.job))
            member.tasks.append(task)
            self._under_way += 1

    def _take(self, event: Done) -> Iterator[Picture]:
        if event.worker not in self._members:  # it was lost meanwhile, and its jobs are done again
            return
        task = self._members[event.worker].tasks.popleft()
        self._under_way -= 1
        self._give(event.worker)
        outcome: Outcome = pickle.loads(event.content)
        for line in outcome.said:
            self._say(line)
        yield from outcome.pictures
        for place, changed, reason in outcome.failures:
            assert self._failed is not None
            self._failed(with_changes(task.job.wanted[place], changed), reason)
        if outcome.error is not None:
            raise outcome.error

    def _lose(self, event: Lost) -> None:
        member = self._members.pop(event.worker, None)
        self._starting.discard(event.worker)
        if member is None:
            self._losses += 1
        tasks = list(member.tasks) if member is not None else []
        self._under_way -= len(tasks)
        what = "a worker was lost"
        if tasks:
            pictures = [item.name for task in tasks for item in task.job.wanted]
            them = count_of(len(pictures), "picture")
            what += f" with {them} under way or next, from {pictures[0]}"
            tasks[0].losses += 1
            tasks[0].strikes += not event.blameless
        self._say(f"{what}: {event.reason}")
        self._crew(len(self._members))
        for task in reversed(tasks):
            if task.strikes >= TRIES or task.losses >= LOSSES:
                self._give_up(task, event.reason)
            elif task.strikes:
                self._waiting.append(task)  # last: what is sound comes first
            else:
                self._waiting.appendleft(task)
        if self._losses >= STARTS and not self._members and (self._waiting or self._under_way):
            raise LostError(f"{self._losses} workers were lost before any was ready: {event.reason}")
        if len(self._members) + len(self._starting) < min(
            self._workers, len(self._waiting) + self._under_way
        ):
            self._starting.add(self._cluster.start())
        for worker in list(self._members):
            if not self._waiting:
                break
            self._give(worker)

    def _give_up(self, task: _Task, reason: str) -> None:
        why = f"{task.losses} workers were lost with it: {reason}"
        if self._failed is None:
            raise LostError(f"{task.job.wanted[0].name}: {why}")
        for item in task.job.wanted:
            self._failed(item, why)

    def _look_for_workers(self) -> None:
        """Say so where no worker has started for a while."""
        now = time.monotonic()
        if self._members:
            self._idle_since, self._told = now, False
        elif now - self._idle_since > PATIENCE and not self._told:
            self._told = True
            self._say("no worker has started yet: there may be no room for one; Ctrl-C ends the waiting")


def make_shares(wanted: Sequence[Wanted]) -> list[Job]:
    """Group wanted pictures into jobs for workers: runs of pictures that stop early are cut into several."""
    jobs = []
    for job in make_jobs(wanted):
        # Where pictures stop early, a picture depends on its mates as little as elsewhere.
        cut = len(job.wanted)
        if job.recipe.patience and job.wanted[0].mates is None:
            cut = job.recipe.lanes * _SHARES
        jobs += [Job(job.wanted[place : place + cut]) for place in range(0, len(job.wanted), cut)]
    return jobs
