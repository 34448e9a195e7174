"""A network randomized layer by layer from the top: what is true of it must go with its weights.

Adebayo et al. 2018, "Sanity Checks for Saliency Maps" (arXiv 1810.03292).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from featvis.models.handle import ModelHandle
from featvis.models.layers.answer import modules_of


@dataclass(frozen=True)
class Randomized:
    """A copy of a network whose topmost layers have random weights."""

    model: ModelHandle
    layers: tuple[str, ...]
    """The layers randomized so far, the topmost first."""
    total: int
    """How many layers the cascade goes through."""


def layers_from_top(
    model: ModelHandle, until: Sequence[str], size: tuple[int, int], wanted: Callable[[nn.Module], bool]
) -> list[str]:
    """Return the layers that run up to the deepest of ``until`` and whose module is wanted, topmost first."""
    network, modules = model.at(size), modules_of(model.module)
    deepest = max(network.find(name).order for name in until)
    layers = [
        layer for layer in network.layers.values() if layer.order <= deepest and wanted(modules[layer.name])
    ]
    return [layer.name for layer in sorted(layers, key=lambda layer: -layer.order)]


def cascade(
    changed: ModelHandle,
    layers: Sequence[str],
    stops: Collection[int],
    randomize: Callable[[nn.Module, torch.Generator], None],
    seed: int = 0,
) -> Iterator[Randomized]:
    """Randomize layers of a copy of a network in their order, and give it wherever so many are done."""
    modules = modules_of(changed.module)
    generator = torch.Generator().manual_seed(seed)
    for done, name in enumerate(layers, 1):
        randomize(modules[name], generator)
        if done in stops:
            yield Randomized(changed, tuple(layers[:done]), len(layers))
