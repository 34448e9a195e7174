"""Jobs on the machines of a Ray cluster, or on this one by a cluster that is started for the run.

The driver plans and writes; workers, which are Ray's actors, hold the networks and compute. Nothing but bytes
goes between them, so the machines need no shared files.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import logging
import math
import os
import queue
import warnings
from collections.abc import Callable, Hashable, Iterator, Sequence
from functools import partial
from typing import Any

from featvis.devices import is_gpu
from featvis.errors import RecipeError, count_of
from featvis.models.handle import ModelHandle
from featvis.plan.wanted import Wanted
from featvis.results.picture import Picture
from featvis.run.executors.crew import Done, Event, Lost, Ready, make_shares, share_out
from featvis.run.executors.parcels import Packer
from featvis.run.executors.register import executor
from featvis.run.executors.worker import Worker
from featvis.run.job import Watch
from featvis.spec.options import AtLeastOne, NonNegative, Positive

log = logging.getLogger(__name__)
_KEPT: set[str] = set()
"""Holds ``local`` while a cluster of ours is there. It ends with the process: Ray numbers its actors alike in
every cluster, and those of a process' second one are taken for those of its first."""
_STARTS = 3
"""How often a cluster is tried to be started: on a busy machine Ray's own processes give each other too
little time."""


@executor(
    "ray",
    about="by workers of a Ray cluster, or of several processes here",
    remote=True,
    needs="ray",
    extra="ray",
)
def ray(
    wanted: Sequence[Wanted],
    model: ModelHandle,
    weights: str,
    *,
    watch: Watch | None = None,
    say: Callable[[str], None] | None = None,
    failed: Callable[[Wanted, str], None] | None = None,
    crew: Callable[[int], None] | None = None,
    workers: AtLeastOne | None = None,
    address: str | None = None,
    num_cpus: Positive | None = None,
    num_gpus: NonNegative | None = None,
) -> Iterator[Picture]:
    """Compute pictures as every :class:`~featvis.run.executors.register.Executor` does.

    ``workers`` are as many as there is room for, if not given. Without ``address`` (``auto``,
    ``HOST:6379``) a cluster of this machine is started, which ends with the process. Each worker takes
    ``num_cpus``, by default the recipe's threads, and ``num_gpus``, by default one where the network is on a
    GPU; one that has a share of a GPU computes on it.
    """
    jobs = make_shares(wanted)
    if not jobs:
        return
    gpus = float(num_gpus if num_gpus is not None else is_gpu(model.device))
    if is_gpu(model.device) and not gpus:
        raise RecipeError(
            "the network is on a GPU, and num_gpus=0 gives the workers none; load it on the CPU"
        )
    cpus = num_cpus or (1.0 if gpus else float(max(job.recipe.threads or 1 for job in jobs)))
    device = "cuda" if gpus else "cpu" if is_gpu(model.device) else model.device.type
    with _joined(address, None if workers is None else workers * cpus, say):
        nodes, room = _room(cpus, gpus)
        if workers is None and not room:
            raise RecipeError(
                f"no machine of the cluster has room for a worker with {cpus:g} CPUs and {gpus:g} GPUs; "
                "num_cpus, num_gpus say what a worker takes"
            )
        count = min(workers or room, len(jobs))
        if say is not None:
            say(f"{count_of(count, 'worker')} of a Ray cluster of {count_of(nodes, 'machine')}")
        pickling = importlib.import_module("ray.cloudpickle")
        packer = Packer(model, pickling, (item.recipe for item in wanted))
        cluster = _RayCluster(packer, device, cpus, gpus)
        pack = partial(packer.job, weights=weights, goes_on=failed is not None)
        yield from share_out(jobs, cluster, pack, count, say=say, failed=failed, crew=crew)


class _Actor(Worker):
    """A worker whose networks come from the cluster's object store."""

    def __init__(self, device: str) -> None:
        self._kept: list[Any] = []
        super().__init__(self._fetch, device)

    def _fetch(self, number: int) -> bytes:
        content: bytes = importlib.import_module("ray").get(self._kept[number])
        return content

    def begin(self, networks: list[Any]) -> dict[str, str]:
        """Take where networks are, read the one that is climbed, and say what this worker is."""
        self._kept += networks
        return self.about()

    def take(self, content: bytes, networks: list[Any]) -> bytes:
        """Compute a job, with further networks that it may name."""
        self._kept += networks
        return self.do(content)


