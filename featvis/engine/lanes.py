"""The loop: pictures that climb together, a lane each, each by its own count of steps."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial

import torch
from torch import Tensor

from featvis.devices import is_gpu
from featvis.engine.look import Evaluate, Stream, opened, streams_of_passes
from featvis.engine.move import BatchMover, LaneMover, Mover
from featvis.engine.record import recorder_for
from featvis.engine.replay import REPLAYED, WARM_UP, Replaying, Take
from featvis.engine.transparency import PixelGradients
from featvis.errors import CanvasError
from featvis.images.base import ImageSpace, Parameters
from featvis.models.borrow.wake import RedirectedReLU
from featvis.models.handle import ModelHandle
from featvis.objectives.base import Objective
from featvis.spec.recipe import Recipe
from featvis.spec.stages import Stage, plan_stages
from featvis.transforms.base import Transform
from featvis.transforms.chain import Chain, with_background


class Step:
    """One ascent step: its number, the scores of what the network was shown, the images after it.

    >>> import featvis as fv, torch
    >>> module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3))
    >>> model = fv.load_model(module, mean=(0.5,) * 3, std=(0.5,) * 3, input_size=16)
    >>> steps = list(fv.ascend(model, fv.channel("0", 1), fv.PixelImage(size=(16, 12)), steps=2, lanes=3))
    >>> steps[-1].number, steps[-1].scores.shape, steps[-1].images.shape
    (1, torch.Size([3]), torch.Size([3, 3, 16, 12]))
    """

    def __init__(
        self,
        number: int,
        scores: Tensor,
        space: ImageSpace,
        parameters: Parameters | Callable[[], Parameters],
        *,
        replayed: bool = False,
    ) -> None:
        self.number = number
        self.replayed = replayed
        """Whether a GPU replayed it, and the host did not take it operation by operation."""
        self.scores = scores
        """``(lanes,)``, of the transformed images, before this step moved them."""
        self._space, self._parameters = space, parameters

    @property
    def images(self) -> Tensor:
        """The images ``(lanes, C, H, W)`` as they stand now; decoded only when asked for."""
        with torch.no_grad():
            return self._space.decode(self._current())

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
            return space.resized((int(size[0]), int(size[1]))).decode(self._current())

    def _current(self) -> Parameters:
        return self._parameters() if callable(self._parameters) else self._parameters


class Lanes:
    """Pictures on one canvas: what each lane has reached, its draws, and how many steps it has taken.

    All lanes count alike, except with a recipe's ``patience``: then a lane may be given to another picture
    (:meth:`refill`), which begins at its own step 0.
    """

    def __init__(
        self,
        space: ImageSpace,
        recipe: Recipe,
        streams: Sequence[Stream],
        transforms: Sequence[Transform],
        parameters: Parameters,
        stage: Stage,
        pixel_gradients: PixelGradients | None = None,
        *,
        replays: bool = True,
    ) -> None:
        """Begin at the parameters as they are, each ``(lanes, …)``; they are moved in place.

        The image space is on the stage's canvas; ``streams`` are the lanes' random numbers.
        """
        device = next(iter(parameters.values())).device
        self.space, self.recipe, self.stage = space, recipe, stage
        self.parameters = {name: value.detach().requires_grad_() for name, value in parameters.items()}
        self.taken = [stage.first] * recipe.lanes
        """The steps that each lane's picture has taken."""
        self.wake_steps = [recipe.redirect_steps] * recipe.lanes
        """For how many steps dead ReLUs pass each lane's gradient."""
        self._number = stage.first
        self._transforms = with_background(transforms, space.backdrop)
        passes = zip(*(streams_of_passes(stream, recipe.copies) for stream in streams), strict=True)
        self._chains = [
            Chain(
                self._transforms,
                streams_of_pass,
                steps=recipe.steps,
                channels=space.channels,
                canvas=stage.size,
                shown_size=recipe.input_size or stage.size,
                device=device,
            )
            for streams_of_pass in passes
        ]
        self._device = device
        self._replayable = space.replayable and all(one.replayable for one in self._transforms)
        fits = replays and self._replayable and not recipe.patience and recipe.optimizer in REPLAYED
        self._recorder = recorder_for(device) if fits else None
        self._replaying: Replaying | None = None
        self._replayed = 0
        self.move: Mover = (
            LaneMover(self.parameters, recipe, self.taken)
            if recipe.patience
            else BatchMover(self.parameters, recipe, capturable=self._recorder is not None and is_gpu(device))
        )
        self._pixel_gradients = pixel_gradients
        self._decode: Callable[[Parameters], Tensor] = space.decode
        if pixel_gradients is not None:
            pixel_gradients.begin(recipe.lanes, stage.size, device)
            self._decode = pixel_gradients.watched(space.decode)

    def climb(self, model: ModelHandle, objective: Objective) -> Generator[Step, None, None]:
        """Take steps until a lane has taken its last, or nobody asks for more; yield each.

        The network is given back on every way out. With ``patience`` this may be called again, for what the
        lanes hold then.
        """
        decode, parameters, move = self._decode, self.parameters, self.move
        # Nothing else gets a gradient: a user's function may hold weights that are still to be trained.
        climbed = [value for value in parameters.values() if value.requires_grad]
        with self._opened(model, objective) as passes:  # the network: tapped, frozen, truncated, restored

            def compute(step: int | Tensor) -> Tensor:
                images = decode(parameters)  # (lanes, C, H, W) in [0, 1]
                # With copies, gradients add up in the pixels, so that memory does not grow.
                pixels = images if len(passes) == 1 else images.detach().requires_grad_()
                scores = []
                for evaluate in passes:  # one, or one for each of the recipe's copies
                    scores += [evaluate(pixels, step) / len(passes)]  # transformed, shown, scored: (lanes,)
                    leaves = climbed if pixels is images else [pixels]
                    torch.autograd.backward(-scores[-1].sum(), inputs=leaves)  # the one minus sign
                if pixels is not images:
                    torch.autograd.backward(images, pixels.grad, inputs=climbed)
                score = torch.stack(scores).detach().sum(0)
                move(score, step)  # parameters follow their gradients, which are cleared
                return score

            take_step = self._recorded(compute, model, objective)  # on a GPU recorded once, then replayed
            while max(self.taken) < self.stage.last:  # the steps that each lane has taken
                with self._waking():  # in the first steps, dead ReLUs pass gradients
                    score = take_step(self._step())
                yield self._count(score)  # a Step: its number, scores, images

    def refill(self, lane: int, parameters: Parameters, stream: Stream, wake_steps: int) -> None:
        """Give a lane to another picture, which begins at its own step 0.

        Args:
            lane: its number.
            parameters: the picture's start, without an axis of lanes.
            stream: its random numbers.
            wake_steps: for how many steps dead ReLUs pass its gradient.
        """
        self.taken[lane], self.wake_steps[lane] = 0, wake_steps
        with torch.no_grad():
            for name, value in self.parameters.items():
                value[lane] = parameters[name].to(value.device)
        for chain, own in zip(self._chains, streams_of_passes(stream, self.recipe.copies), strict=True):
            chain.redraw(lane, own)
        if self._pixel_gradients is not None:
            self._pixel_gradients.forget(lane)
        assert isinstance(self.move, LaneMover)  # only with patience are lanes refilled
        self.move.forget(lane)

    def grown(self, space: ImageSpace, finer: Parameters) -> Parameters:
        """Return what the lanes have reached on another image space's larger canvas, with ``finer`` added."""
        with torch.no_grad():
            values = self.space.grow(self.move.reached, space)
            if finer:
                values = {name: value + finer[name].to(value.device) for name, value in values.items()}
        return {name: value.contiguous() for name, value in values.items()}

    def _opened(self, model: ModelHandle, objective: Objective) -> AbstractContextManager[list[Evaluate]]:
        moved = bool(self._transforms)
        return opened(model, objective, self._chains, self.recipe, self.stage.size, moved=moved)

    def _recorded(self, compute: Take, model: ModelHandle, objective: Objective) -> Take:
        if self._recorder is None or not objective.replayable:
            return compute
        self._replaying = Replaying(
            compute,
            # The steps that wake dead units are other steps; what is recorded must have run itself.
            max(self.stage.first, self.recipe.redirect_steps) + WARM_UP,
            self._recorder,
            self._device,
            parameters=list(self.parameters.values()),
            state=self._state,
            kind=(
                str(self._device),
                model.name,
                type(model.module),
                objective.layers,
                objective.kind(),
                self.recipe.model_dump_json(),
                self.stage,
            ),
            precision=self.recipe.precision,
        )
        return self._replaying

    def _state(self) -> list[Tensor]:
        gathered = self._pixel_gradients.sums if self._pixel_gradients is not None else None
        return [*self.move.state(), *([] if gathered is None else [gathered])]

    def _step(self) -> int | Tensor:
        """The number of the step: one for all lanes, or each lane's own on the device."""
        return torch.tensor(self.taken, device=self._device) if self.recipe.patience else self.taken[0]

    def _waking(self) -> AbstractContextManager[object]:
        woken = [taken < most for taken, most in zip(self.taken, self.wake_steps, strict=True)]
        if not any(woken):
            return nullcontext()
        if all(woken):
            return RedirectedReLU()
        return RedirectedReLU(torch.tensor(woken * self._chains[0].copies, device=self._device))

    def _count(self, scores: Tensor) -> Step:
        # In place, for the mover looks at the same counts.
        self.taken[:] = [taken + 1 for taken in self.taken]
        self._number += 1
        replayed = self._replaying is not None and self._replaying.replayed > self._replayed
        self._replayed += replayed
        return Step(self._number - 1, scores, self.space, self.move.current, replayed=replayed)


