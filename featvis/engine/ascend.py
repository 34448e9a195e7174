"""The loop, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from functools import partial

import torch
from torch import Tensor

from featvis import draws
from featvis.engine.look import Look, copies_of
from featvis.engine.move import Mover, drawn_at
from featvis.engine.replay import Body, Replaying, Stepping
from featvis.engine.transparency import Gathered
from featvis.errors import CanvasError
from featvis.images.base import ImageSpace, Parameters
from featvis.models.handle import ModelHandle
from featvis.objectives.base import Objective
from featvis.objectives.reference import References
from featvis.spec.recipe import Recipe
from featvis.spec.stages import plan_stages
from featvis.transforms.base import Transform
from featvis.transforms.chain import Chain, with_background


class Step:
    """One ascent step: its number, the scores of what the network saw, the images after it."""

    def __init__(
        self,
        number: int,
        scores: Tensor,
        space: ImageSpace,
        parameters: Parameters | Callable[[], Parameters],
    ) -> None:
        self.number = number
        self.scores = scores
        """``(lanes,)``, of the transformed images, before this step moved them."""
        self._space, self._parameters = space, parameters

    @property
    def images(self) -> Tensor:
        """The images ``(lanes, C, H, W)`` as they stand now; decoded only when asked for."""
        with torch.no_grad():
            return self._space.decode(self._standing())

    def images_at(self, size: tuple[int, int]) -> Tensor:
        """Return the images ``(lanes, C, height, width)`` at another size, drawn anew and not resized.

        Args:
            size: (height, width).

        Raises:
            CanvasError: the image space has its parameters for one size only.
        """
        space = self._space
        if not space.any_size and tuple(size) != space.canvas:
            raise CanvasError(
                f"the image space {space.part_name!r} is drawn at the size that it was climbed at, "
                f"{space.canvas[0]}x{space.canvas[1]}; 'cppn' is drawn at any"
            )
        with torch.no_grad():
            return space.resized((int(size[0]), int(size[1]))).decode(self._standing())

    def _standing(self) -> Parameters:
        return self._parameters() if callable(self._parameters) else self._parameters


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
    copies: int = 1,
    hold: int | None = None,
    average: float = 0.0,
    gradient_norm: float | None = None,
    gradient_clip: float | None = None,
    pool_gradients: str = "max",
    precision: str = "float32",
    seen: tuple[int, int] | None = None,
    stages: Sequence[tuple[tuple[int, int], float]] = (),
    start: Parameters | None = None,
    finer: Sequence[Parameters] = (),
    streams: Sequence[Callable[[str], torch.Generator]] | None = None,
    gathered: Gathered | None = None,
) -> Generator[Step, None, None]:
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
        optimizer: ``adam``, ``nadam``, ``sgd`` or ``lbfgs``, of which a step is one evaluation.
        learning_rate: of the optimizer.
        momentum: Adam's first beta, SGD's momentum.
        second_momentum: Adam's second beta.
        schedule: of the learning rate: ``constant``, ``cosine``, ``linear``, ``warmup`` or
            ``warmup_cosine``.
        redirect_steps: for so many steps dead ReLUs pass the gradient that would wake them.
        copies: passes of each step, each with transforms drawn anew; their mean is climbed.
        hold: for so many steps the transforms stay as drawn; by default 1, and 16 for ``lbfgs``.
        average: decay of the moving average of the parameters that the images are decoded from; 0: of none.
        gradient_norm: the length that each picture's gradient gets, over all its parameters.
        gradient_clip: the greatest length that it may have.
        pool_gradients: ``max``, or ``average`` or ``l2`` for those of smoother pools.
        precision: ``float32`` or ``bfloat16``.
        seen: (height, width) that the network is shown; by default the canvas.
        stages: smaller canvases to begin with: (height, width) and the share of the run at which each ends.
        start: the parameters to start from, with the lanes as first axis, on the first stage's canvas; by
            default drawn.
        finer: for each stage after the first, what is added to the parameters as its canvas is grown: the
            detail of a start image that the smaller canvas could not hold.
        streams: for each lane its chance, as :func:`featvis.draws.stream` makes it.
        gathered: gathers the slopes of what is climbed by each pixel; what is climbed does not depend on it.
    """
    # What may be asked for, and the one line that refuses the rest, stands in the recipe.
    recipe = Recipe(
        steps=steps,
        lanes=lanes,
        optimizer=optimizer,
        learning_rate=learning_rate,
        momentum=momentum,
        second_momentum=second_momentum,
        schedule=schedule,
        redirect_steps=redirect_steps,
        copies=copies,
        hold=hold,
        average=average,
        gradient_norm=gradient_norm,
        gradient_clip=gradient_clip,
        pool_gradients=pool_gradients,
        precision=precision,
        size=space.canvas,
        stages=stages,
    )
    if space.channels != model.channels:
        raise CanvasError(
            f"{model.name} takes images of {model.channels} channels, the image space has {space.channels}"
        )
    transforms = with_background(transforms, space.backdrop)
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
    passes = list(zip(*(copies_of(stream, copies) for stream in streams), strict=True))
    replays = device.type == "cuda" and optimizer not in ("sgd", "lbfgs")
    move: Mover | None = None
    for part in parts:
        here = space.resized(part.size)
        if move is None:
            move = Mover(parameters, recipe, replays=replays)
        else:
            before, old = parameters, move
            parameters = _grown(smaller, here, old.base, finer[parts.index(part) - 1] if finer else {})
            move = Mover(parameters, recipe, replays=replays)
            move.carry(old, before, parameters, partial(smaller.grow, larger=here))
        smaller = here
        if gathered is not None:
            gathered.begin(len(streams), part.size, device)
        shown_size = seen or part.size
        bound = objective.bind(model.at(shown_size))
        chains = [
            Chain(
                transforms,
                each,
                steps=steps,
                channels=space.channels,
                canvas=part.size,
                seen=shown_size,
                device=device,
            )
            for each in passes
        ]
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
            photographs = References(ready, part.size, len(streams), device, moved=bool(transforms))
            look = Look(
                here,
                chains,
                activations,
                ready,
                window=window,
                pool_gradients=pool_gradients,
                photographs=photographs,
                gathered=gathered,
            )
            body = _body(look, parameters, move, recipe)
            take = Stepping(body, redirect_steps)
            if replays:
                take = Replaying(body, redirect_steps, part.first, device)
            for step in range(part.first, part.last):
                yield Step(step, take(step), here, move.stand)


def _body(look: Look, parameters: Parameters, move: Mover, recipe: Recipe) -> Body:
    """Return the step that everybody should be able to recite."""

    def body(step: int | Tensor) -> Tensor:
        scores = look(parameters, drawn_at(step, recipe))
        move(scores, step)
        return scores

    return body


def _grown(smaller: ImageSpace, here: ImageSpace, parameters: Parameters, finer: Parameters) -> Parameters:
    with torch.no_grad():
        grown = smaller.grow(parameters, here)
        grown = {
            name: value + finer[name].to(value.device) if finer else value for name, value in grown.items()
        }
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