class _RayCluster:
    """Ray's actors as workers; each is heard of through the futures of what it was asked."""

    def __init__(self, packer: Packer, device: str, cpus: float, gpus: float) -> None:
        self._ray = importlib.import_module("ray")
        self._packer, self._device = packer, device
        # A lost worker is started anew by us, not by max_restarts: only then is it known what it had.
        kind = self._ray.remote(_Actor)
        self._kind = kind.options(num_cpus=cpus, num_gpus=gpus, max_restarts=0, max_task_retries=0)
        self._networks: list[Any] = []
        self._workers: dict[int, Any] = {}
        self._sent: dict[int, int] = {}
        self._asked = 0
        self._happened: queue.SimpleQueue[tuple[int, bool, Any]] = queue.SimpleQueue()

    def start(self) -> int:
        worker = self._asked = self._asked + 1
        self._workers[worker] = self._kind.remote(self._device)
        self._hear(worker, True, self._workers[worker].begin.remote(self._unsent(worker)))
        return worker

    def give(self, worker: Hashable, content: bytes) -> None:
        assert isinstance(worker, int)
        actor = self._workers[worker]
        self._hear(worker, False, actor.take.remote(content, self._unsent(worker)))

    def wait(self, seconds: float) -> list[Event]:
        found: list[Event] = []
        with contextlib.suppress(queue.Empty):
            found += self._event(*self._happened.get(timeout=seconds))
            while True:
                found += self._event(*self._happened.get_nowait())
        return found

    def stop(self) -> None:
        for actor in self._workers.values():
            with contextlib.suppress(Exception):
                self._ray.kill(actor)
        self._workers.clear()
        self._networks.clear()

    def _unsent(self, worker: int) -> list[Any]:
        """Return where the networks are that a worker does not know of; new ones are put there once."""
        for number in range(len(self._networks), len(self._packer.networks)):
            self._networks.append(self._ray.put(self._packer.network(number)))
        first, self._sent[worker] = self._sent.get(worker, 0), len(self._networks)
        return self._networks[first:]

    def _hear(self, worker: int, begins: bool, reference: Any) -> None:
        def done(future: Any) -> None:
            self._happened.put((worker, begins, future.exception() or future.result()))

        reference.future().add_done_callback(done)

    def _event(self, worker: int, begins: bool, result: Any) -> list[Event]:
        if worker not in self._workers:  # further jobs of one that is lost
            return []
        if not isinstance(result, BaseException):
            return [Ready(worker, result) if begins else Done(worker, result)]
        actor = self._workers.pop(worker)
        with contextlib.suppress(Exception):
            self._ray.kill(actor)
        errors = importlib.import_module("ray.exceptions")
        if isinstance(result, errors.RayTaskError):  # of our own code; a job's errors are told otherwise
            raise result.as_instanceof_cause()
        # Of a process that has ended the machine it ran on tells at once; where nobody does, that is gone.
        gone = isinstance(result, errors.ActorUnavailableError) or "node has died" in str(result)
        return [Lost(worker, _reason(result), blameless=gone)]


_NUMBERS = ("class_name:", "actor_id:", "namespace:", "pid:", "name:", "The actor died unexpectedly before")


def _reason(error: BaseException) -> str:
    """Return one line of what Ray says, without its numbers of actors and its guesses."""
    lines = [line.strip() for line in str(error).splitlines()]
    line = " ".join(one for one in lines if one and not one.startswith(_NUMBERS))
    return line.partition(" Some common causes")[0][:300] or type(error).__name__


def _room(cpus: float, gpus: float) -> tuple[int, int]:
    """Return how many machines a cluster has, and how many workers fit."""
    nodes = [node for node in importlib.import_module("ray").nodes() if node["Alive"]]
    fits = []
    for node in nodes:
        own = node["Resources"]
        by_cpus = math.floor(own.get("CPU", 0) / cpus + 1e-6)
        fits.append(min(by_cpus, math.floor(own.get("GPU", 0) / gpus + 1e-6)) if gpus else by_cpus)
    return len(nodes), sum(fits)


@contextlib.contextmanager
def _joined(address: str | None, cpus: float | None, say: Callable[[str], None] | None) -> Iterator[None]:
    """Be connected to a cluster: the process' own, the one named, or one that is started for this."""
    ray = importlib.import_module("ray")
    if ray.is_initialized() and _KEPT and address is not None:
        ray.shutdown()
        _KEPT.clear()
    if ray.is_initialized():
        if address is not None:
            raise RecipeError(
                f"this process is connected to a Ray cluster already; leave out address={address!r}"
            )
        yield
        return
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address is None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # a cluster of ours tells nobody
        own = os.cpu_count() or 1
        quiet |= {"include_dashboard": False, "num_cpus": max(own, math.ceil(cpus or own))}
    for left in reversed(range(1 if address else _STARTS)):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                ray.init(address=address or "local", **quiet)
            if address is None:
                _KEPT.add("local")
            break
        except Exception as error:
            ray.shutdown()  # whatever of it has started
            if not left:
                what = (
                    "a Ray cluster cannot be started" if address is None else f"no Ray cluster at {address!r}"
                )
                raise RecipeError(f"{what}: {' '.join(str(error).split())[:300]}") from None
    private = importlib.import_module("ray._private.worker")
    told = getattr(private, "print_to_stdstream", None)
    try:
        # Ray tells of lost workers on stdout, which is for results; we tell of them ourselves.
        private.print_to_stdstream = lambda data, *_, **__: log.debug("%s", data.get("lines"))  # type: ignore[attr-defined]
        yield
    finally:
        gc.collect()  # handles of actors are in circles
        if address is not None:
            ray.shutdown()
        if told is not None:
            private.print_to_stdstream = told  # type: ignore[attr-defined]
