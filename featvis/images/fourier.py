"""The Fourier image space: a learnable spectrum, scaled so that large shapes move as easily as detail."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from featvis.images.base import ImageSpace, Parameters
from featvis.images.color import color_matrix, from_unit_range, to_unit_range
from featvis.images.spectrum import falling_amplitudes
from featvis.options import AtLeastOne, NonNegative, Positive, Size
from featvis.parts import part

REFERENCE_SIZE = 224
"""The canvas at which an exponent's gain equals the published formula's, whatever the exponent."""


@part("fourier")
class FourierImage(ImageSpace):
    """sigmoid(C · ¼ · irfft2(s(k) · z)), s(k) = 1 / max(|k|, 1/N)^p, N the longer side, orthonormal.

    Lucid's parameterization (FIELD 3.2). For p ≠ 1 the gain is multiplied by (224 / N)^(p - 1), so
    that a learning rate means the same at every canvas.

    Options: ``exponent`` p; ``deviation`` of the start's spectrum; ``decorrelate`` colours.
    Parameters: ``spectrum``, ``(B, C, H, W // 2 + 1, 2)``, real and imaginary parts.
    """

    size: Size | None = None
    channels: AtLeastOne = 3
    exponent: NonNegative = 1.3
    deviation: Positive = 0.01
    decorrelate: bool = True

    def draw(self, generator: torch.Generator, spread: float = 1.0) -> Parameters:  # noqa: D102
        height, width = self.canvas
        shape = (self.channels, height, width // 2 + 1, 2)
        return {"spectrum": torch.randn(shape, generator=generator) * (self.deviation * spread)}

    def fit(self, image: Tensor) -> Parameters:  # noqa: D102
        image = self.check_image(image)
        raw = from_unit_range(image, color_matrix(self.channels, self.decorrelate, image.device))
        gain = _gain(*self.canvas, self.exponent, image.device, torch.float64)
        spectrum = torch.view_as_real(torch.fft.rfft2(raw, norm="ortho") / gain[..., 0])
        return {"spectrum": spectrum.float().contiguous()}

    def decode(self, parameters: Parameters) -> Tensor:  # noqa: D102
        spectrum = parameters["spectrum"]
        gain = _gain(*self.canvas, self.exponent, spectrum.device, spectrum.dtype)
        scaled = torch.view_as_complex(spectrum * gain)
        raw: Tensor = torch.fft.irfft2(scaled, s=self.canvas, norm="ortho")
        return to_unit_range(raw, color_matrix(self.channels, self.decorrelate, raw.device))


@lru_cache(maxsize=16)
def _gain(height: int, width: int, exponent: float, device: torch.device, dtype: torch.dtype) -> Tensor:
    longer = max(height, width)
    with torch.inference_mode(False):  # it is kept, and a later run climbs through it
        amplitudes = falling_amplitudes(height, width, exponent)
        gain: Tensor = 0.25 * amplitudes * (REFERENCE_SIZE / longer) ** (exponent - 1)
        return gain[..., None].to(device=device, dtype=dtype)
