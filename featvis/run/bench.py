"""How close a whole step comes to the bare forward and backward pass, on this machine."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

from featvis.devices import name_of, peak_memory, wait
from featvis.engine.lanes import climb
from featvis.images.base import ImageSpace, Parameters
from featvis.models.handle import ModelHandle
from featvis.objectives.base import Composite, Objective, stack
from featvis.objectives.shown import Activations
from featvis.plan.wanted import Job
from featvis.run.job import climbed_objective, climbed_recipe, space_of, start_of, transforms_of
from featvis.run.prepare import prepare
from featvis.run.score import threads
from featvis.spec.recipe import Recipe
from featvis.transforms.base import Size, Transform

BLOCK = 5
"""Steps in a row before the other's turn; the first of them finds cold caches and is not counted."""


@dataclass(frozen=True)
class Measured:
    """What :func:`bench` found; milliseconds are for one picture and step."""

    bare_ms: float
    """The truncated forward pass and the backward pass to the pixels, nothing else."""
    step_ms: float
    """The engine's whole step, recipe included."""
    efficiency: float
    """``bare_ms / step_ms``."""
    pictures_per_minute: float
    """At the recipe's number of steps."""
    peak_mb: float
    device: str
    model: str
    layer: str
    size: tuple[int, int]
    lanes: int
    steps: int
    precision: str
    replayed: bool
    """Whether a GPU replayed the steps behind ``step_ms``."""
    breakdown: dict[str, float]
    """The parts of a step, timed in further steps, so that the clock is not in ``step_ms``.

    Of steps taken operation by operation: a GPU replays those behind ``step_ms`` whole.
    """

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        return asdict(self)


def bench(
    model: ModelHandle, layer: str, *, rounds: int = 20, recipe: Recipe | str | None = None, **changes: Any
) -> Measured:
    """Time the bare pass and the engine's step in turn, in one process, and return medians.

    Both see the same shapes, type and memory layout, with BatchNorm folded.

    Args:
        model: the network.
        layer: whose channels are rendered, as many as there are lanes.
        rounds: how many of each are counted.
        recipe: as for :func:`featvis.render`.
        **changes: fields of the recipe.
    """
    # The first steps' redirection is over after some steps; what is timed is what most steps cost.
    changes["redirect_steps"] = 0
    plan = prepare(model, f"{layer}:all", recipe=recipe, **changes).plan
    settled = plan.wanted[0].recipe
    lanes = [plan.wanted[lane % len(plan.wanted)] for lane in range(settled.lanes)]
    job = Job(tuple(lanes))
    with threads(settled.threads):
        bare, whole, parts, replayed = _time(job, model, rounds)
    step = statistics.median(whole) * 1000 / settled.lanes
    plain = statistics.median(bare) * 1000 / settled.lanes
    breakdown = {name: statistics.median(times) * 1000 / settled.lanes for name, times in parts.items()}
    return Measured(
        bare_ms=plain,
        step_ms=step,
        efficiency=plain / step,
        pictures_per_minute=60_000 / (step * settled.steps),
        peak_mb=peak_memory(model.device) / 2**20,
        device=name_of(model.device, settled.threads),
        model=model.name,
        layer=layer,
        size=settled.size,
        lanes=settled.lanes,
        steps=settled.steps,
        precision=settled.precision,
        replayed=replayed,
        breakdown=breakdown,
    )


