"""Tone: six figures of a picture's light and colour, in which sets of pictures differ from photographs."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import numpy as np

from featvis.objectives.reference import fitted
from featvis.trust.judging import Shown, image_of

SIDE = 224
"""Gradients and blocks are of pixels, so every image is measured at one size, as photographs were."""
_ENDS = (0.02, 0.98)
_LUMINANCE = (0.299, 0.587, 0.114)
_BLOCK = 16


@dataclass(frozen=True)
class Tone:
    """The six, each 0 where there is nothing of it; of grey images colour is NaN."""

    clipped: float
    """The share of values below .02 or above .98."""
    rms_contrast: float
    """The standard deviation of the luminance."""
    saturation: float
    """The mean over the pixels of the largest less the smallest channel."""
    gradient: float
    """The mean absolute difference of luminance between neighbours, of rows and of columns."""
    local_contrast: float
    """The mean standard deviation of the luminance in blocks of 16 pixels."""
    colourfulness: float
    """Hasler and Süsstrunk's (2003): √(σ²rg + σ²yb) + .3 √(μ²rg + μ²yb)."""


TONES = tuple(field.name for field in fields(Tone))


def measure_tone(picture: Shown) -> Tone | None:
    """Measure the middle square of one image at 224 pixels; None unless it is an image, grey or of RGB.

    >>> import torch
    >>> tone = measure_tone(torch.tensor([0.9, 0.5, 0.1])[:, None, None].expand(3, 224, 224))
    >>> round(tone.saturation, 3), tone.rms_contrast < 1e-6
    (0.8, True)
    """
    image = image_of(picture)
    side = min(image.shape[1:])
    if image.shape[0] not in (1, 3) or side < 2:
        return None
    top, left = ((length - side) // 2 for length in image.shape[1:])
    square = fitted(image[None, :, top : top + side, left : left + side], (SIDE, SIDE))[0].double().numpy()
    if len(square) == 1:
        luminance, saturation, colourfulness = square[0], math.nan, math.nan
    else:
        red, green, blue = square
        luminance = np.tensordot(_LUMINANCE, square, 1)
        saturation = float((square.max(0) - square.min(0)).mean())
        red_green, yellow_blue = red - green, (red + green) / 2 - blue
        spread = math.hypot(red_green.std(), yellow_blue.std())
        colourfulness = spread + 0.3 * math.hypot(red_green.mean(), yellow_blue.mean())
    blocks = luminance.reshape(SIDE // _BLOCK, _BLOCK, SIDE // _BLOCK, _BLOCK)
    down, across = (float(np.abs(np.diff(luminance, axis=axis)).mean()) for axis in (0, 1))
    return Tone(
        clipped=float(((square < _ENDS[0]) | (square > _ENDS[1])).mean()),
        rms_contrast=float(luminance.std()),
        saturation=saturation,
        gradient=(down + across) / 2,
        local_contrast=float(blocks.std((1, 3)).mean()),
        colourfulness=colourfulness,
    )
