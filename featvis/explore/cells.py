"""The cells of a map: what lies in each, the direction that it stands for, its patches and neighbours."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from featvis.spec.same import SameByValue

Numbers = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Cells(SameByValue):
    """The filled cells of one grid, row by row."""

    side: int
    """The grid is so many cells wide and high."""
    rows: Numbers
    columns: Numbers
    members: tuple[Numbers, ...]
    """Of each cell the numbers of the vectors that lie in it."""

    def __len__(self) -> int:
        return len(self.members)


def find_cells(places: NDArray[np.float64], side: int, least: int) -> Cells:
    """Lay a grid over places on the unit square and keep the cells that hold at least so many.

    Args:
        places: ``(N, 2)``, across and down, from 0 to 1.
        side: how many cells the grid is wide and high.
        least: how many places a cell holds at least.

    >>> cells = find_cells(np.array([[0.1, 0.9], [0.2, 0.8], [0.9, 0.1]]), side=2, least=2)
    >>> cells.rows.tolist(), cells.columns.tolist(), [one.tolist() for one in cells.members]
    ([1], [0], [[0, 1]])
    """
    at = np.minimum((places * side).astype(np.int64), side - 1)
    numbers = at[:, 1] * side + at[:, 0]
    order = np.argsort(numbers, kind="stable")
    filled, starts, counts = np.unique(numbers[order], return_index=True, return_counts=True)
    kept = [place for place, count in enumerate(counts) if count >= least]
    members = tuple(np.sort(order[starts[place] : starts[place] + counts[place]]) for place in kept)
    return Cells(side, filled[kept] // side, filled[kept] % side, members)


def mean_vectors(vectors: NDArray[np.floating], cells: Cells) -> NDArray[np.float64]:
    """Return the mean of the vectors in each cell, ``(cells, units)``."""
    means = [vectors[one].astype(np.float64).mean(0) for one in cells.members]
    return np.stack(means) if means else np.zeros((0, vectors.shape[1]))


def directions_of(
    means: NDArray[np.float64], whitening: NDArray[np.float64] | None = None
) -> NDArray[np.float32]:
    """Return the direction of length 1 for each mean v, whitened S·v: the dual direction.

    It responds to v more than to what all activations have in common. A mean of nothing stays 0.
    """
    found = means if whitening is None else means @ whitening
    lengths = np.linalg.norm(found, axis=1, keepdims=True)
    return (found / np.where(lengths > 0, lengths, 1)).astype(np.float32)


def nearest_cells(means: NDArray[np.float64], middle: NDArray[np.float64], count: int) -> list[list[int]]:
    """Return for each cell the others whose means differ most alike from the middle, by cosine."""
    apart = means - middle
    apart = apart / np.maximum(np.linalg.norm(apart, axis=1, keepdims=True), 1e-12)
    alike = apart @ apart.T
    np.fill_diagonal(alike, -np.inf)
    order = np.argsort(-alike, axis=1, kind="stable")[:, : min(count, max(0, len(means) - 1))]
    return [[int(one) for one in row] for row in order]


def typical(
    vectors: NDArray[np.floating],
    members: Numbers,
    owners: NDArray[np.int32],
    middle: NDArray[np.float64],
    count: int,
) -> Numbers:
    """Return the members most like their cell's mean, from different photographs as far as these go.

    Alike is the cosine of what they differ from ``middle``, the mean of all.
    """
    apart = vectors[members].astype(np.float64) - middle
    mean = apart.mean(0)
    alike = apart @ mean / np.maximum(np.linalg.norm(apart, axis=1), 1e-12)
    order = members[np.argsort(-alike, kind="stable")]
    firsts, rest, seen = list[int](), list[int](), set[int]()
    for member in order.tolist():
        (rest if int(owners[member]) in seen else firsts).append(member)
        seen.add(int(owners[member]))
    return np.asarray([*firsts, *rest][:count], dtype=np.int64)


@dataclass(frozen=True, eq=False)
class Likeness(SameByValue):
    """How alike the directions of neighbouring cells are, and those of any two."""

    neighbours: float
    """The mean cosine of cells that touch by a side."""
    others: float
    """The mean cosine of all pairs of cells."""
    difference: tuple[float, float]
    """The 95 % interval of the difference, by a bootstrap over the cells."""
    pairs: int
    """How many neighbours there are."""


def find_likeness(
    cells: Cells, directions: NDArray[np.floating], draws: int = 2000, seed: int = 0
) -> Likeness | None:
    """Compare neighbouring cells' directions with those of all pairs; None where no two cells touch.

    >>> cells = Cells(2, np.array([0, 0, 1]), np.array([0, 1, 1]), ())
    >>> likeness = find_likeness(cells, np.array([[1.0, 0], [1, 0], [0, 1]]))
    >>> round(likeness.neighbours, 2), round(likeness.others, 2)
    (0.5, 0.33)
    """
    where = zip(cells.rows.tolist(), cells.columns.tolist(), strict=True)
    at = {place: number for number, place in enumerate(where)}
    pairs = [
        (place, at[other])
        for (row, column), place in at.items()
        for other in ((row, column + 1), (row + 1, column))
        if other in at
    ]
    count = len(at)
    if not pairs:
        return None
    exact = directions.astype(np.float64)
    exact = exact / np.maximum(np.linalg.norm(exact, axis=1, keepdims=True), 1e-12)
    first, second = np.asarray(pairs).T
    touching = (exact[first] * exact[second]).sum(1)
    own = (exact * exact).sum(1)  # 1, or 0 of a cell without a direction

    def compare(weights: NDArray[np.float64]) -> tuple[float, float] | None:
        """Return the mean cosine of neighbours and of all pairs; sums over pairs, without a table of them."""
        near = weights[first] * weights[second]
        every = weights.sum() ** 2 - (weights * weights).sum()
        if near.sum() <= 0 or every <= 0:
            return None
        whole = weights @ exact
        alike = whole @ whole - (weights * weights) @ own
        return float(near @ touching / near.sum()), float(alike / every)

    chance = np.random.default_rng(seed)
    differences = []
    for _ in range(draws):
        # A cell that is drawn twice counts twice in each of its pairs.
        drawn = np.bincount(chance.integers(0, count, count), minlength=count).astype(np.float64)
        if (found := compare(drawn)) is not None:
            differences.append(found[0] - found[1])
    low, high = np.quantile(differences, (0.025, 0.975))
    whole = compare(np.ones(count))
    assert whole is not None  # a pair that touches is a pair
    return Likeness(
        *whole,
        (float(low), float(high)),
        len(pairs),
    )
