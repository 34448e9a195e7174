"""A pyramid under plain SGD, as one image whose gradient is filtered."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from featvis.images.base import Parameters
from featvis.images.color import ColoredImage
from featvis.images.levels import draw_levels, level_sizes, resizing, sum_levels
from featvis.spec.options import AtLeastOne, Positive, Size, Statistics
from featvis.spec.register import part

LEFT_OUT = 0.005  # How much of the filter, by its root mean square, may be left out


@part("filtered_pyramid")
class FilteredPyramidImage(ColoredImage):
    """What the space ``pyramid`` is under ``optimizer = "sgd"``, at a fraction of the cost.

    An SGD step moves every level by the gradient that reaches it, and so the image by K·g: g its own
    gradient, K = Σ U_r·U_rᵀ over the levels, U_r a level's interpolation. K is one fixed linear filter,
    whose sum over up to hundreds of levels is here a sum of a few products A_j·g·B_jᵀ with fixed matrices,
    by a singular value decomposition between rows and columns. Unlike a product of spectra this holds at
    the borders too. The start is the pyramid's, drawn alike; momentum, being linear, does no harm.

    Under Adam, which sees a filtered gradient and takes equal steps for all pixels, this is another
    method than ``pyramid``.

    Options: those of ``pyramid``: ``levels``; ``interpolation`` of the smaller ones; ``deviation`` of each
    level's start; ``decorrelate`` colours, as a file of ``statistics`` says if one is named.
    Parameters: ``pixels``, ``(B, C, H, W)``.

    >>> import featvis as fv
    >>> recipe = fv.Recipe(space={"name": "filtered_pyramid", "levels": "octaves"}, optimizer="sgd")
    >>> recipe.space["interpolation"]
    'bicubic'
    """

    true_gradient = False

    size: Size | None = None
    channels: AtLeastOne = 3
    levels: Literal["four", "octaves", "fourth", "all"] = "all"
    interpolation: Literal["bilinear", "bicubic"] = "bicubic"
    deviation: Positive = 0.01
    decorrelate: bool = True
    statistics: Statistics | None = None

    def draw(self, generator: torch.Generator, spread: float = 1.0) -> Parameters:  # noqa: D102
        deviation = self.deviation * spread
        drawn = draw_levels(self.levels, self.canvas, self.channels, deviation, generator)
        return {"pixels": sum_levels(drawn, self.canvas, self.interpolation)}

    def fit(self, image: Tensor) -> Parameters:  # noqa: D102
        return {"pixels": self.fit_raw(image).float()}

    def decode_raw(self, parameters: Parameters) -> Tensor:  # noqa: D102
        pixels = parameters["pixels"]
        rows, columns = _filter(self.levels, self.interpolation, self.canvas, pixels.device)
        raw: Tensor = _Filtered.apply(pixels, rows, columns)
        return raw


class _Filtered(torch.autograd.Function):
    """The identity; its gradient passes the filter."""

    @staticmethod
    def forward(ctx: Any, pixels: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        ctx.save_for_backward(rows, columns)
        return pixels.view_as(pixels)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        rows, columns = ctx.saved_tensors
        gradient = gradients[0]
        filtered = torch.zeros_like(gradient)
        for down, across in zip(rows, columns, strict=True):
            filtered += torch.matmul(torch.matmul(down, gradient), across)
        return filtered, None, None


@lru_cache(maxsize=8)
def _filter(
    levels: str, interpolation: str, canvas: tuple[int, int], device: torch.device
) -> tuple[Tensor, Tensor]:
    """Return A ``(k, H, H)`` and Bᵀ ``(k, W, W)`` with Σ A_j ⊗ B_j = K, to within LEFT_OUT."""
    with torch.inference_mode(False):  # it is kept, and a later run climbs through it
        axes = []
        for axis, length in enumerate(canvas):
            squares = []
            for size in level_sizes(levels, canvas):
                up = resizing(length, size[axis], interpolation, torch.device("cpu")).double()
                squares.append((up @ up.mT).flatten())
            axes.append(torch.stack(squares))
        # Each axis' squares in an orthonormal basis of theirs: a small decomposition is then the whole one.
        (rows, down), (columns, across) = (_orthonormal(squares) for squares in axes)
        left, strengths, right = torch.linalg.svd(down @ across.mT)
        tails = strengths.square().flip(0).cumsum(0).flip(0)
        count = int((tails > LEFT_OUT**2 * tails[0]).sum())
        roots = strengths[:count].sqrt()[:, None]
        height, width = canvas
        made_rows = (roots * left.mT[:count] @ rows).view(count, height, height)
        made_columns = (roots * right[:count] @ columns).view(count, width, width).mT
        return made_rows.float().contiguous().to(device), made_columns.float().contiguous().to(device)


def _orthonormal(vectors: Tensor) -> tuple[Tensor, Tensor]:
    """Return orthonormal rows O ``(k, n)`` and M ``(k, r)`` with ``vectors`` ``(r, n)`` = Mᵀ·O."""
    values, turned = torch.linalg.eigh(vectors @ vectors.mT)
    kept = values > 1e-12 * values[-1]
    values, turned = values[kept], turned[:, kept]
    return (turned / values.sqrt()).mT @ vectors, (turned * values.sqrt()).mT
