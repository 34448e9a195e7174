"""The Fourier image space: a learnable spectrum, scaled so that large shapes move as easily as detail."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from featvis.errors import CanvasError
from featvis.images.base import ImageSpace, Parameters
from featvis.images.color import ColoredImage
from featvis.images.spectrum import falling_amplitudes, frequencies
from featvis.spec.options import AtLeastOne, NonNegative, Positive, Size, Statistics
from featvis.spec.register import part

REFERENCE_SIZE = 224
"""The canvas at which an exponent's gain equals the published formula's, whatever the exponent."""
COARSE = 2.0
"""Waves so many to the canvas, or fewer, are as strong in colour as in luminance."""


@part("fourier")
class FourierImage(ColoredImage):
    """Waves of all lengths, the long ones scaled up as in photographs (Lucid; Olah et al. 2017).

    sigmoid(C · ¼ · irfft2(s(k) · z)), s(k) = 1 / max(|k|, 1/N)^p, N the longer side, orthonormal. For p ≠ 1
    the gain is multiplied by (224 / N)^(p - 1), so that a learning rate means the same at every canvas.

    With a ``color_exponent`` q the decorrelated channels but the first, luminance, fall by q: their gain is
    multiplied by (max(|k|, 2/N) · N/2)^(p - q). Speckles of colour are the finest detail that ascent finds,
    and photographs have the least of it.

    Options: ``exponent`` p, larger for smoother pictures; ``color_exponent`` q, p where it is left out
    or the channels are no colours;
    ``deviation`` of the start's spectrum; ``decorrelate`` colours, as a file of ``statistics`` says if one
    is named (:func:`featvis.image_statistics`).
    Parameters: ``spectrum``, ``(B, C, H, W // 2 + 1, 2)``, real and imaginary parts.

    >>> import featvis as fv
    >>> space, photo = fv.FourierImage(size=(24, 33)), torch.rand(3, 24, 33)
    >>> parameters = {name: value[None] for name, value in space.fit(photo).items()}
    >>> parameters["spectrum"].shape
    torch.Size([1, 3, 24, 17, 2])
    >>> bool((space.decode(parameters)[0] - photo).abs().max() < 0.5 / 255)
    True
    """

    size: Size | None = None
    channels: AtLeastOne = 3
    exponent: NonNegative = 1.3
    deviation: Positive = 0.01
    decorrelate: bool = True
    statistics: Statistics | None = None
    color_exponent: NonNegative | None = None

    def draw(self, generator: torch.Generator, spread: float = 1.0) -> Parameters:  # noqa: D102
        height, width = self.canvas
        shape = (self.channels, height, width // 2 + 1, 2)
        return {"spectrum": torch.randn(shape, generator=generator) * (self.deviation * spread)}

    def fit(self, image: Tensor) -> Parameters:  # noqa: D102
        raw = self.fit_raw(image)
        gain = self._gain(raw.device, torch.float64)
        spectrum = torch.view_as_real(torch.fft.rfft2(raw, norm="ortho") / gain[..., 0])
        return {"spectrum": spectrum.float().contiguous()}

    def grow(self, parameters: Parameters, larger: ImageSpace) -> Parameters:
        """Carry every wave over; the new, shorter waves are still.

        Exact: a canvas twice as high and wide shows the same values at every other pixel.
        """
        spectrum = parameters["spectrum"]
        (height, width), (tall, wide) = self.canvas, larger.canvas
        if tall < height or wide < width:
            raise CanvasError(f"a canvas grows, {height}x{width} to {tall}x{wide} does not")
        per_pixel = math.sqrt(tall * wide / (height * width))  # orthonormal waves are lower on more pixels
        gain = self._gain(spectrum.device, spectrum.dtype)
        like = larger if isinstance(larger, FourierImage) else self
        larger_gain = like._gain(spectrum.device, spectrum.dtype, (tall, wide))
        waves = spectrum * gain * per_pixel
        grown = spectrum.new_zeros((*spectrum.shape[:2], tall, wide // 2 + 1, 2))
        up, columns = (height + 1) // 2, waves.shape[3]
        grown[:, :, :up, :columns] = waves[:, :, :up]
        down = height - up
        if down:
            grown[:, :, tall - down :, :columns] = waves[:, :, up:]
        if width % 2 == 0 and wide > width:
            # The shortest wave of an even width stood for itself and its mirror image.
            grown[:, :, :, columns - 1] /= 2
        if height % 2 == 0 and tall > height:
            half = grown[:, :, tall - down, :columns] / 2
            grown[:, :, tall - down, :columns] = half
            grown[:, :, up, :columns] = half
        return {"spectrum": grown / larger_gain}

    def decode_raw(self, parameters: Parameters) -> Tensor:  # noqa: D102
        spectrum = parameters["spectrum"]
        gain = self._gain(spectrum.device, spectrum.dtype)
        raw: Tensor = _Inverse.apply(spectrum, gain, self.canvas)
        return raw

    def _gain(
        self, device: torch.device, dtype: torch.dtype, canvas: tuple[int, int] | None = None
    ) -> Tensor:
        """Return the gain of each wave: of all channels alike, or ``(C, …)`` where colours have their own."""
        height, width = canvas or self.canvas
        colors = self.decorrelate and (self.channels == 3 or self.statistics is not None)
        if self.color_exponent is None or not colors:
            return _gain(height, width, self.exponent, device, dtype)
        return _color_gain(height, width, self.exponent, self.color_exponent, self.channels, device, dtype)


@lru_cache(maxsize=16)
def _gain(height: int, width: int, exponent: float, device: torch.device, dtype: torch.dtype) -> Tensor:
    longer = max(height, width)
    with torch.inference_mode(False):  # it is kept, and a later run climbs through it
        amplitudes = falling_amplitudes(height, width, exponent)
        gain: Tensor = 0.25 * amplitudes * (REFERENCE_SIZE / longer) ** (exponent - 1)
        # Once for the real and once for the imaginary part: a product without stretched axes is vectorized.
        return gain[..., None].repeat(1, 1, 2).to(device=device, dtype=dtype)


@lru_cache(maxsize=16)
def _color_gain(
    height: int,
    width: int,
    exponent: float,
    color_exponent: float,
    channels: int,
    device: torch.device,
    dtype: torch.dtype,
) -> Tensor:
    gain = _gain(height, width, exponent, device, dtype)
    with torch.inference_mode(False):
        waves = (
            frequencies(height, width).clamp(min=COARSE / max(height, width)) * max(height, width) / COARSE
        )
        color = gain * (waves ** (exponent - color_exponent)).to(gain)[..., None]
        return torch.stack([gain] + [color] * (channels - 1))


class _Inverse(torch.autograd.Function):
    """irfft2(gain · spectrum), orthonormal; the backward pass is one rfft2 and one product.

    Every bin but those of column 0 (and, for an even width, the last) stands for itself and for its
    mirror image, so its derivative counts twice.
    """

    @staticmethod
    def forward(ctx: Any, spectrum: Tensor, gain: Tensor, canvas: tuple[int, int]) -> Tensor:
        ctx.width = canvas[1]
        ctx.save_for_backward(gain)
        raw: Tensor = torch.fft.irfft2(torch.view_as_complex(spectrum * gain), s=canvas, norm="ortho")
        return raw

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (gain,) = ctx.saved_tensors
        bins = torch.view_as_real(torch.fft.rfft2(gradients[0], norm="ortho"))
        return bins.mul_(gain * _counts(gain, ctx.width)), None, None


def _counts(gain: Tensor, width: int) -> Tensor:
    """How often each column of a half spectrum stands in the whole one, ``(W // 2 + 1, 1)``."""
    columns = torch.arange(gain.shape[-2], device=gain.device)
    mirrored = (columns > 0) & (columns * 2 != width)
    return (1 + mirrored.to(gain.dtype))[:, None]
