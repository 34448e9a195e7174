"""A picture's light and colour."""

from __future__ import annotations

from torch import Tensor

from featvis.trust.spectra import luminance

_NEAR_THE_END = 2.5 / 255


def contrast(image: Tensor) -> float:
    """Return the standard deviation of an image's luminance, 0 to ½."""
    return float(luminance(image.double()).std(correction=0))


def saturation(image: Tensor) -> float:
    """Return the mean over the pixels of the largest less the smallest channel, 0 to 1."""
    values = image.double()
    return float((values.amax(0) - values.amin(0)).mean())


def clipped(image: Tensor) -> float:
    """Return the share of values within two of 255 levels of black or white."""
    return float(((image <= _NEAR_THE_END) | (image >= 1 - _NEAR_THE_END)).double().mean())
