"""The pyramid image space: a sum of images of many resolutions."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from featvis.images.base import Parameters
from featvis.images.color import ColoredImage
from featvis.images.levels import draw_levels, level_sizes, sum_levels
from featvis.spec.options import AtLeastOne, Positive, Size, Statistics
from featvis.spec.register import part


@part("pyramid")
class PyramidImage(ColoredImage):
    """Images of several resolutions, enlarged and added: sigmoid(C · Σ up(P_r)), P_r learned.

    ``levels`` says which, N the canvas' longer side: ``four`` are N, N/2, N/4 and N/8 (Lucid's Laplacian
    pyramid), ``octaves`` go on down to 1, ``fourth`` are 1, 5, 9 … and N, ``all`` are 1 … N (direct ascent
    synthesis, Fort and Whitaker 2025). On a canvas that is no square each level has its proportions.

    Under plain SGD the space ``filtered_pyramid`` gives the same pictures at a fraction of the cost.

    Options: ``levels``; ``interpolation`` of the smaller ones; ``deviation`` of each level's start;
    ``decorrelate`` colours, as a file of ``statistics`` says if one is named.
    Parameters: ``level0`` (the smallest), ``level1`` …, each ``(B, C, h, w)``.

    >>> import featvis as fv
    >>> start = fv.PyramidImage(size=(24, 32)).draw(torch.Generator())
    >>> [tuple(level.shape) for level in start.values()]
    [(3, 3, 4), (3, 6, 8), (3, 12, 16), (3, 24, 32)]
    """

    size: Size | None = None
    channels: AtLeastOne = 3
    levels: Literal["four", "octaves", "fourth", "all"] = "four"
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
    deviation: Positive = 0.01
    decorrelate: bool = True
    statistics: Statistics | None = None

    def draw(self, generator: torch.Generator, spread: float = 1.0) -> Parameters:  # noqa: D102
        deviation = self.deviation * spread
        drawn = draw_levels(self.levels, self.canvas, self.channels, deviation, generator)
        return {f"level{number}": level for number, level in enumerate(drawn)}

    def fit(self, image: Tensor) -> Parameters:
        """Put the image into the largest level, which is the canvas itself; the others are flat."""
        *smaller, _ = level_sizes(self.levels, self.canvas)
        raw = self.fit_raw(image).float()
        levels = [*(raw.new_zeros((self.channels, *size)) for size in smaller), raw]
        return {f"level{number}": level for number, level in enumerate(levels)}

    def decode_raw(self, parameters: Parameters) -> Tensor:  # noqa: D102
        return sum_levels(list(parameters.values()), self.canvas, self.interpolation)
