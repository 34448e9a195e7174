"""How parameters move after each look: the recipe's optimizer, its rates, an average of the way."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from featvis.engine.lbfgs import LBFGS
from featvis.engine.look import Average, scale_slopes
from featvis.engine.optimizers import carry_state, make_optimizer, rate
from featvis.images.base import Parameters
from featvis.spec.recipe import Recipe

HELD_FOR_SEARCH = 16
"""Steps that lbfgs keeps its draws for, unless the recipe says another number."""


class Mover:
    """Moves all lanes' parameters by the gradients that a look left in them."""

    def __init__(self, parameters: Parameters, recipe: Recipe, *, replays: bool = False) -> None:
        """Begin at the parameters as they are, each ``(lanes, …)``.

        Args:
            parameters: the learnable tensors; moved in place.
            recipe: of the run.
            replays: for steps that are recorded once and replayed by the device.
        """
        self._parameters, self._recipe = parameters, recipe
        self._rates = [
            recipe.learning_rate * rate(recipe.schedule, step, recipe.steps) for step in range(recipe.steps)
        ]
        self._rates_there: Tensor | None = None
        self._average = Average(parameters, recipe.average) if recipe.average else None
        self._search: LBFGS | None = None
        self._optimizer: torch.optim.Optimizer | None = None
        if recipe.optimizer == "lbfgs":
            self._search = LBFGS(parameters, recipe.learning_rate)
        else:
            self._optimizer = optimizer_of(recipe, list(parameters.values()), capturable=replays)

    def __call__(self, scores: Tensor, step: int | Tensor) -> None:
        """Move on by the gradients of these scores ``(lanes,)`` at a step."""
        recipe = self._recipe
        if self._search is not None:
            self._search.climb(scores, (int(step) + 1) % held(recipe) == 0)
        else:
            assert self._optimizer is not None
            self._set_rate(self._optimizer, step)
            if recipe.gradient_norm is not None or recipe.gradient_clip is not None:
                scale_gradients(self._parameters, recipe)
            self._optimizer.step()
            self._optimizer.zero_grad(set_to_none=True)
        if self._average is not None:
            self._average.add(self.base)

    @property
    def base(self) -> Parameters:
        """The parameters that have been reached, as tensors without gradients."""
        if self._search is not None:
            return self._search.base
        return {name: value.detach() for name, value in self._parameters.items()}

    def stand(self) -> Parameters:
        """Return what the pictures are decoded from: what has been reached, or the average of it."""
        return self.base if self._average is None else self._average.values

    def carry(
        self, old: Mover, before: Parameters, after: Parameters, grow: Callable[[Parameters], Parameters]
    ) -> None:
        """Take over what an optimizer remembers of a smaller canvas; a line search begins anew."""
        if self._optimizer is not None and old._optimizer is not None:
            carry_state(old._optimizer, before, self._optimizer, after, grow)

    def _set_rate(self, optimizer: torch.optim.Optimizer, step: int | Tensor) -> None:
        for group in optimizer.param_groups:
            if isinstance(group["lr"], Tensor):  # it lives on the device, where it is copied without a wait
                if self._rates_there is None:
                    self._rates_there = torch.tensor(self._rates, device=group["lr"].device)
                group["lr"].copy_(self._rates_there[step].squeeze())
            else:
                group["lr"] = self._rates[int(step)]


class LaneMover:
    """Moves each lane by its own count of steps; a lane that gets another picture begins anew."""

    def __init__(self, parameters: Parameters, recipe: Recipe) -> None:
        """Begin at the parameters as they are, each ``(lanes, …)``; they are moved in place."""
        self._parameters, self._recipe = parameters, recipe
        self._average = Average(parameters, recipe.average) if recipe.average else None
        self._search: LBFGS | None = None
        self._optimizers: list[torch.optim.Optimizer] = []
        if recipe.optimizer == "lbfgs":
            self._search = LBFGS(parameters, recipe.learning_rate)
        else:
            self._optimizers = [self._optimizer(lane) for lane in range(recipe.lanes)]

    def __call__(self, scores: Tensor, taken: Sequence[int]) -> None:
        """Move on by the gradients of scores ``(lanes,)``; each lane has then ``taken`` so many steps."""
        recipe = self._recipe
        if self._search is not None:
            new = [number % held(recipe) == 0 for number in taken]
            self._search.climb(scores, torch.tensor(new, device=scores.device))
        else:
            if recipe.gradient_norm is not None or recipe.gradient_clip is not None:
                scale_gradients(self._parameters, recipe)
            for lane, optimizer in enumerate(self._optimizers):
                (group,) = optimizer.param_groups
                now = rate(recipe.schedule, taken[lane] - 1, recipe.steps)
                group["lr"] = recipe.learning_rate * now
                for view, name in zip(group["params"], self._parameters, strict=True):
                    gradient = self._parameters[name].grad
                    assert gradient is not None
                    view.grad = gradient[lane]
                optimizer.step()
        for value in self._parameters.values():
            value.grad = None
        if self._average is not None:
            self._average.add(self._base)

    def stand(self) -> Parameters:
        """Return what the pictures are decoded from: what has been reached, or the average of it."""
        return self._base if self._average is None else self._average.values

    def forget(self, lane: int) -> None:
        """Begin anew in a lane, whose parameters are those of another picture."""
        if self._average is not None:
            self._average.forget(lane)
        if self._search is not None:
            self._search.forget(lane)
        else:
            self._optimizers[lane] = self._optimizer(lane)

    @property
    def _base(self) -> Parameters:
        return self._parameters if self._search is None else self._search.base

    def _optimizer(self, lane: int) -> torch.optim.Optimizer:
        # Of a lane's own part of the parameters, so that its count of steps is its own.
        views = [value.detach()[lane].requires_grad_() for value in self._parameters.values()]
        return optimizer_of(self._recipe, views)


def optimizer_of(
    recipe: Recipe, parameters: list[Tensor], *, capturable: bool = False
) -> torch.optim.Optimizer:
    """Return the recipe's optimizer, which is not lbfgs, over the parameters."""
    return make_optimizer(
        recipe.optimizer,
        parameters,
        recipe.learning_rate,
        recipe.momentum,
        recipe.second_momentum,
        capturable=capturable,
    )


def scale_gradients(parameters: Parameters, recipe: Recipe) -> None:
    """Bring the gradients of each picture to the recipe's length."""
    gradients = [value.grad for value in parameters.values() if value.grad is not None]
    scaled = scale_slopes(gradients, recipe.gradient_norm, recipe.gradient_clip)
    for gradient, new in zip(gradients, scaled, strict=True):
        gradient.copy_(new)


def held(recipe: Recipe) -> int:
    """Return for how many steps the transforms stay as drawn."""
    return recipe.hold or (HELD_FOR_SEARCH if recipe.optimizer == "lbfgs" else 1)


def drawn_at(step: int | Tensor, recipe: Recipe) -> int | Tensor:
    """Return the step whose draws a step uses."""
    hold = held(recipe)
    return step if hold == 1 else step - step % hold
