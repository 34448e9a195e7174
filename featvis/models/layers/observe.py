"""Running a network once and noting what every module gave."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn


@dataclass
class Observation:
    """What one run showed of one module."""

    module: str
    shape: tuple[int, ...]
    order: int
    calls: int
    hint: int | None
    """The axis on which the module that made this tensor puts its units, if it tells."""


def observe(module: nn.Module, run: Any, images: Tensor, look: Any = None) -> dict[str, Observation]:
    """Run the network on two images or more and return what each module gave, by name; ``look`` sees both."""
    observations: dict[str, Observation] = {}
    made: dict[int, int] = {}  # axis told by the module that last gave a tensor of this many units
    clock = 0

    def note(name: str, inner: nn.Module, _: Any, output: Any) -> None:
        nonlocal clock
        clock += 1
        if isinstance(output, tuple | list) and output and isinstance(output[0], Tensor):
            output = output[0]
        if not isinstance(output, Tensor) or not output.is_floating_point() or output.dim() < 2:
            return
        hint = _hint(inner, output)
        if hint is not None:
            made[output.shape[hint]] = hint
        else:
            hint = next((axis for n, axis in made.items() if output.shape[axis % output.dim()] == n), None)
        calls = observations[name].calls + 1 if name in observations else 1
        observations[name] = Observation(type(inner).__name__, tuple(output.shape), clock, calls, hint)
        if look is not None:
            look(name, output)

    with ExitStack() as hooks, torch.no_grad():
        for name, inner in module.named_modules():
            if name:
                hooks.callback(inner.register_forward_hook(partial(note, name)).remove)
        run(images)
    return observations


def _hint(module: nn.Module, output: Tensor) -> int | None:
    if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.modules.batchnorm._BatchNorm):
        return 1
    if isinstance(module, nn.Linear):
        return output.dim() - 1
    if isinstance(module, nn.LayerNorm) and len(module.normalized_shape) == 1:
        # A LayerNorm for (B, C, H, W) moves the axis by itself; its output's shape tells.
        n = module.normalized_shape[0]
        if output.shape[-1] == n and output.shape[1] != n:
            return output.dim() - 1
        if output.shape[1] == n and output.shape[-1] != n:
            return 1
    return None
