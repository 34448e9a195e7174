"""How parameters move after each evaluation: the optimizer, its learning rates, an average."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from featvis.engine.lbfgs import LBFGS
from featvis.engine.optimizers import carry_state, make_optimizer, rate
from featvis.images.base import Parameters
from featvis.spec.recipe import Recipe

HELD_FOR_SEARCH = 16
"""Steps that lbfgs keeps its draws for, unless the recipe says another number."""


class Mover(ABC):
    """Moves the lanes' parameters, in place, by the gradients that an evaluation left in them.

    What both ways of moving share is here: the line search, and the average of the parameters.
    """

    def __init__(self, parameters: Parameters, recipe: Recipe) -> None:
        self._parameters, self._recipe = parameters, recipe
        self._average = Average(parameters, recipe.average) if recipe.average else None
        self._search = LBFGS(parameters, recipe.learning_rate) if recipe.optimizer == "lbfgs" else None

    def __call__(self, scores: Tensor, step: int | Tensor) -> None:
        """Move on by the gradients of these scores ``(lanes,)`` at a step, and clear them."""
        if self._search is not None:
            self._search.climb(scores, self._draws_change(step))
        else:
            if self._recipe.gradient_norm is not None or self._recipe.gradient_clip is not None:
                scale_gradients(self._parameters, self._recipe)
            self._take(step)
        for value in self._parameters.values():
            value.grad = None
        if self._average is not None:
            self._average.add(self.reached)

    @property
    def reached(self) -> Parameters:
        """The parameters that have been reached, as tensors without gradients."""
        if self._search is not None:
            return self._search.base
        return {name: value.detach() for name, value in self._parameters.items()}

    def current(self) -> Parameters:
        """Return what the pictures are decoded from: what has been reached, or the average of it."""
        return self.reached if self._average is None else self._average.values

    def state(self) -> list[Tensor]:
        """Return every tensor that a step changes: parameters, the optimizers' memory, the average."""
        remembered = [
            value
            for optimizer in self.optimizers
            for state in optimizer.state.values()
            for value in state.values()
            if isinstance(value, Tensor)
        ]
        averaged = self._average.state if self._average is not None else []
        return [*self._parameters.values(), *remembered, *averaged]

    @property
    @abstractmethod
    def optimizers(self) -> list[torch.optim.Optimizer]:
        """The optimizers that take the steps; none with a line search."""

    @abstractmethod
    def _draws_change(self, step: int | Tensor) -> Tensor | bool:
        """Whether the next step has other draws, for all lanes or for each."""

    @abstractmethod
    def _take(self, step: int | Tensor) -> None:
        """Take a step of the optimizer."""


class BatchMover(Mover):
    """Moves all lanes together, by one optimizer; a GPU replays this way only."""

    def __init__(self, parameters: Parameters, recipe: Recipe, *, capturable: bool = False) -> None:
        """Begin at the parameters as they are, each ``(lanes, …)``.

        Args:
            parameters: the learnable tensors.
            recipe: of the run.
            capturable: for steps that are recorded once and replayed by the device.
        """
        super().__init__(parameters, recipe)
        self._rates = [
            recipe.learning_rate * rate(recipe.schedule, step, recipe.steps) for step in range(recipe.steps)
        ]
        self._rates_on_device: Tensor | None = None
        self._optimizer: torch.optim.Optimizer | None = None
        if self._search is None:
            self._optimizer = make_optimizer(recipe, list(parameters.values()), capturable=capturable)

    def carry(
        self,
        old: BatchMover,
        before: Parameters,
        after: Parameters,
        grow: Callable[[Parameters], Parameters],
    ) -> None:
        """Take over what an optimizer remembers of a smaller canvas; a line search begins anew."""
        if self._optimizer is not None and old._optimizer is not None:
            carry_state(old._optimizer, before, self._optimizer, after, grow)

    @property
    def optimizers(self) -> list[torch.optim.Optimizer]:  # noqa: D102
        return [] if self._optimizer is None else [self._optimizer]

    def _draws_change(self, step: int | Tensor) -> bool:
        return (int(step) + 1) % held(self._recipe) == 0

    def _take(self, step: int | Tensor) -> None:
        assert self._optimizer is not None
        for group in self._optimizer.param_groups:
            if isinstance(group["lr"], Tensor):  # it lives on the device, where it is copied without a wait
                if self._rates_on_device is None:
                    self._rates_on_device = torch.tensor(self._rates, device=group["lr"].device)
                group["lr"].copy_(self._rates_on_device[step].squeeze())
            else:
                group["lr"] = self._rates[int(step)]
        self._optimizer.step()


