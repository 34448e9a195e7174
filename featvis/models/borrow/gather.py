"""The last layer computes only the units that are climbed, for as long as a network is borrowed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn


def can_gather(module: nn.Module | None) -> bool:
    """Whether each unit of a module's output is a row of its weight's work, and nobody else looks on."""
    if type(module).__name__ not in ("Conv2d", "Conv2dSame", "Linear"):
        return False
    assert module is not None
    watched = module._forward_hooks or module._forward_pre_hooks or "forward" in module.__dict__
    return "weight" in module._parameters and getattr(module, "groups", 1) == 1 and not watched


def gather(module: nn.Module, only: Mapping[str, Sequence[int]]) -> None:
    """Let each layer of ``only`` compute these units alone, in this order; a unit may stand several times.

    What such a layer gives has as many units as were asked for, so it must be the last that runs.
    """
    modules = dict(module.named_modules())
    for name, units in only.items():
        # New parameters in place of the network's own, which stay untouched.
        owned: dict[str, Any] = modules[name]._parameters
        for key, mine in list(owned.items()):
            if mine is not None:
                rows = torch.tensor(list(units), device=mine.device)
                owned[key] = nn.Parameter(mine.detach().index_select(0, rows), requires_grad=False)
