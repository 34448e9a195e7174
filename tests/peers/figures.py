"""The comparison's arithmetic: medians, ratios, bootstrap intervals, curves, tables. No torch, no peer."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

DRAWS = 4000
Interval = tuple[float, float]


def median_ms(seconds: Sequence[float], pictures: int = 1) -> float:
    """Return the median in milliseconds for one picture.

    >>> median_ms([0.008, 0.016, 0.4], pictures=8)
    2.0
    """
    return statistics.median(seconds) * 1000 / pictures


def undisturbed(gaps: Sequence[float]) -> tuple[float, int]:
    """Return the sum of steps of like length as if nothing else had used the machine, and how many it mended.

    A step of more than three times the median counts as the median.

    >>> undisturbed([2.0, 2.0, 3.0, 40.0])
    (9.5, 1)
    """
    if not gaps:
        return 0.0, 0
    middle = statistics.median(gaps)
    far = sum(gap > 3 * middle for gap in gaps)
    return sum(gap if gap <= 3 * middle else middle for gap in gaps), far


def ratio_by_round(theirs: Sequence[float], ours: Sequence[float]) -> tuple[float, float, float]:
    """Return the median, the least and the greatest of the ratios of rounds measured in turn.

    >>> ratio_by_round([50, 60, 66], [5, 5, 6])
    (11.0, 10.0, 12.0)
    """
    ratios = [their / our for their, our in zip(theirs, ours, strict=True)]
    return statistics.median(ratios), min(ratios), max(ratios)


def resamples(count: int, draws: int = DRAWS, seed: int = 0) -> NDArray[np.int64]:
    """Return ``(draws, count)`` indices, each row a bootstrap sample of ``count`` classes."""
    return np.random.default_rng(seed).integers(0, count, (draws, count))


def mean_interval(values: Sequence[float], draws: int = DRAWS, seed: int = 0) -> Interval:
    """Return the bootstrap 95 % interval of a mean."""
    means = np.asarray(values, float)[resamples(len(values), draws, seed)].mean(1)
    return quantiles(means)


def quantiles(values: NDArray[np.float64]) -> Interval:
    """Return the middle 95 % of values."""
    low, high = np.quantile(values, (0.025, 0.975), method="nearest")
    return float(low), float(high)


@dataclass(frozen=True)
class Curve:
    """What a method reaches when it is given more time: one point for each number of steps."""

    seconds: tuple[float, ...]
    """Rising, for one picture."""
    values: NDArray[np.float64]
    """``(points, classes)``."""

    def reach(self, level: float, sample: NDArray[np.int64] | None = None) -> float:
        """Return the seconds at which the mean reaches ``level``, interpolated between points.

        The first point's seconds if it is there already (an upper bound), infinity if no point is.
        """
        values = self.values if sample is None else self.values[:, sample]
        means = values.mean(1)
        if means[0] >= level:
            return self.seconds[0]
        for place in range(1, len(means)):
            if means[place] >= level:
                share = (level - means[place - 1]) / (means[place] - means[place - 1])
                return self.seconds[place - 1] + float(share) * (
                    self.seconds[place] - self.seconds[place - 1]
                )
        return math.inf


@dataclass(frozen=True)
class Reach:
    """How much sooner a curve reaches what another method reaches."""

    level: float
    seconds: float
    bound: bool
    """Whether the first point is there already, so that ``seconds`` is too much and ``ratio`` too little."""
    ratio: float
    interval: Interval
    """95 % of bootstrap samples of the classes."""


def time_to_reach(
    curve: Curve, theirs: Sequence[float], their_seconds: float, draws: int = DRAWS, seed: int = 0
) -> Reach:
    """Compare a curve with another method's picture of the same classes.

    Args:
        curve: ours.
        theirs: the other's value for each class.
        their_seconds: what it takes for a picture.
        draws: bootstrap samples; each draws classes for both.
        seed: of the bootstrap.
    """
    values = np.asarray(theirs, float)
    level = float(values.mean())
    seconds = curve.reach(level)
    ratios = [
        their_seconds / curve.reach(float(values[sample].mean()), sample)
        for sample in resamples(len(values), draws, seed)
    ]
    return Reach(
        level, seconds, seconds == curve.seconds[0], their_seconds / seconds, quantiles(np.asarray(ratios))
    )


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table whose columns line up; all but the first are right-aligned.

    >>> print(table(["what", "ms"], [["a", "1.0"], ["bcd", "12.5"]]))
    | what |   ms |
    |:-----|-----:|
    | a    |  1.0 |
    | bcd  | 12.5 |
    """
    columns = [*zip(head, *rows, strict=True)]
    widths = [max(len(cell) for cell in column) for column in columns]

    def line(cells: Sequence[str]) -> str:
        padded = [
            cell.rjust(width) if place else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        return "| " + " | ".join(padded) + " |"

    rule = (
        "|" + "|".join("-" * (w + 1) + ":" if p else ":" + "-" * (w + 1) for p, w in enumerate(widths)) + "|"
    )
    return "\n".join([line(head), rule, *(line(row) for row in rows)])
