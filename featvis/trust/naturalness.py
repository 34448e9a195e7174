"""Naturalness: a judge's BatchNorm statistics, the spectrum, light and colour, beside photographs'."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from featvis.errors import UserError
from featvis.models.handle import ModelHandle
from featvis.trust.judging import Shown, fit, image_of
from featvis.trust.spectra import luminance, spectrum

Range = tuple[float, float]

PHOTOGRAPHS: Mapping[str, Range] = {
    "slope": (-1.6, -0.95),
    "high_share": (0.0, 0.08),
    "contrast": (0.11, 0.34),
    "saturation": (0.0, 0.40),
    "clipped": (0.0, 0.37),
}
"""Where 95 % of photographs lie, for use without a folder of them: contrast, saturation and clipping of a
thousand of many kinds; slope and high share of the nine scenes that come with scikit-image, at 224 pixels
(close-ups of grass, gravel and brick lie outside, which :func:`is_unlike` allows for)."""

_NEAR_THE_END = 2.5 / 255
ENOUGH = 40
"""So many photographs have a range of their own."""
UNLIKE = 1.2
"""D_σ of one picture alone that photographs stay far below (.55 in EfficientNet-Lite1, uniform noise 1.6)."""


@dataclass(frozen=True)
class Appearance:
    """What of one image can be compared with photographs."""

    slope: float
    """Of the amplitude spectrum; see :func:`featvis.trust.spectra.spectrum`."""
    high_share: float
    """Of the power, above a quarter cycle a pixel."""
    contrast: float
    saturation: float
    clipped: float

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data; None for what an image of one value has not."""
        return {name: value if math.isfinite(value) else None for name, value in asdict(self).items()}


@dataclass(frozen=True)
class Statistics:
    """How far a batch is from what a judge's BatchNorm layers saw in training, mean over batches."""

    shift: float
    """D_μ: mean over layers of mean over channels of (μ - m)² / (v + ε)."""
    spread: float
    """D_σ: mean over layers of mean over channels of |ln((σ² + ε) / (v + ε))|."""
    batch: int
    """How many pictures stood together; both values depend on it."""
    alone: tuple[float, ...]
    """D_σ of each picture as a batch of its own."""
    batches: tuple[tuple[float, float], ...] = ()
    """D_μ and D_σ of each batch."""

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data, without the pictures' and batches' own values."""
        means = {"shift": self.shift, "spread": self.spread, "batch": self.batch}
        return {**means, "pictures": len(self.alone), "alone": sum(self.alone) / len(self.alone)}


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


def measure_appearance(picture: Shown) -> Appearance:
    """Measure one image's spectrum, contrast, saturation and clipping."""
    image = image_of(picture)
    slope, high_share = spectrum(image)
    return Appearance(slope, high_share, contrast(image), saturation(image), clipped(image))


def naturalness(pictures: Sequence[Shown], judge: ModelHandle, batch: int = 8) -> Statistics | None:
    """Compare a judge's BatchNorm statistics on pictures with those of its training; None without BatchNorm.

    At the input of every BatchNorm2d that runs once: μ, σ² over the batch and all positions (biased), m, v
    its running statistics, ε its own. What DeepInversion (arXiv 1912.08795) minimizes, measured in a network
    that was not climbed. It sees noise and artefacts, not meaning. Fewer pictures than ``batch`` make one
    smaller batch; the last batch is filled up with pictures before it.
    """
    if batch < 1:
        raise UserError(f"batch is at least 1, got {batch}")
    modules = dict(judge.module.named_modules())
    norms = [modules[name] for name in judge.at(judge.input_size).batch_norms([judge.output_layer])]
    norms = [norm for norm in norms if norm.running_var is not None]
    images = fit(pictures, judge)
    if not norms:
        return None
    width = min(batch, len(images))
    found: list[tuple[float, float]] = []
    alone = [0.0] * len(images)
    for place in range(0, len(images), width):
        start = min(place, len(images) - width)
        shift, spread, singles = batch_distances(images[start : start + width], judge, norms)
        found.append((shift, spread))
        alone[start : start + width] = singles
    shift, spread = (sum(column) / len(found) for column in zip(*found, strict=True))
    return Statistics(shift, spread, width, tuple(alone), tuple(found))


@torch.no_grad()
def batch_distances(
    images: Tensor, judge: ModelHandle, norms: Sequence[nn.Module]
) -> tuple[float, float, list[float]]:
    """Return D_μ, D_σ of one batch ``(B, C, H, W)`` at some BatchNorms' inputs, and each image's own D_σ."""
    shifts, spreads, alone = [], [], []

    def measure(norm: Any, inputs: Any) -> None:
        given: Tensor = inputs[0].float()
        variances, means = torch.var_mean(given, (2, 3), correction=0)
        mean = means.mean(0)
        # All of the variance: within the images and between them.
        variance = variances.mean(0) + (means - mean).square().mean(0)
        trained = norm.running_var + norm.eps
        shifts.append(((mean - norm.running_mean).square() / trained).mean())
        spreads.append((((variance + norm.eps) / trained).log().abs()).mean())
        alone.append(((variances + norm.eps) / trained).log().abs().mean(1))

    with ExitStack() as restore:
        for norm in norms:
            restore.callback(norm.register_forward_pre_hook(measure).remove)
        judge.run_once(images)
    singles = torch.stack(alone).mean(0).tolist()
    return float(torch.stack(shifts).mean()), float(torch.stack(spreads).mean()), singles


def range_of(photographs: Sequence[Appearance]) -> dict[str, Range]:
    """Return the middle 95 % of photographs by name; of a few, :data:`PHOTOGRAPHS` widened to hold them."""
    ranges = dict(PHOTOGRAPHS)
    for name, known in PHOTOGRAPHS.items():
        values = [value for photograph in photographs if math.isfinite(value := getattr(photograph, name))]
        if values:
            low, high = (float(bound) for bound in np.quantile(values, (0.025, 0.975)))
            few = len(values) < ENOUGH
            ranges[name] = (min(low, known[0]), max(high, known[1])) if few else (low, high)
    return ranges


def outside(appearance: Appearance, ranges: Mapping[str, Range] = PHOTOGRAPHS) -> list[str]:
    """Return the names of what lies outside photographs' range; what cannot be measured is outside."""
    return [
        name
        for name, (low, high) in ranges.items()
        if not low <= getattr(appearance, name) <= high  # NaN is in no range
    ]


def is_unlike(
    appearance: Appearance, ranges: Mapping[str, Range] = PHOTOGRAPHS, alone: float | None = None
) -> bool:
    """Whether an image's spectrum is one that no photograph has.

    Slope or high share lies outside photographs' range by more than its width (of the high share: above
    three times its upper end); or its own D_σ, where a judge told it, is above :data:`UNLIKE`.
    """
    if alone is not None and alone > UNLIKE:
        return True
    (low, high), (_, most) = ranges["slope"], ranges["high_share"]
    width = high - low
    return not low - width <= appearance.slope <= high + width or not appearance.high_share <= 3 * most
