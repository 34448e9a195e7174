"""How sure a figure is: the interval of a share, and of a mean."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]


def wilson(successes: int, count: int, z: float = 1.959964) -> tuple[float, float]:
    """Return Wilson's score interval of a share (Wilson 1927), by default of 95 %.

    >>> [round(bound, 3) for bound in wilson(78, 84)]
    [0.853, 0.967]
    """
    if not 0 <= successes <= count:
        raise ValueError(f"successes lie between 0 and {count}, got {successes}")
    if count == 0:
        return 0.0, 1.0
    share, square = successes / count, z * z
    middle = share + square / (2 * count)
    half = z * math.sqrt(share * (1 - share) / count + square / (4 * count * count))
    whole = 1 + square / count
    return max(0.0, (middle - half) / whole), min(1.0, (middle + half) / whole)


def paired(a: Values, b: Values, owners: NDArray[np.int64], draws: int, seed: int = 0) -> tuple[float, float]:
    """Return the 95 % interval of mean(b - a), by a bootstrap over the owners of the values (Efron 1979)."""
    return of_mean(b - a, owners, draws, seed)


def of_mean(values: Values, owners: NDArray[np.int64], draws: int, seed: int = 0) -> tuple[float, float]:
    """Return the 95 % interval of a mean, by a bootstrap over the owners of the values (Efron 1979)."""
    kinds, places = np.unique(owners, return_inverse=True)
    sums = np.bincount(places, weights=values)
    counts = np.bincount(places)
    chosen = np.random.default_rng(seed).integers(0, len(kinds), (draws, len(kinds)))
    means = sums[chosen].sum(1) / counts[chosen].sum(1)
    low, high = np.quantile(means, (0.025, 0.975))
    return float(low), float(high)


class StreamedMeans:
    """The means of several columns over a stream of rows, with 95 % intervals by a bootstrap over the rows.

    In every draw each row counts as often as a Poisson number of mean 1 says (Chamandy et al. 2012), so that
    no row is needed twice: memory is ``draws`` times the columns, however many rows there are.
    """

    def __init__(self, columns: int, draws: int = 1000, seed: int = 0) -> None:
        """Begin with no row."""
        self._chance = np.random.default_rng(seed)
        self._sums, self._counts = np.zeros((draws, columns)), np.zeros(draws)
        self._sum, self.rows = np.zeros(columns), 0

    def add(self, values: Values) -> None:
        """Take rows, ``(count, columns)``."""
        weights = self._chance.poisson(1.0, (len(values), len(self._counts))).T.astype(np.float64)
        self._sums += weights @ values
        self._counts += weights.sum(1)
        self._sum += values.sum(0)
        self.rows += len(values)

    @property
    def mean(self) -> Values:
        """The columns' means."""
        return self._sum / max(self.rows, 1)

    def interval(self) -> tuple[Values, Values] | None:
        """Return the least and greatest of each column's interval; None of fewer than two rows."""
        if self.rows < 2:
            return None
        drawn = self._counts > 0
        means = self._sums[drawn] / self._counts[drawn, None]
        low, high = np.quantile(means, (0.025, 0.975), axis=0)
        return low, high
