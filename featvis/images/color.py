"""Colour decorrelation: a linear map between RGB and channels that vary independently in photographs."""

from __future__ import annotations

from abc import abstractmethod
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from featvis.errors import RecipeError
from featvis.images.base import ImageSpace, Parameters
from featvis.images.statistics import statistics_of
from featvis.squash import squash

RGB_FROM_DECORRELATED = (
    (0.56282858, 0.19482528, 0.04329451),
    (0.58447583, 0.00000000, -0.10823626),
    (0.58447583, -0.19482528, 0.06494176),
)
"""The square root of ImageNet's RGB covariance over its largest column norm (Lucid).

Column vectors: ``rgb = C @ z`` with z = (luminance, red - blue, green - magenta)."""

EDGE = 1e-3
"""Images are clamped this far from 0 and 1 before the logit: a quarter of an 8-bit level."""


@lru_cache
def color_matrix(
    channels: int, decorrelate: bool, device: torch.device, statistics: str | None = None
) -> Tensor | None:
    """Return the matrix ``(C, C)`` to the image's channels; None: not RGB and without statistics."""
    if not decorrelate or (statistics is None and channels != 3):
        return None
    known: Any = RGB_FROM_DECORRELATED
    if statistics is not None:
        known = statistics_of(statistics, channels).color_matrix
    with torch.inference_mode(False):  # it is kept, and a later run climbs through it
        return torch.tensor(known, dtype=torch.float32, device=device)


def to_unit_range(raw: Tensor, matrix: Tensor | None) -> Tensor:
    """Mix the channels of ``raw`` ``(B, C, H, W)`` by ``matrix`` and squash into (0, 1)."""
    if matrix is None:
        return squash(raw)
    images: Tensor = _Mixed.apply(raw, matrix)
    return images


class _Mixed(torch.autograd.Function):
    """sigmoid(C · raw), keeping only the result: two passes over memory each way."""

    @staticmethod
    def forward(ctx: Any, raw: Tensor, matrix: Tensor) -> Tensor:
        images = squash(torch.matmul(matrix, raw.flatten(2))).view(raw.shape)
        ctx.save_for_backward(images, matrix)
        return images

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        images, matrix = ctx.saved_tensors
        mixed = torch.ops.aten.sigmoid_backward(gradients[0].contiguous(), images)
        return torch.matmul(matrix.mT, mixed.flatten(2)).view(images.shape), None


def from_unit_range(image: Tensor, matrix: Tensor | None) -> Tensor:
    """Undo :func:`to_unit_range` for one image ``(C, H, W)``, exact to a quarter of an 8-bit level."""
    raw = torch.logit(image.double(), eps=EDGE)
    if matrix is not None:
        raw = torch.einsum("ij,jhw->ihw", torch.linalg.inv(matrix.to(raw)), raw)
    return raw


class ColoredImage(ImageSpace):
    """An image space of channels that vary independently, which are mixed into colours: sigmoid(C · raw)."""

    decorrelate: bool
    statistics: str | None

    def __post_init__(self) -> None:
        if self.statistics is not None:  # what is wrong with it shows before any compute
            statistics_of(self.statistics, self.channels)
            if not self.decorrelate:
                raise RecipeError("statistics are to decorrelate by; with decorrelate off, leave them out")

    @abstractmethod
    def decode_raw(self, parameters: Parameters) -> Tensor:
        """Return the decorrelated channels ``(B, C, H, W)``, before they are mixed and squashed."""

    def decode(self, parameters: Parameters) -> Tensor:  # noqa: D102
        raw = self.decode_raw(parameters)
        return to_unit_range(raw, self._matrix(raw))

    def fit_raw(self, image: Tensor) -> Tensor:
        """Return the decorrelated channels of an image ``(C, H, W)``, float64."""
        image = self.check_image(image)
        return from_unit_range(image, self._matrix(image))

    def _matrix(self, like: Tensor) -> Tensor | None:
        return color_matrix(self.channels, self.decorrelate, like.device, self.statistics)
