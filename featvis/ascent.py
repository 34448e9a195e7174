"""The loop, and nothing else."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor

from featvis import draws
from featvis.errors import CanvasError
from featvis.images.base import ImageSpace, Parameters
from featvis.models.handle import ModelHandle
from featvis.objectives.base import Objective
from featvis.recipe import Recipe
from featvis.redirect import RedirectedReLU
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
        start: the parameters to start from, with the lanes as first axis; by default drawn.
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
    )
    if space.channels != model.channels:
        raise CanvasError(
            f"{model.name} takes images of {model.channels} channels, the image space has {space.channels}"
        )
    seen = seen or space.canvas
    bound = objective.bind(model.at(seen))
    if streams is None:
        told = bound.describe()
        streams = [_stream(seed + lane, told) for lane in range(lanes)]
    device = model.device
    if start is None:
        start = stack_parameters([space.draw(stream("start")) for stream in streams])
    parameters = {name: value.to(device).requires_grad_() for name, value in start.items()}
    climber = _optimizer(optimizer, list(parameters.values()), learning_rate, momentum, second_momentum)
    chain = Chain(
        transforms,
        streams,
        steps=steps,
        channels=space.channels,
        canvas=space.canvas,
        seen=seen,
        device=device,
    )
    with model.tap(bound.layers, size=seen, precision=precision) as activations:
        for step in range(steps):
            for group in climber.param_groups:
                group["lr"] = learning_rate * rate(schedule, step, steps)
            images = space.decode(parameters)
            shown = chain(images, step)
            with RedirectedReLU() if step < redirect_steps else nullcontext():
                found = activations(shown) if bound.layers else {}
            scores = bound(found, images)
            (-scores.sum()).backward()  # type: ignore[no-untyped-call]
            climber.step()
            climber.zero_grad(set_to_none=True)
            yield Step(step, scores.detach(), space, parameters)


def stack_parameters(each: Sequence[Parameters]) -> Parameters:
    """Put the parameters of single pictures side by side, the lanes as first axis."""
    return {name: torch.stack([one[name] for one in each]) for name in each[0]}


def rate(schedule: str, step: int, steps: int) -> float:
    """Return the factor of the learning rate at a step.

    >>> [round(rate("cosine", step, 4), 2) for step in range(4)]
    [1.0, 0.85, 0.5, 0.15]
    """
    share = step / steps
    if schedule == "cosine":
        return (1 + math.cos(math.pi * share)) / 2
    if schedule == "linear":
        return 1 - share
    if schedule == "warmup":
        return min(1.0, (step + 1) / max(1, round(steps / 10)))
    return 1.0


def _stream(seed: int, told: str) -> Callable[[str], torch.Generator]:
    return lambda purpose: draws.stream(seed, told, 0, purpose)


def _optimizer(
    name: str, parameters: list[Tensor], learning_rate: float, momentum: float, second_momentum: float
) -> torch.optim.Optimizer:
    betas = (momentum, second_momentum)
    if name == "adam":
        return torch.optim.Adam(parameters, lr=learning_rate, betas=betas, fused=True)
    if name == "nadam":
        return torch.optim.NAdam(parameters, lr=learning_rate, betas=betas)
    options: dict[str, Any] = {"momentum": momentum, "fused": True}
    return torch.optim.SGD(parameters, lr=learning_rate, **options)
