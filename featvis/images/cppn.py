"""The CPPN image space: a small network from coordinates to colours for each picture."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from featvis.images.base import ImageSpace, Parameters
from featvis.spec.options import AtLeastOne, Positive, Size
from featvis.spec.register import part
from featvis.squash import squash


@part("cppn")
class CPPNImage(ImageSpace):
    """A small network gives each pixel's colour for its place (CPPN: Stanley 2007; Mordvintsev et al. 2018).

    Each picture has a network of its own (Lucid's share one in a batch), from (row, column), each on
    [-√3, √3], through ``layers`` layers of ``width`` neurons to a sigmoid for each channel. What a layer
    gives, u, is passed on by ``activation``: ``atan`` as atan(u) / 0.67 beside atan(u)² / 0.6; ``unbiased``
    with (atan(u)² - 0.45) / 0.396 instead of the second; ``relu`` as (max(u, 0) - 0.4) / 0.58. Weights start
    N(0, 1 / inputs), biases at 0, the last layer's weights N(0, ``deviation``² / inputs): nearly flat.

    The same parameters are an image at every size: :meth:`featvis.Step.images_at`. An image cannot be fitted.

    Parameters: ``layer0``, ``layer1`` …, ``output``, each ``(B, outputs, inputs + 1)``, biases last.

    >>> import featvis as fv
    >>> small = fv.CPPNImage(size=(8, 8), layers=2, width=4)
    >>> weights = {name: value[None] for name, value in small.draw(torch.Generator()).items()}
    >>> small.resized((64, 96)).decode(weights).shape
    torch.Size([1, 3, 64, 96])
    """

    fits = False
    any_size = True
    usual_rate = 0.005

    size: Size | None = None
    channels: AtLeastOne = 3
    layers: AtLeastOne = 8
    width: AtLeastOne = 24
    activation: Literal["atan", "unbiased", "relu"] = "atan"
    deviation: Positive = 0.02

    def draw(self, generator: torch.Generator, spread: float = 1.0) -> Parameters:
        """Draw the weights of one picture's network; ``spread`` widens those of the last layer."""
        passed = self.width if self.activation == "relu" else 2 * self.width
        drawn = {}
        for layer in range(self.layers):
            drawn[f"layer{layer}"] = draw_layer(self.width, passed if layer else 2, 1.0, generator)
        drawn["output"] = draw_layer(self.channels, passed, self.deviation * spread, generator)
        return drawn

    def grow(self, parameters: Parameters, larger: ImageSpace) -> Parameters:
        """Keep every parameter: they are the same image on any canvas."""
        return dict(parameters)

    def decode(self, parameters: Parameters) -> Tensor:  # noqa: D102
        height, width = self.canvas
        lanes = parameters["output"].shape[0]
        passed = _coordinates(height, width, parameters["output"].device).expand(lanes, -1, -1)
        for layer in range(self.layers):
            passed = _passed_on(_linear(parameters[f"layer{layer}"], passed), self.activation)
        images = squash(_linear(parameters["output"], passed))
        return images.view(lanes, self.channels, height, width)


def draw_layer(outputs: int, inputs: int, deviation: float, generator: torch.Generator) -> Tensor:
    """Draw one layer's weights N(0, ``deviation``² / inputs), and zeros for its biases after them."""
    weights = torch.randn((outputs, inputs), generator=generator) * (deviation / math.sqrt(inputs))
    return torch.cat([weights, torch.zeros(outputs, 1)], dim=1)


def _linear(weights: Tensor, inputs: Tensor) -> Tensor:
    """One product for each lane, so that no lane sees another's weights: ``(B, outputs, places)``."""
    return torch.baddbmm(weights[:, :, -1:], weights[:, :, :-1], inputs)


def _passed_on(sums: Tensor, activation: str) -> Tensor:
    if activation == "relu":
        return (sums.relu() - 0.4) / 0.58
    shift, scale = (0.0, 0.6) if activation == "atan" else (0.45, 0.396)
    passed: Tensor = _Arcs.apply(sums, shift, scale)
    return passed


class _Arcs(torch.autograd.Function):
    """atan(u) / 0.67 beside (atan(u)² - shift) / scale; keeps u alone, for a run's memory is these."""

    @staticmethod
    def forward(ctx: Any, sums: Tensor, shift: float, scale: float) -> Tensor:
        ctx.save_for_backward(sums)
        ctx.scale = scale
        arcs = sums.atan()
        return torch.cat([arcs / 0.67, (arcs.square() - shift) / scale], dim=1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (sums,) = ctx.saved_tensors
        first, second = gradients[0].chunk(2, dim=1)
        inner = first / 0.67 + second * sums.atan() * (2 / ctx.scale)
        return inner / (1 + sums.square()), None, None


@lru_cache(maxsize=16)
def _coordinates(height: int, width: int, device: torch.device) -> Tensor:
    """Return (row, column) of every pixel, ``(2, H·W)``: ±√3 at the border pixels."""
    with torch.inference_mode(False):  # they are kept, and a later run climbs through them
        axes = [torch.linspace(-math.sqrt(3), math.sqrt(3), length) for length in (height, width)]
        return torch.stack(torch.meshgrid(*axes, indexing="ij")).flatten(1).to(device)
