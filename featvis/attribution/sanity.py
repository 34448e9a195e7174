"""The sanity check of attributions: a map of a network must change when the network does.

Adebayo et al. 2018, "Sanity Checks for Saliency Maps": layers are randomized one after the other from
the top, and the maps compared with the original's by rank correlation and SSIM.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from featvis.models.handle import ModelHandle


@dataclass(frozen=True)
class Randomized:
    """A copy of a network whose topmost layers have random weights."""

    model: ModelHandle
    layers: tuple[str, ...]
    """The layers randomized so far, the topmost first."""


def weighted_layers(model: ModelHandle, until: Sequence[str], size: tuple[int, int]) -> list[str]:
    """Return the layers with weights that run up to the deepest of ``until``, the topmost first."""
    network = model.at(size)
    modules = dict(model.module.named_modules())
    deepest = max(network.find(name).order for name in until)
    found = [
        info
        for info in network.layers.values()
        if info.order <= deepest and isinstance(modules[info.name], _WEIGHTED)
    ]
    return [info.name for info in sorted(found, key=lambda info: -info.order)]


def randomized(
    model: ModelHandle,
    until: Sequence[str],
    image: Tensor,
    *,
    stages: Sequence[float] = (0.0, 0.25, 0.5, 0.75, 1.0),
    seed: int = 0,
) -> Iterator[Randomized]:
    """Give copies of the network with more and more of its layers randomized, from the top.

    Weights are drawn from a normal distribution with the layer's own deviation, biases are 0. BatchNorms
    behind the first randomized layer get the statistics of what now comes in, measured on the image:
    with those of the trained network most units would be silent, and any map would change.

    Args:
        model: stays as it is.
        until: the layers that the target reads.
        image: ``(1, C, H, W)`` in [0, 1].
        stages: shares of the layers to be randomized; each at least one.
        seed: of the weights.
    """
    size = (image.shape[2], image.shape[3])
    layers = weighted_layers(model, until, size)
    counts = sorted({max(1, round(share * len(layers))) for share in stages})
    stranger = model.copy()
    stranger.module.eval()
    modules = dict(stranger.module.named_modules())
    chance = torch.Generator().manual_seed(seed)
    done = 0
    for count in counts:
        for name in layers[done:count]:
            _randomize(modules[name], chance)
        done = count
        first = min(model.at(size).find(name).order for name in layers[:count])
        above = [
            one
            for name, one in modules.items()
            if isinstance(one, _NORMS) and name in model.at(size).layers
            if model.at(size).find(name).order > first
        ]
        _measure_statistics(stranger, until, above, image)
        yield Randomized(stranger, tuple(layers[:count]))


def _randomize(layer: nn.Module, chance: torch.Generator) -> None:
    for name, parameter in layer.named_parameters(recurse=False):
        with torch.no_grad():
            if name == "bias":
                parameter.zero_()
            else:
                deviation = float(parameter.float().square().mean().sqrt())
                drawn = torch.randn(parameter.shape, generator=chance) * deviation
                parameter.copy_(drawn.to(parameter))


@torch.no_grad()
def _measure_statistics(
    model: ModelHandle, until: Sequence[str], norms: Sequence[nn.Module], image: Tensor
) -> None:
    """Give BatchNorms the statistics of an image and its mirror images, in the order in which they run."""
    flips = [image, image.flip(3), image.flip(2), image.flip(2, 3)]

    def measure(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        values = inputs[0].movedim(1, 0).flatten(1)
        assert isinstance(norm, _NORMS)
        if norm.running_mean is not None and norm.running_var is not None:
            norm.running_mean.copy_(values.mean(1))
            norm.running_var.copy_(values.var(1, unbiased=False).clamp(min=1e-6))

    handles = [norm.register_forward_pre_hook(measure) for norm in norms]
    try:
        model.run_once(torch.cat(flips))
    finally:
        for handle in handles:
            handle.remove()


_WEIGHTED = nn.modules.conv._ConvNd | nn.Linear
_NORMS = nn.modules.batchnorm._BatchNorm
