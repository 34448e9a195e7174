"""What is kept of a stream of values: the best of each unit, and a sample that quantiles come from."""

from __future__ import annotations

import heapq
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

SAMPLE = 4096
"""Quantiles are exact up to this many photographs, and of that many drawn at random beyond."""


class Best:
    """The best photographs of each unit so far, units x count; equal values go to the earlier photograph."""

    def __init__(self, units: int, count: int) -> None:
        self.values = torch.full((units, count), -torch.inf)
        self.numbers = torch.full((units, count), torch.iinfo(torch.int64).max)
        self.places = torch.full((units, count), -1)

    def add(self, values: Tensor, places: Tensor, numbers: Tensor) -> None:
        """Take values and places ``(B, units)`` of photographs, ``(B,)`` their numbers in the listing."""
        count = self.values.shape[1]
        together = torch.cat((self.values, values.T), 1)
        whose = torch.cat((self.numbers, numbers.expand(len(self.numbers), -1)), 1)
        where = torch.cat((self.places, places.T), 1)
        by_number = whose.argsort(1)
        by_value = together.gather(1, by_number).argsort(dim=1, descending=True, stable=True)
        best = by_number.gather(1, by_value)[:, :count]
        self.values, self.numbers = together.gather(1, best), whose.gather(1, best)
        self.places = where.gather(1, best)


class Sampling:
    """Which photographs are kept for quantiles: all of the first 4096, then a random 4096 of all.

    The draw is a hash of the photograph's number: the same photographs whatever the order they come in.
    """

    def __init__(self, size: int = SAMPLE) -> None:
        self.size = size
        self._kept: list[tuple[int, int]] = []  # (-hash, row), the largest hash first

    def rows(self, numbers: Sequence[int]) -> list[int | None]:
        """Return the row that each photograph's values go to, None where they are not kept."""
        rows: list[int | None] = []
        for number in numbers:
            drawn = _hash(number)
            if len(self._kept) < self.size:
                row = len(self._kept)
                heapq.heappush(self._kept, (-drawn, row))
                rows.append(row)
            elif drawn < -self._kept[0][0]:
                row = self._kept[0][1]
                heapq.heapreplace(self._kept, (-drawn, row))
                rows.append(row)
            else:
                rows.append(None)
        return rows

    @property
    def filled(self) -> int:
        """How many rows hold a photograph."""
        return len(self._kept)


def _hash(number: int) -> int:
    """Mix a number's bits (splitmix64)."""
    mixed = (number + 0x9E3779B97F4A7C15) % 2**64
    mixed = (mixed ^ mixed >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    mixed = (mixed ^ mixed >> 27) * 0x94D049BB133111EB % 2**64
    return mixed ^ mixed >> 31


class Spread:
    """How the values of each unit are spread over the photographs: a sample, the sum, the largest."""

    def __init__(self, units: int, size: int = SAMPLE) -> None:
        # Memory that is not written to is not taken by the system.
        self._sample = np.empty((size, units), dtype=np.float32)
        self._sum = np.zeros(units)
        self._count = np.zeros(units, dtype=np.int64)
        self._largest = np.full(units, -np.inf, dtype=np.float32)

    def add(self, values: NDArray[np.float32], rows: Sequence[int | None]) -> None:
        """Take the values ``(B, units)`` of some photographs and where :class:`Sampling` puts them."""
        finite = np.isfinite(values)
        self._sum += np.where(finite, values, 0).sum(0, dtype=np.float64)
        self._count += finite.sum(0)
        self._largest = np.maximum(self._largest, np.where(finite, values, -np.inf).max(0))
        for photo_values, row in zip(values, rows, strict=True):
            if row is not None:
                self._sample[row] = photo_values

    def mean(self, unit: int) -> float | None:
        """The mean over all photographs; None where no value was finite."""
        return float(self._sum[unit] / self._count[unit]) if self._count[unit] else None

    def quantiles(self, unit: int, filled: int, shares: Sequence[float]) -> list[float | None]:
        """The quantiles (linear between two values); the last, 1.0, is of all photographs."""
        sample = self._sample[:filled, unit]
        sample = sample[np.isfinite(sample)].astype(np.float64)
        if not sample.size:
            return [None] * len(shares)
        pairs = zip(shares, np.quantile(sample, shares), strict=True)
        return [float(self._largest[unit] if share == 1 else value) for share, value in pairs]
