"""Gaussian blur whose width is drawn for each picture and step."""

from __future__ import annotations

import torch
from torch import Tensor

from featvis.spec.options import AnyRange
from featvis.spec.register import part
from featvis.transforms.base import Size, Transform, drawn

LEAST_SIGMA = 1e-3  # Stands for 0: the nearest pixel then weighs nothing


@part("blur")
class Blur(Transform):
    """Blur what comes in by a normal distribution of standard deviation ``sigma``, in pixels.

    ``sigma`` is a number, a range [least, greatest], or [[least, greatest], [least, greatest]] over the run;
    0 leaves the image alone. At the border only what is inside is averaged, so constant images stay so.

    >>> import featvis as fv
    >>> fv.Blur(sigma=[0.5, 2]).sigma
    ((0.5, 2.0), (0.5, 2.0))
    """

    numbers = 1

    sigma: AnyRange = ((0.5, 1.5), (0.5, 1.5))

    def prepare(self, uniform: Tensor, progress: Tensor, canvas: Size, shown_size: Size) -> Tensor:
        """Return standard deviations ``(lanes, steps, 1)`` in pixels."""
        return drawn(self.sigma, progress, uniform[..., 0])[..., None]

    def apply(self, images: Tensor, values: Tensor, field: Tensor | None, shown_size: Size) -> Tensor:
        """Blur along both axes by a product of matrices, whose gradient sums in a fixed order."""
        down, across = (_weights(values[:, 0], side, images.dtype) for side in images.shape[2:])
        return torch.matmul(torch.matmul(down[:, None], images), across[:, None].transpose(2, 3))


def _weights(sigma: Tensor, side: int, dtype: torch.dtype) -> Tensor:
    """Return ``(B, side, side)``: how much of each pixel every pixel takes; rows sum to 1."""
    places = torch.arange(side, device=sigma.device, dtype=torch.float32)
    distance = (places[:, None] - places[None]) / sigma.clamp(min=LEAST_SIGMA)[:, None, None]
    return (-0.5 * distance.square()).softmax(-1).to(dtype)