class LaneMover(Mover):
    """Moves each lane by its own count of steps; a lane that gets another picture begins anew."""

    def __init__(self, parameters: Parameters, recipe: Recipe, taken: Sequence[int]) -> None:
        """Begin at the parameters as they are, each ``(lanes, …)``.

        Args:
            parameters: the learnable tensors.
            recipe: of the run.
            taken: the steps that each lane has taken; the caller keeps the list up to date.
        """
        super().__init__(parameters, recipe)
        self._taken = taken
        lanes = range(recipe.lanes) if self._search is None else ()
        self._optimizers = [self._optimizer(lane) for lane in lanes]

    def forget(self, lane: int) -> None:
        """Begin anew in a lane, whose parameters are those of another picture."""
        if self._average is not None:
            self._average.forget(lane)
        if self._search is not None:
            self._search.forget(lane)
        else:
            self._optimizers[lane] = self._optimizer(lane)

    @property
    def optimizers(self) -> list[torch.optim.Optimizer]:  # noqa: D102
        return self._optimizers

    def _draws_change(self, step: int | Tensor) -> Tensor:
        changes = [(taken + 1) % held(self._recipe) == 0 for taken in self._taken]
        return torch.tensor(changes, device=next(iter(self._parameters.values())).device)

    def _take(self, step: int | Tensor) -> None:
        recipe = self._recipe
        for lane, optimizer in enumerate(self._optimizers):
            (group,) = optimizer.param_groups
            group["lr"] = recipe.learning_rate * rate(recipe.schedule, self._taken[lane], recipe.steps)
            for view, name in zip(group["params"], self._parameters, strict=True):
                gradient = self._parameters[name].grad
                assert gradient is not None
                view.grad = gradient[lane]
            optimizer.step()

    def _optimizer(self, lane: int) -> torch.optim.Optimizer:
        # Of a lane's own part of the parameters, so that its count of steps is its own.
        views = [value.detach()[lane].requires_grad_() for value in self._parameters.values()]
        return make_optimizer(self._recipe, views)


def scale_gradients(parameters: Parameters, recipe: Recipe) -> None:
    """Bring the gradients of each picture to the recipe's length."""
    gradients = [value.grad for value in parameters.values() if value.grad is not None]
    scaled = to_length(gradients, recipe.gradient_norm, recipe.gradient_clip)
    for gradient, new in zip(gradients, scaled, strict=True):
        gradient.copy_(new)


def held(recipe: Recipe) -> int:
    """Return for how many steps the transforms stay as drawn."""
    return recipe.hold or (HELD_FOR_SEARCH if recipe.optimizer == "lbfgs" else 1)


def drawn_at(step: int | Tensor, recipe: Recipe) -> int | Tensor:
    """Return the step whose draws a step uses."""
    hold = held(recipe)
    return step if hold == 1 else step - step % hold


def to_length(gradients: Sequence[Tensor], norm: float | None, clip: float | None) -> list[Tensor]:
    """Bring each picture's gradient, over all its parameters, to a length; a picture does not see its mates.

    Args:
        gradients: each with the lanes as first axis.
        norm: the L2 length that every gradient gets; one of zeros stays.
        clip: the greatest L2 length.
    """
    squares = torch.stack([gradient.flatten(1).square().sum(1) for gradient in gradients]).sum(0)
    length = squares.sqrt()
    if norm is not None:
        factor = torch.where(length > 0, norm / torch.where(length > 0, length, 1.0), 0.0)
    elif clip is not None:
        factor = (clip / length.clamp(min=1e-30)).clamp(max=1.0)
    else:
        return list(gradients)
    return [gradient * factor.view(-1, *[1] * (gradient.dim() - 1)) for gradient in gradients]


class Average:
    """The exponential moving average of the parameters of each lane, true to its weights from the start.

    At step t the decay is at most (1 + t) / (10 + t), as in TensorFlow's ExponentialMovingAverage: the mean
    is over no more than about a ninth of the way so far, or short runs would show where they came from.
    """

    def __init__(self, parameters: Parameters, decay: float) -> None:
        """Average from nothing, with weights falling by ``decay`` a step into the past."""
        self._decay = decay
        self._sums = {name: torch.zeros_like(value.detach()) for name, value in parameters.items()}
        first = next(iter(parameters.values()))
        self._weights = torch.zeros(first.shape[0], device=first.device)
        self._taken = torch.zeros_like(self._weights)

    @torch.no_grad()
    def add(self, parameters: Parameters) -> None:
        """Take in the parameters after a step."""
        decay = ((1 + self._taken) / (10 + self._taken)).clamp(max=self._decay)
        for name, value in parameters.items():
            old = decay.view(-1, *[1] * (value.dim() - 1)).to(value.dtype)
            self._sums[name].mul_(old).add_(value * (1 - old))
        self._weights.mul_(decay).add_(1 - decay)
        self._taken += 1

    def forget(self, lane: int) -> None:
        """Begin anew in a lane: it has another picture."""
        for value in self._sums.values():
            value[lane] = 0.0
        self._weights[lane] = self._taken[lane] = 0.0

    @property
    def state(self) -> list[Tensor]:
        """The tensors that a step changes."""
        return [*self._sums.values(), self._weights, self._taken]

    @property
    def values(self) -> Parameters:
        """The averages so far; after at least one step."""
        weights = self._weights
        return {name: sums / weights.view(-1, *[1] * (sums.dim() - 1)) for name, sums in self._sums.items()}
