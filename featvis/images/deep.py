"""The deep image prior: an untrained convolutional network for each picture, fed with fixed noise."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional

from featvis.images.base import ImageSpace, Parameters
from featvis.images.cppn import draw_layer
from featvis.spec.options import AtLeastOne, Positive, Size
from featvis.spec.register import part
from featvis.squash import squash

NOISE_CHANNELS = 8


@part("deep")
class DeepImage(ImageSpace):
    """The output of a small U-Net for fixed noise: its weights are learned (Ulyanov et al. 2018).

    Each picture has a network of its own, drawn from its own chance; the noise is the same for all. On the
    way down ``depth`` times: a 3×3 convolution, then the mean of 2×2 pixels. At the bottom one more; on
    the way up as often: each pixel repeated, beside what came down at that resolution, a 3×3 convolution.
    Each convolution repeats the border pixels and gives ``width`` channels, brought to mean 0 and deviation
    1 over the whole picture, and a SiLU. A 1×1 convolution and a sigmoid end it, its weights drawn from
    N(0, ``deviation``² / inputs): nearly flat.

    An image cannot be fitted.

    Parameters: ``down0`` …, ``bottom``, ``up0`` …, ``output``, each ``(B, outputs, inputs · places + 1)``,
    biases last.

    >>> import featvis as fv
    >>> space = fv.DeepImage(size=(24, 32), depth=2, width=8)
    >>> {name: tuple(value.shape) for name, value in space.draw(torch.Generator()).items()}["output"]
    (3, 9)
    """

    fits = False
    usual_rate = 0.01

    size: Size | None = None
    channels: AtLeastOne = 3
    depth: AtLeastOne = 3
    width: AtLeastOne = 16
    deviation: Positive = 0.05

    def draw(self, generator: torch.Generator, spread: float = 1.0) -> Parameters:
        """Draw the weights of one picture's network; ``spread`` widens those of the last layer."""
        inputs = {"down0": NOISE_CHANNELS}
        inputs |= {f"down{level}": self.width for level in range(1, self.depth)}
        inputs |= {"bottom": self.width}
        inputs |= {f"up{level}": 2 * self.width for level in range(self.depth)}
        drawn = {name: draw_layer(self.width, count * 9, 1.0, generator) for name, count in inputs.items()}
        drawn["output"] = draw_layer(self.channels, self.width, self.deviation * spread, generator)
        return drawn

    def decode(self, parameters: Parameters) -> Tensor:  # noqa: D102
        output = parameters["output"]
        lanes = output.shape[0]
        maps = _noise(*self.canvas, output.device).expand(lanes, -1, -1, -1)
        passed = []
        for level in range(self.depth):
            maps = self._layer(parameters[f"down{level}"], maps)
            passed.append(maps)
            maps = functional.avg_pool2d(maps, 2, ceil_mode=True)
        maps = self._layer(parameters["bottom"], maps)
        for level in reversed(range(self.depth)):
            beside = passed[level]
            height, width = beside.shape[2:]
            repeated = maps.repeat_interleave(2, 2)[:, :, :height].repeat_interleave(2, 3)[..., :width]
            maps = self._layer(parameters[f"up{level}"], torch.cat([repeated, beside], dim=1))
        return squash(_convolve(output, maps, 1))

    @staticmethod
    def _layer(weights: Tensor, maps: Tensor) -> Tensor:
        # One group: statistics of each picture alone, and of all its channels, so that one pixel will do.
        return functional.silu(functional.group_norm(_convolve(weights, maps, 3), 1))


def _convolve(weights: Tensor, maps: Tensor, side: int) -> Tensor:
    """Convolve each lane with its own weights: one group for each."""
    lanes, outputs = weights.shape[:2]
    kernels = weights[:, :, :-1].reshape(lanes * outputs, maps.shape[1], side, side)
    biases = weights[:, :, -1].reshape(-1)
    height, width = maps.shape[2:]
    if side == 3:
        # By joining, for a GPU adds up the gradients of its own replication in any order.
        maps = torch.cat([maps[:, :, :1], maps, maps[:, :, -1:]], dim=2)
        maps = torch.cat([maps[..., :1], maps, maps[..., -1:]], dim=3)
    together = maps.reshape(1, -1, *maps.shape[2:])
    convolved = functional.conv2d(together, kernels, biases, groups=lanes)
    return convolved.view(lanes, outputs, height, width)


@lru_cache(maxsize=8)
def _noise(height: int, width: int, device: torch.device) -> Tensor:
    with torch.inference_mode(False):  # it is kept, and a later run climbs through it
        generator = torch.Generator().manual_seed(0)
        return torch.randn((NOISE_CHANNELS, height, width), generator=generator).to(device)
