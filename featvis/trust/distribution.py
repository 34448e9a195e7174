"""How photographs' values of one measure are distributed, and how far those of pictures are from them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from featvis.trust.intervals import Values

_POINTS = 500
_AT_ONCE = 100


@dataclass(frozen=True, eq=False)
class Distribution:
    """Equally likely values of one measure, in rising order."""

    values: Values
    mean: float
    count: int
    """Of how many photographs, or batches of them, they are known."""

    @classmethod
    def of_values(cls, values: Iterable[float]) -> Distribution | None:
        """Return that of values, without those that are not finite; None if none is left."""
        given = np.fromiter(values, np.float64)
        given = np.sort(given[np.isfinite(given)])
        return cls(given, float(given.mean()), len(given)) if len(given) else None

    @classmethod
    def of_quantiles(cls, quantiles: Mapping[str, float], mean: float, count: int) -> Distribution:
        """Return that of a table of quantiles: straight between them, even beyond the outermost."""
        shares = np.array([float(share) for share in quantiles])
        order = np.argsort(shares)
        known = np.array(list(quantiles.values()), dtype=np.float64)
        middles = (np.arange(_POINTS) + 0.5) / _POINTS
        return cls(np.interp(middles, shares[order], known[order]), mean, count)

    def quantile(self, share: float) -> float:
        """Return the value that a share of them does not exceed."""
        return float(np.quantile(self.values, share))

    def distance(self, values: Values, weights: Values | None = None) -> Values:
        """Return the Wasserstein-1 distance of values from these: ∫ |F(x) - G(x)| dx.

        Args:
            values: ``(N,)``, all finite.
            weights: ``(draws, N)``, of each row at least one above 0: a distance for each row; by default
                each value counts once.
        """
        rows = np.ones((1, len(values))) if weights is None else weights
        rows = rows / rows.sum(1, keepdims=True)
        points = np.concatenate((values, self.values))
        order = np.argsort(points, kind="stable")
        steps = np.diff(points[order])
        theirs = np.cumsum(np.where(order < len(values), 0.0, 1 / len(self.values)))
        found = np.empty(len(rows))
        for place in range(0, len(rows), _AT_ONCE):
            part = rows[place : place + _AT_ONCE]
            padded = np.concatenate((part, np.zeros((len(part), len(self.values)))), 1)
            ours = np.cumsum(padded[:, order], 1)
            found[place : place + _AT_ONCE] = np.abs(ours - theirs)[:, :-1] @ steps
        return found

    def usual(self, count: int, draws: int = 400) -> float:
        """Return the distance that ``count`` values drawn from these exceed in one of twenty draws."""
        if count not in self._usual:
            chance = np.random.default_rng(0)
            drawn = chance.multinomial(count, np.full(len(self.values), 1 / len(self.values)), draws)
            self._usual[count] = float(np.quantile(self.distance(self.values, drawn.astype(float)), 0.95))
        return self._usual[count]

    @cached_property
    def _usual(self) -> dict[int, float]:
        return {}
