"""Optimizers of a run, their learning rates over it, and their state carried over to a larger canvas."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor

from featvis.images.base import Parameters
from featvis.spec.recipe import Recipe


def make_optimizer(
    recipe: Recipe, parameters: list[Tensor], *, capturable: bool = False
) -> torch.optim.Optimizer:
    """Return the recipe's optimizer, which is not lbfgs, over the parameters.

    ``capturable`` is for a step that is recorded once and replayed: rate and step count live on the device.
    """
    betas = (recipe.momentum, recipe.second_momentum)
    kind: Any = {"adam": torch.optim.Adam, "nadam": torch.optim.NAdam}.get(recipe.optimizer)
    if kind is None:
        sgd = uncompiled(torch.optim.SGD)
        plain: torch.optim.Optimizer = sgd(
            parameters, lr=recipe.learning_rate, momentum=recipe.momentum, fused=True
        )
        return plain
    options = {"fused": True} if recipe.optimizer == "adam" else {}
    optimizer: torch.optim.Optimizer = uncompiled(kind)(
        parameters, lr=recipe.learning_rate, betas=betas, capturable=capturable, **options
    )
    if capturable:
        for group in optimizer.param_groups:  # afterwards: PyTorch would read it back to check it
            group["lr"] = torch.tensor(recipe.learning_rate, device=parameters[0].device)
    return optimizer


@cache
def uncompiled(kind: type[torch.optim.Optimizer]) -> Any:
    """Return an optimizer of torch's that takes the same steps without importing torch's compiler.

    That import takes as long as torch's own, two seconds, and serves only a step that is compiled.

    Args:
        kind: the class.

    >>> uncompiled(torch.optim.SGD)([torch.zeros(3, requires_grad=True)], lr=0.1).__class__.__name__
    'SGD'
    """
    own = {
        "add_param_group": inspect.unwrap(kind.add_param_group),
        "step": torch.no_grad()(inspect.unwrap(kind.step)),
        "__module__": kind.__module__,
        "__doc__": kind.__doc__,
    }
    return type(kind.__name__, (kind,), own)


def rate(schedule: str, step: int, steps: int) -> float:
    """Return the factor of the learning rate at a step.

    ``warmup_cosine``, straight up and down by a cosine, is DeepInversion's (2020) and VITAL's (2025).

    >>> [round(rate("cosine", step, 4), 2) for step in range(4)]
    [1.0, 0.85, 0.5, 0.15]
    """
    share = step / steps
    rise = max(1, round(steps / 10))
    if schedule == "warmup_cosine":
        if step < rise:
            return (step + 1) / rise
        return (1 + math.cos(math.pi * (step - rise) / (steps - rise))) / 2
    if schedule == "cosine":
        return (1 + math.cos(math.pi * share)) / 2
    if schedule == "linear":
        return 1 - share
    if schedule == "warmup":
        return min(1.0, (step + 1) / rise)
    return 1.0


def carry_state(
    old: torch.optim.Optimizer,
    before: Parameters,
    new: torch.optim.Optimizer,
    after: Parameters,
    grow: Callable[[Parameters], Parameters],
) -> None:
    """Give ``new`` what ``old`` remembers of each parameter, grown as the parameters themselves were.

    ``grow`` brings tensors of the shape of ``before``, the old one's, to that of ``after``, the new one's.
    """
    remembered = {name: old.state.get(value, {}) for name, value in before.items()}
    shaped = {
        key
        for name, state in remembered.items()
        for key, value in state.items()
        if isinstance(value, Tensor) and value.shape == before[name].shape
    }
    for key in shaped:
        grown = grow({name: state[key] for name, state in remembered.items()})
        for name, value in grown.items():
            # Squares stay squares, whatever an interpolation makes of them.
            kept = value.clamp(min=0) if key.endswith("sq") else value
            new.state[after[name]][key] = kept.to(after[name].dtype)
    for name, state in remembered.items():
        for key, value in state.items():
            if key not in shaped:
                new.state[after[name]][key] = value
