"""Random brightness, contrast, saturation, hue and colour offset."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from featvis.errors import CanvasError
from featvis.spec.options import FractionSchedule, PositiveSchedule
from featvis.spec.register import part
from featvis.transforms.base import Size, Transform, between

LUMA = (0.2989, 0.587, 0.114)  # ITU-R BT.601, as torchvision rounds it
MOST_CHANNELS = 4


@part("color_jitter")
class ColorJitter(Transform):
    """Change the colours of each picture by amounts of its own, in the order of the options.

    ``brightness``, ``contrast`` and ``saturation`` are the most that a factor differs from 1 (formulas of
    torchvision's ``adjust_*``); ``hue`` the most, in degrees, that colours turn about the grey axis, which,
    other than HSV's hue, is smooth at grey and linear; ``offset`` the most that is added to or taken from
    each channel. All are uniform and may be [start, end] over the run. Nothing is clipped, so that no
    gradient is lost. Without three channels, grey is the mean of the channels and hue is left out.

    >>> import featvis as fv
    >>> fv.ColorJitter(brightness=[0.3, 0.1], hue=10).hue
    (10.0, 10.0)
    """

    numbers = 4 + MOST_CHANNELS

    brightness: FractionSchedule = (0.1, 0.1)
    contrast: FractionSchedule = (0.1, 0.1)
    saturation: FractionSchedule = (0.1, 0.1)
    hue: PositiveSchedule = (5.0, 5.0)
    offset: PositiveSchedule = (0.0, 0.0)

    def prepare(self, uniform: Tensor, progress: Tensor, canvas: Size, shown_size: Size) -> Tensor:
        """Return ``(lanes, steps, 8)``: three factors, an angle in radians, an offset for each channel."""
        even = 2 * uniform - 1
        factors = [
            1 + even[..., place] * between(amount, progress)
            for place, amount in enumerate((self.brightness, self.contrast, self.saturation))
        ]
        angle = even[..., 3] * between(self.hue, progress) * (math.pi / 180)
        offsets = even[..., 4:] * between(self.offset, progress)[:, None]
        return torch.cat((torch.stack((*factors, angle), dim=-1), offsets), dim=-1)

    def apply(self, images: Tensor, values: Tensor, field: Tensor | None, shown_size: Size) -> Tensor:
        """Change the colours."""
        channels = images.shape[1]
        check_channels("color_jitter", channels)
        brightness, contrast, saturation, angle = values[:, :4, None, None, None].unbind(1)
        images = images * brightness
        mean = _gray(images).mean((2, 3), keepdim=True)
        images = mean + contrast * (images - mean)
        gray = _gray(images)
        images = gray + saturation * (images - gray)
        if channels == 3:
            images = _turned(images, angle)
        return images + values[:, 4 : 4 + channels, None, None]


def check_channels(name: str, channels: int) -> None:
    """Raise a :class:`~featvis.errors.CanvasError` for images with more channels than there are draws for."""
    if channels > MOST_CHANNELS:
        raise CanvasError(f"{name} takes images of 1 to {MOST_CHANNELS} channels, these have {channels}")


def _gray(images: Tensor) -> Tensor:
    if images.shape[1] != 3:
        return images.mean(1, keepdim=True)
    red, green, blue = images.unbind(1)
    return (LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue)[:, None]


def _turned(images: Tensor, angle: Tensor) -> Tensor:
    """Turn colours about the axis (1, 1, 1): Rodrigues' formula, with shifted channels for cross products."""
    mean = images.mean(1, keepdim=True)
    cross = (images.roll(1, 1) - images.roll(-1, 1)) / math.sqrt(3)
    return mean + angle.cos() * (images - mean) + angle.sin() * cross
