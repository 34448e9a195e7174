"""Sets of pictures beside sets of photographs: how what can be said of each is distributed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from torch import Tensor

from featvis.models.handle import ModelHandle
from featvis.trust.distribution import Distribution
from featvis.trust.intervals import Values
from featvis.trust.judging import Shown, image_of
from featvis.trust.known import Norms, known_judge
from featvis.trust.naturalness import Statistics, naturalness
from featvis.trust.spectra import spectrum
from featvis.trust.tone import TONES, measure_tone

LOOKS = ("slope", "high_share", *TONES)
"""What is measured of each picture without a network: its spectrum at its own size, and its tone."""


@dataclass(frozen=True)
class Standing:
    """Where one measure of a set of pictures stands beside photographs'."""

    mean: float
    photographs: float
    """Photographs' mean."""
    distance: float
    """The Wasserstein-1 distance of the pictures' values from photographs'."""
    usual: float
    """The distance that sets of as many photographs keep within, nineteen of twenty."""
    says: str
    """``like photographs``, or how it is else: ``higher``, ``lower``, ``more alike``, ``more varied``."""

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        return asdict(self)


def looks_of(pictures: Sequence[Shown]) -> dict[str, Values]:
    """Return each measure of :data:`LOOKS` of each picture; NaN where it has none."""
    table: dict[str, list[float]] = {name: [] for name in LOOKS}
    for picture in pictures:
        slope, high_share = spectrum(image_of(picture))
        tone = measure_tone(picture)
        told = {"slope": slope, "high_share": high_share, **({} if tone is None else asdict(tone))}
        for name, values in table.items():
            values.append(told.get(name, np.nan))
    return {name: np.array(values, dtype=np.float64) for name, values in table.items()}


def distributions_of(photographs: Sequence[Shown]) -> dict[str, Distribution]:
    """Return how the measures of photographs are distributed, of those that they have."""
    found = {name: Distribution.of_values(values) for name, values in looks_of(photographs).items()}
    return {name: one for name, one in found.items() if one is not None}


def stand(values: Values, photographs: Distribution) -> Standing | None:
    """Say where values of a set stand beside photographs'; None where none of them is a number.

    >>> photographs = Distribution.of_values(np.linspace(0, 1, 101))
    >>> [stand(np.array(values), photographs).says for values in ([0.1, 0.4, 0.9], [2.0] * 9, [0.5] * 40)]
    ['like photographs', 'higher', 'more alike']
    """
    values = values[np.isfinite(values)]
    if not len(values):
        return None
    mean, distance = float(values.mean()), float(photographs.distance(values)[0])
    usual = photographs.usual(len(values))
    if distance <= usual:
        says = "like photographs"
    elif abs(mean - photographs.mean) >= distance / 2:
        says = "higher" if mean > photographs.mean else "lower"
    else:
        says = "more alike" if values.std() < photographs.values.std() else "more varied"
    return Standing(mean, photographs.mean, distance, usual, says)


def stand_all(looks: Mapping[str, Values], photographs: Mapping[str, Distribution]) -> dict[str, Standing]:
    """Return where every measure that both have stands."""
    told = {name: stand(looks[name], photographs[name]) for name in looks if name in photographs}
    return {name: one for name, one in told.items() if one is not None}


def norms_of(judge: ModelHandle, photographs: Tensor | None, batch: int) -> Norms | None:
    """Return a judge's BatchNorm distances of photographs: measured on those given, else what is known."""
    if photographs is None:
        known = known_judge(judge)
        return None if known is None else known.norms
    measured = naturalness(list(photographs), judge, batch)
    if measured is None:
        return None
    shift, spread = (Distribution.of_values(column) for column in zip(*measured.batches, strict=True))
    alone = Distribution.of_values(measured.alone)
    if shift is None or spread is None or alone is None:
        return None
    return Norms(measured.batch, {"shift": shift, "spread": spread}, alone)


def beside_norms(measured: Statistics, photographs: Norms | None) -> dict[str, Any]:
    """Return photographs' means and quartiles of what was measured: of batches, where these are as large."""
    if photographs is None:
        return {}
    told: dict[str, Distribution] = {"alone": photographs.alone}
    if photographs.batch == measured.batch:
        told |= photographs.batches
    return {
        name: {"mean": one.mean, "quartiles": [one.quantile(0.25), one.quantile(0.75)], "of": one.count}
        for name, one in told.items()
    }
