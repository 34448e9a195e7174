"""The pixel image space: every pixel its own parameter."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from featvis.images.base import ImageSpace, Parameters
from featvis.images.color import ColoredImage
from featvis.spec.options import AtLeastOne, Positive, Size, Statistics
from featvis.spec.register import part


@part("pixel")
class PixelImage(ColoredImage):
    """One number for each pixel and channel: sigmoid(C · z), z of the image's own shape (Lucid).

    C mixes decorrelated channels into colours.

    Options: ``deviation`` of the start; ``decorrelate`` colours, as
    a file of ``statistics`` says if one is named (:func:`featvis.image_statistics`).
    Parameters: ``pixels``, ``(B, C, H, W)``.

    >>> import featvis as fv
    >>> space, photo = fv.PixelImage(size=(24, 32)), torch.rand(3, 24, 32)
    >>> parameters = {name: value[None] for name, value in space.fit(photo).items()}
    >>> bool((space.decode(parameters)[0] - photo).abs().max() < 0.5 / 255)
    True
    """

    size: Size | None = None
    channels: AtLeastOne = 3
    deviation: Positive = 0.01
    decorrelate: bool = True
    statistics: Statistics | None = None

    def draw(self, generator: torch.Generator, spread: float = 1.0) -> Parameters:  # noqa: D102
        shape = (self.channels, *self.canvas)
        return {"pixels": torch.randn(shape, generator=generator) * (self.deviation * spread)}

    def fit(self, image: Tensor) -> Parameters:  # noqa: D102
        return {"pixels": self.fit_raw(image).float()}

    def grow(self, parameters: Parameters, larger: ImageSpace) -> Parameters:
        """Resize bicubically, centre on centre."""
        pixels = parameters["pixels"]
        return {"pixels": functional.interpolate(pixels, larger.canvas, mode="bicubic", align_corners=False)}

    def decode_raw(self, parameters: Parameters) -> Tensor:  # noqa: D102
        return parameters["pixels"]
