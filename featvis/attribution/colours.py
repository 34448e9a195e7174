"""Colours for maps: even steps of lightness, computed in Oklab (Ottosson 2020) rather than listed."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]


@lru_cache
def heat() -> NDArray[np.uint8]:
    """Return 256 colours from nearly black over violet and orange to light yellow, for 0 to 1."""
    at = np.linspace(0, 1, 256)
    hue = np.radians(300 + 170 * at)
    return _srgb(0.12 + 0.83 * at, 0.15 * np.sin(np.pi * (0.12 + 0.7 * at)), hue)


@lru_cache
def balance() -> NDArray[np.uint8]:
    """Return 511 colours from blue over near white to red, for -1 to 1."""
    at = np.linspace(-1, 1, 511)
    hue = np.radians(np.where(at < 0, 255.0, 27.0))
    return _srgb(0.97 - 0.45 * np.abs(at), 0.16 * np.abs(at), hue)


def _srgb(lightness: Floats, chroma: Floats, hue: Floats) -> NDArray[np.uint8]:
    """Return 8-bit sRGB, chroma lessened where the colour would not be in it."""
    share = np.ones_like(lightness)
    for _ in range(40):
        linear = _linear(lightness, chroma * share, hue)
        outside = ((linear < 0) | (linear > 1)).any(-1)
        if not outside.any():
            break
        share = np.where(outside, share * 0.93, share)
    linear = _linear(lightness, chroma * share, hue).clip(0, 1)
    encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return (encoded * 255).round().astype(np.uint8)


def _linear(lightness: Floats, chroma: Floats, hue: Floats) -> Floats:
    a, b = chroma * np.cos(hue), chroma * np.sin(hue)
    cones = (
        np.stack(
            [
                lightness + 0.3963377774 * a + 0.2158037573 * b,
                lightness - 0.1055613458 * a - 0.0638541728 * b,
                lightness - 0.0894841775 * a - 1.2914855480 * b,
            ],
            axis=-1,
        )
        ** 3
    )
    matrix = np.array(
        [
            [4.0767416621, -3.3077115913, 0.2309699292],
            [-1.2684380046, 2.6097574011, -0.3413193965],
            [-0.0041960863, -0.7034186147, 1.7076147010],
        ]
    )
    return cones @ matrix.T  # type: ignore[no-any-return]
