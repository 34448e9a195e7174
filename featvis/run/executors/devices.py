"""Jobs spread over several devices of one machine: a copy of the network and a thread for each."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence

import torch

from featvis.engine.lanes import Step
from featvis.models.handle import ModelHandle
from featvis.plan.wanted import Job, Wanted, make_jobs
from featvis.results.picture import Picture
from featvis.run.executors.local import local
from featvis.run.executors.register import executor
from featvis.run.job import Watch


class _Stopped(BaseException):
    """Ends a worker's run between two steps."""


def replicas(model: ModelHandle) -> list[ModelHandle]:
    """Return the network and its copies on every further GPU of the same kind, unless one GPU was named."""
    if model.device.type != "cuda" or not model.spreads:
        return [model]
    own = torch.cuda.get_device_name(model.device)
    first = model.device.index or 0
    others = [
        index
        for index in range(torch.cuda.device_count())
        if index != first and torch.cuda.get_device_name(index) == own
    ]
    return [model, *(model.copy(device=torch.device("cuda", index)) for index in others)]


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
    yield from spread(wanted, replicas(model), weights, watch=watch, say=say, failed=failed)


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

    def work(model: ModelHandle) -> None:
        try:
            while not stop.is_set():
                try:
                    job: Job = waiting.popleft()
                except IndexError:
                    break
                for picture in local(job.wanted, model, weights, watch=watch_step, say=say, failed=failed):
                    results.put(picture)
        except _Stopped:
            pass
        except BaseException as error:  # raised by the thread that waits
            results.put(error)
        finally:
            results.put(None)

    workers = [threading.Thread(target=work, args=(model,), daemon=True) for model in models]
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
