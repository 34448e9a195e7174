"""The sanity check of attributions: a map of a network must change when the network does.

The maps of a cascade of randomized layers are compared with the original's by rank correlation and SSIM.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack

import torch
from torch import Tensor, nn

from featvis.attribution.cascade import Randomized, cascade, layers_from_top
from featvis.models.handle import ModelHandle
from featvis.models.layers.answer import modules_of


def weighted_layers(model: ModelHandle, until: Sequence[str], size: tuple[int, int]) -> list[str]:
    """Return the layers with weights that run up to the deepest of ``until``, the topmost first."""
    return layers_from_top(model, until, size, lambda module: isinstance(module, _WEIGHTED))


def randomized(
    model: ModelHandle,
    until: Sequence[str],
    image: Tensor,
    *,
    stages: Sequence[float] = (0.0, 0.25, 0.5, 0.75, 1.0),
    seed: int = 0,
) -> Iterator[Randomized]:
    """Give copies of the network with larger and larger shares of its layers randomized, from the top.

    Weights are drawn from a normal distribution with the layer's own deviation, biases are 0. BatchNorms
    behind the first randomized layer get the statistics of what now comes in, measured on the image: with
    those of the trained network most units would be silent, and any map would change.
    """
    size = (image.shape[2], image.shape[3])
    layers = weighted_layers(model, until, size)
    counts = {max(1, round(share * len(layers))) for share in stages}
    network = model.at(size)
    changed = model.copy()
    changed.module.eval()
    modules = modules_of(changed.module)
    for stage in cascade(changed, layers, counts, _randomize, seed):
        first = min(network.find(name).order for name in stage.layers)
        above = [
            module
            for name, module in modules.items()
            if isinstance(module, _NORMS) and name in network.layers
            if network.find(name).order > first
        ]
        _measure_statistics(changed, until, above, image)
        yield stage


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

    with ExitStack() as hooks:
        for norm in norms:
            hooks.callback(norm.register_forward_pre_hook(measure).remove)
        model.run_once(torch.cat(flips), writes=True)


_WEIGHTED = nn.modules.conv._ConvNd | nn.Linear
_NORMS = nn.modules.batchnorm._BatchNorm
