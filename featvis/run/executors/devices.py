"""Jobs spread over several devices of one machine: a copy of the network and a thread for each."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import torch

from featvis.devices import is_gpu
from featvis.engine.lanes import Step
from featvis.engine.look import window_of
from featvis.models.handle import ModelHandle
from featvis.objectives.base import Objective
from featvis.plan.wanted import Job, Wanted, make_jobs
from featvis.results.picture import Picture
from featvis.run.executors.local import local
from featvis.run.executors.register import executor
from featvis.run.job import Watch, climbed_objective


class _Worker:
    """What a worker has for itself: a network, and copies of those that objectives borrow beside it.

    Made before any worker starts: a network is copied while nobody has borrowed it.
    """

    def __init__(self, model: ModelHandle, first: ModelHandle, jobs: Sequence[Job]) -> None:
        self.model = model
        # Where an ensemble names the network that is climbed, it is this worker's.
        self._networks: dict[int, ModelHandle] = {id(first.module): model}
        self._objectives: dict[int, tuple[Objective, Objective]] = {}
        for job in jobs:
            for item in job.wanted:
                self.own(item)

    def own(self, wanted: Wanted) -> Wanted:
        """Return what is wanted with objectives of this worker; what was one object stays one."""
        key = id(wanted.objective)
        if key not in self._objectives:
            replicated = wanted.objective.replicated(self.model.device, self._networks)
            self._objectives[key] = wanted.objective, replicated
        among = tuple(self.own(other) for other in wanted.among)
        return replace(wanted, objective=self._objectives[key][1], among=among)


class _Stopped(BaseException):
    """Ends a worker's run between two steps."""


def replicas(model: ModelHandle, most: int) -> list[ModelHandle]:
    """Return the network and its copies on further GPUs of the same kind, unless one GPU was named.

    Args:
        model: the network.
        most: how many in all; more than there are jobs would only be copied.
    """
    if not is_gpu(model.device) or not model.spreads or most < 2:
        return [model]
    own = torch.cuda.get_device_name(model.device)
    first = model.device.index or 0
    others = [
        index
        for index in range(torch.cuda.device_count())
        if index != first and torch.cuda.get_device_name(index) == own
    ]
    return [model, *(model.copy(device=torch.device("cuda", index)) for index in others[: most - 1])]


@executor("devices", about="on all GPUs of the network's kind at once; on one device like local")
def devices(
    wanted: Sequence[Wanted],
    model: ModelHandle,
    weights: str,
    *,
    watch: Watch | None = None,
    say: Callable[[str], None] | None = None,
    failed: Callable[[Wanted, str], None] | None = None,
) -> Iterator[Picture]:
    """Compute pictures as every :class:`~featvis.run.executors.register.Executor` does.

    A picture does not depend on its device as long as they are of one kind.
    """
    jobs = make_jobs(wanted)
    if is_gpu(model.device) and len(jobs) > 1:
        _measure_windows(jobs, model)
    models = replicas(model, len(jobs))
    yield from spread(wanted, models, weights, watch=watch, say=say, failed=failed)


def _measure_windows(jobs: Sequence[Job], model: ModelHandle) -> None:
    """Measure beforehand what each job will be shown: meanwhile the process computes in another precision."""
    for job in jobs:
        size = job.recipe.shown_size
        window_of(climbed_objective(job).bind(model.at(size)), model, job.recipe, size)


def spread(
    wanted: Sequence[Wanted],
    models: Sequence[ModelHandle],
    weights: str,
    *,
    watch: Watch | None = None,
    say: Callable[[str], None] | None = None,
    failed: Callable[[Wanted, str], None] | None = None,
) -> Iterator[Picture]:
    """Compute each job by whichever of the network's copies is free; a thread for each of them."""
    if len(models) == 1:
        yield from local(wanted, models[0], weights, watch=watch, say=say, failed=failed)
        return
    waiting = deque(make_jobs(wanted))
    results: queue.Queue[Picture | BaseException | None] = queue.Queue()
    stop, one_at_a_time = threading.Event(), threading.Lock()

    def watch_step(step: Step) -> object:
        if stop.is_set():
            raise _Stopped
        if watch is None:
            return None
        with one_at_a_time:
            return watch(step)

    def work(worker: _Worker | None, model: ModelHandle) -> None:
        try:
            while not stop.is_set():
                try:
                    job: Job = waiting.popleft()
                except IndexError:
                    break
                # The first works with what its user gave; who comes after it may not borrow that, too.
                own = job.wanted if worker is None else [worker.own(item) for item in job.wanted]
                for picture in local(own, model, weights, watch=watch_step, say=say, failed=failed):
                    results.put(picture)
        except _Stopped:
            pass
        except BaseException as error:  # raised by the thread that waits
            results.put(error)
        finally:
            results.put(None)

    owners = [None, *(_Worker(model, models[0], waiting) for model in models[1:])]
    workers = [
        threading.Thread(target=work, args=pair, daemon=True) for pair in zip(owners, models, strict=True)
    ]
    for worker in workers:
        worker.start()
    left = len(workers)
    try:
        while left:
            result = results.get()
            if isinstance(result, BaseException):
                raise result
            if result is None:
                left -= 1
            else:
                yield result
    finally:
        stop.set()  # whatever ended us, no worker goes on with a borrowed network
        for worker in workers:
            worker.join()