def climb(
    model: ModelHandle,
    objective: Objective,
    space: ImageSpace,
    recipe: Recipe,
    streams: Sequence[Stream],
    *,
    transforms: Sequence[Transform],
    start: Parameters | None = None,
    finer: Sequence[Parameters] = (),
    pixel_gradients: PixelGradients | None = None,
    replays: bool = True,
) -> Generator[Step, None, None]:
    """Climb an objective by a recipe and yield each step; the model is given back on every way out.

    Args:
        model: the network.
        objective: scores ``(lanes,)``, larger is better.
        space: the image space, on the whole canvas.
        recipe: how to climb; its ``space``, ``transforms`` and ``penalties`` are not read.
        streams: of each of the recipe's lanes, its random numbers.
        transforms: applied to the images before the network sees them.
        start: the parameters to start from, with the lanes as first axis, on the first stage's canvas; by
            default drawn.
        finer: for each stage after the first, what is added to the parameters as its canvas is grown: the
            detail of a start image that the smaller canvas could not hold.
        pixel_gradients: gathers the gradient by each pixel; what is climbed does not depend on it.
        replays: whether a GPU may record a step and replay it.

    Raises:
        CanvasError: the image space has other channels than the network.
    """
    if space.channels != model.channels:
        raise CanvasError(
            f"{model.name} takes images of {model.channels} channels, the image space has {space.channels}"
        )
    stages = plan_stages(recipe.stages, space.canvas, recipe.steps)
    if start is None:
        first = space.resized(stages[0].size)
        start = stack_parameters([first.draw(stream("start")) for stream in streams])
    parameters = {name: value.to(model.device, copy=True) for name, value in start.items()}
    smaller: Lanes | None = None
    for place, stage in enumerate(stages):
        stage_space = space.resized(stage.size)
        if smaller is not None:
            parameters = smaller.grown(stage_space, finer[place - 1] if finer else {})
        lanes = Lanes(
            stage_space, recipe, streams, transforms, parameters, stage, pixel_gradients, replays=replays
        )
        if smaller is not None:
            grow = partial(smaller.space.grow, larger=stage_space)
            assert isinstance(lanes.move, BatchMover)  # with patience there is one canvas
            assert isinstance(smaller.move, BatchMover)
            lanes.move.carry(smaller.move, smaller.parameters, lanes.parameters, grow)
        yield from lanes.climb(model, objective)
        smaller = lanes


def stack_parameters(pictures: Sequence[Parameters]) -> Parameters:
    """Put the parameters of single pictures side by side, the lanes as first axis."""
    return {name: torch.stack([picture[name] for picture in pictures]) for name in pictures[0]}