def _time(
    job: Job, model: ModelHandle, rounds: int
) -> tuple[list[float], list[float], dict[str, list[float]], bool]:
    recipe = job.recipe
    blocks = -(-rounds // (BLOCK - 1)) + 1  # the first block of each is a warm-up: on a GPU one is recorded
    count = blocks * BLOCK + 1
    bare: list[float] = []
    whole: list[float] = []
    clock = _Clock(model.device)
    climbed = climbed_objective(job)
    objective = stack([wanted.objective for wanted in job.wanted])
    space = space_of(recipe, model)
    run = climbed_recipe(job).model_copy(update={"steps": count, "stages": ()})
    streams = [wanted.stream for wanted in job.wanted]
    start, transforms = start_of(job.wanted, space), transforms_of(recipe)
    plain_steps = climb(model, climbed, space, run, streams, transforms=transforms, start=start)
    timed_steps = climb(
        _TimedModel(model, clock),  # type: ignore[arg-type]
        _TimedObjective(climbed, clock),
        _TimedSpace(space, clock),  # type: ignore[arg-type]
        run,
        streams,
        transforms=[_TimedTransform(transform, clock) for transform in transforms],
        start=start,
        replays=False,  # within a recording nothing can be timed
    )
    seen = recipe.shown_size
    images = torch.rand((recipe.lanes, model.channels, *seen), device=model.device)
    bare_model = model.copy()  # its modules as they are, whatever the engine makes of them
    next(plain_steps)  # from here on the network is borrowed and folded
    with bare_model.tap(
        objective.layers, size=seen, precision=recipe.precision, cheaper=False
    ) as activations:
        shown = activations.prepare(images)

        def bare_pass() -> None:
            leaf = shown.detach().requires_grad_()
            scores = objective(activations.read(leaf), images)
            torch.autograd.grad(scores.sum(), leaf)

        replayed = False

        def whole_step() -> None:
            nonlocal replayed
            replayed = next(plain_steps).replayed

        for block in range(blocks):
            for take, times in ((bare_pass, bare), (whole_step, whole)):
                for place in range(BLOCK):
                    began = clock.now()
                    take()
                    if block and place:
                        times.append(clock.now() - began)
    plain_steps.close()
    hooks = (
        register_optimizer_step_pre_hook(lambda *_: clock.hand_over("backward", "optimizer")),
        register_optimizer_step_post_hook(lambda *_: clock.hand_over("optimizer", None)),
    )
    try:
        for _ in timed_steps:
            clock.turn()
    finally:
        for hook in hooks:
            hook.remove()
    return bare, whole, {name: times[BLOCK:] for name, times in clock.times.items()}, replayed


class _Clock:
    """Adds up the time of each part of a step; waits for the device at both ends."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._open: dict[str, float] = {}
        self._began = self._turned = self.now()
        self.times: dict[str, list[float]] = {}

    def now(self) -> float:
        wait(self._device)
        return time.perf_counter()

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        began = self.now()
        yield
        self._open[name] = self._open.get(name, 0.0) + self.now() - began

    def hand_over(self, ended: str | None, begun: str | None) -> None:
        """One part ends where the next begins."""
        now = self.now()
        if ended is not None:
            self._open[ended] = self._open.get(ended, 0.0) + now - self._began
        if begun is not None:
            self._began = now

    def turn(self) -> None:
        """A step is over: what none of its parts took is the host's."""
        now = self.now()
        self._open["host"] = max(0.0, now - self._turned - sum(self._open.values()))
        for name, seconds in self._open.items():
            self.times.setdefault(name, []).append(seconds)
        self._open, self._turned = {}, now


class _TimedSpace:
    def __init__(self, space: ImageSpace, clock: _Clock) -> None:
        self._space, self._clock = space, clock

    def __getattr__(self, name: str) -> Any:
        return getattr(self._space, name)

    def resized(self, size: Size) -> _TimedSpace:
        return _TimedSpace(self._space.resized(size), self._clock)

    def decode(self, parameters: Parameters) -> Tensor:
        with self._clock.part("image space"):
            return self._space.decode(parameters)


class _TimedTransform(Transform):
    def __init__(self, transform: Transform, clock: _Clock) -> None:
        self._transform, self._clock = transform, clock
        self.part_name, self.numbers = transform.part_name, transform.numbers  # type: ignore[misc]
        self.resizes = transform.resizes  # type: ignore[misc]

    def copies(self) -> int:
        return self._transform.copies()

    def prepare(self, uniform: Tensor, progress: Tensor, canvas: Size, shown_size: Size) -> Tensor:
        return self._transform.prepare(uniform, progress, canvas, shown_size)

    def draw_field(self, generator: torch.Generator, channels: int, shown_size: Size) -> Tensor | None:
        return self._transform.draw_field(generator, channels, shown_size)

    def keep_fields(self, fields: Tensor) -> Tensor:
        return self._transform.keep_fields(fields)

    def apply(self, images: Tensor, values: Tensor, field: Tensor | None, shown_size: Size) -> Tensor:
        with self._clock.part("transforms"):
            return self._transform.apply(images, values, field, shown_size)


class _TimedObjective(Composite):
    def __init__(self, objective: Objective, clock: _Clock) -> None:
        self._clock = clock
        super().__init__([objective])

    def describe(self) -> str:
        return self.inner[0].describe()

    def score(self, activations: Activations, images: Tensor) -> Tensor:
        with self._clock.part("objective"):
            scores = self.inner[0].score(activations, images)
        self._clock.hand_over(None, "backward")
        return scores


class _TimedModel:
    def __init__(self, model: ModelHandle, clock: _Clock) -> None:
        self._model, self._clock = model, clock

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    @contextmanager
    def tap(self, layers: Sequence[str], **options: Any) -> Iterator[Callable[[Tensor], Any]]:
        with self._model.tap(layers, **options) as activations:

            def timed(images: Tensor) -> Any:
                with self._clock.part("forward"):
                    return activations(images)

            yield timed
