"""The loop, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import torch
from torch import Tensor

from featvis import draws
from featvis.errors import CanvasError
from featvis.images.base import ImageSpace, Parameters
from featvis.models.handle import ModelHandle
from featvis.models.window import Window
from featvis.objectives.base import Objective, read
from featvis.optimizers import carry_state, make_optimizer, rate
from featvis.recipe import Recipe
from featvis.stages import plan_stages
from featvis.stepping import Body, Replaying, Stepping
from featvis.transforms.base import Transform
from featvis.transforms.chain import Chain


class Step:
    """One ascent step: its number, the scores of what the network saw, the images after it."""

    def __init__(self, number: int, scores: Tensor, space: ImageSpace, parameters: Parameters) -> None:
        self.number = number
        self.scores = scores
        """``(lanes,)``, of the transformed images, before this step moved them."""
        self._space, self._parameters = space, parameters

    @property
    def images(self) -> Tensor:
        """The images ``(lanes, C, H, W)`` as they stand now; decoded only when asked for."""
        with torch.no_grad():
            return self._space.decode(self._parameters)


def ascend(
    model: ModelHandle,
    objective: Objective,
    space: ImageSpace,
    *,
    steps: int,
    transforms: Sequence[Transform] = (),
    lanes: int = 1,
    seed: int = 0,
    optimizer: str = "adam",
    learning_rate: float = 0.02,
    momentum: float = 0.9,
    second_momentum: float = 0.99,
    schedule: str = "constant",
    redirect_steps: int = 16,
    precision: str = "float32",
    seen: tuple[int, int] | None = None,
    stages: Sequence[tuple[tuple[int, int], float]] = (),
    start: Parameters | None = None,
    streams: Sequence[Callable[[str], torch.Generator]] | None = None,
) -> Iterator[Step]:
    """Climb ``objective`` from ``space`` and yield each :class:`Step`; the model is given back at the end.

    Args:
        model: from :func:`featvis.load_model`.
        objective: scores ``(lanes,)``, larger is better.
        space: the learnable image space, with its size.
        steps: how many steps.
        transforms: applied to the images before the network sees them.
        lanes: how many pictures one step computes together; with ``streams`` absent, lane b is drawn
            from seed ``seed + b``.
        seed: of the first lane.
        optimizer: ``adam``, ``nadam`` or ``sgd``.
        learning_rate: of the optimizer.
        momentum: Adam's first beta, SGD's momentum.
        second_momentum: Adam's second beta.
        schedule: of the learning rate: ``constant``, ``cosine``, ``linear`` or ``warmup``.
        redirect_steps: for so many steps dead ReLUs pass the gradient that would wake them.
        precision: ``float32`` or ``bfloat16``.
        seen: (height, width) that the network is shown; by default the canvas.
        stages: smaller canvases to begin with: (height, width) and the share of the run at which each ends.
        start: the parameters to start from, with the lanes as first axis, on the first stage's canvas; by
            default drawn.
        streams: for each lane its chance, as :func:`featvis.draws.stream` makes it.
    """
    # What may be asked for, and the one line that refuses the rest, stands in the recipe.
    Recipe(
        steps=steps,
        lanes=lanes,
        optimizer=optimizer,
        learning_rate=learning_rate,
        momentum=momentum,
        second_momentum=second_momentum,
        schedule=schedule,
        redirect_steps=redirect_steps,
        precision=precision,
        size=space.canvas,
        stages=stages,
    )
    if space.channels != model.channels:
        raise CanvasError(
            f"{model.name} takes images of {model.channels} channels, the image space has {space.channels}"
        )
    parts = plan_stages(stages, space.canvas, steps)
    bound = objective.bind(model.at(seen or space.canvas))
    if streams is None:
        told = bound.describe()
        streams = [_stream(seed + lane, told) for lane in range(lanes)]
    smaller = space.resized(parts[0].size)
    if start is None:
        start = stack_parameters([smaller.draw(stream("start")) for stream in streams])
    device = model.device
    parameters = {name: value.to(device).requires_grad_() for name, value in start.items()}
    rates = [learning_rate * rate(schedule, step, steps) for step in range(steps)]
    replays = device.type == "cuda" and optimizer != "sgd"
    climber: torch.optim.Optimizer | None = None
    for part in parts:
        here = space.resized(part.size)
        if climber is not None:
            before, parameters = parameters, _grown(smaller, here, parameters)
            grow = partial(smaller.grow, larger=here)
        new = make_optimizer(
            optimizer, list(parameters.values()), learning_rate, momentum, second_momentum, capturable=replays
        )
        if climber is not None:
            carry_state(climber, before, new, parameters, grow)
        smaller, climber = here, new
        shown_size = seen or part.size
        bound = objective.bind(model.at(shown_size))
        chain = Chain(
            transforms,
            streams,
            steps=steps,
            channels=space.channels,
            canvas=part.size,
            seen=shown_size,
            device=device,
        )
        # A neuron does not need more of the canvas than it sees.
        place = bound.place()
        window = model.window(*place, shown_size) if place is not None else None
        if window is not None:
            bound, shown_size = bound.moved(window.position), window.size
        bound, only = gather_units(bound, model, len(streams), shown_size)
        with (
            bound.opened(device, precision) as ready,
            model.tap(bound.layers, size=shown_size, precision=precision, only=only) as activations,
        ):
            body = _body(here, parameters, chain, activations, ready, new, rates, window)
            take = Stepping(body, redirect_steps)
            if replays:
                take = Replaying(body, redirect_steps, part.first, device)
            for step in range(part.first, part.last):
                yield Step(step, take(step), here, parameters)


def _body(
    space: ImageSpace,
    parameters: Parameters,
    chain: Chain,
    activations: Callable[[Tensor], dict[str, Tensor]],
    bound: Objective,
    climber: torch.optim.Optimizer,
    rates: Sequence[float],
    window: Window | None,
) -> Body:
    """Return the step that everybody should be able to recite."""
    rates_there = None

    def body(step: int | Tensor) -> Tensor:
        nonlocal rates_there
        for group in climber.param_groups:
            if isinstance(group["lr"], Tensor):  # it lives on the device, where it is copied without a wait
                if rates_there is None:
                    rates_there = torch.tensor(rates, device=group["lr"].device)
                group["lr"].copy_(rates_there[step].squeeze())
            else:
                group["lr"] = rates[int(step)]
        images = space.decode(parameters)

        def transformed(given: Tensor) -> Tensor:
            return chain(given, step) if window is None else window.of(chain(given, step))

        found = read(bound, activations, images, transformed)
        scores = bound(found, images)
        find_slopes(scores)
        climber.step()
        climber.zero_grad(set_to_none=True)
        return scores.detach()

    return body


def find_slopes(scores: Tensor) -> None:
    """Leave in every parameter the gradient that an optimizer descends: ascent, turned by the one minus sign.

    A sum, for a mean would make a picture depend on the number of lanes through Adam's epsilon.
    """
    (-scores.sum()).backward()  # type: ignore[no-untyped-call]


def _grown(smaller: ImageSpace, here: ImageSpace, parameters: Parameters) -> Parameters:
    with torch.no_grad():
        grown = smaller.grow({name: value.detach() for name, value in parameters.items()}, here)
    return {name: value.contiguous().requires_grad_() for name, value in grown.items()}


def gather_units(
    bound: Objective, model: ModelHandle, lanes: int, seen: tuple[int, int]
) -> tuple[Objective, dict[str, tuple[int, ...]]]:
    """Let the last layer compute only what is climbed, where that is exact."""
    gathered, only = bound.gather(lanes)
    if only and all(model.can_gather(layer, bound.layers, seen) for layer in only):
        return gathered, only
    return bound, {}


def stack_parameters(each: Sequence[Parameters]) -> Parameters:
    """Put the parameters of single pictures side by side, the lanes as first axis."""
    return {name: torch.stack([one[name] for one in each]) for name in each[0]}


def _stream(seed: int, told: str) -> Callable[[str], torch.Generator]:
    return lambda purpose: draws.stream(seed, told, 0, purpose)
