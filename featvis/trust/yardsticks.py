"""Yardsticks: what two sets of pictures are compared by, with intervals, and which of them is better."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import Tensor

from featvis.models.handle import ModelHandle
from featvis.trust.distribution import Distribution
from featvis.trust.intervals import Values, paired
from featvis.trust.judging import Shown
from featvis.trust.known import Norms, known_looks
from featvis.trust.naturalness import Statistics, naturalness
from featvis.trust.sets import distributions_of, looks_of, norms_of
from featvis.trust.transfer import transfer

BATCH = 8
"""How many pictures stand together for a judge's BatchNorm statistics."""
Owners = Sequence[Any]
"""Of each picture, the unit or class that it is of: what is drawn anew in the bootstrap."""
ENOUGH = 6
"""How many units or classes at least tell who wins: 2 / 2^n is below .05."""


@dataclass(frozen=True, eq=False)
class Sides:
    """Two sets of pictures of the same units or classes."""

    pictures: Mapping[str, Sequence[Shown]]
    """``a`` and ``b``."""
    owners: Mapping[str, Owners]
    draws: int
    """Of the bootstrap."""

    def each(self, measure: Callable[[Sequence[Shown]], Any]) -> dict[str, Any]:
        """Return what a function says of each side."""
        return {side: measure(pictures) for side, pictures in self.pictures.items()}

    def compare(self, values: Mapping[str, Values], better: int = 0) -> dict[str, Any]:
        """Return :func:`compare_means` of one value for each picture of either side."""
        return compare_means(values, self.owners, self.draws, better)

    def compare_to(self, values: Mapping[str, Values], photographs: Distribution) -> dict[str, Any]:
        """Return :func:`compare_distances` of one value for each picture of either side."""
        return compare_distances(values, self.owners, photographs, self.draws)


@dataclass(frozen=True)
class Table:
    """Measures by name, and which of them decide."""

    measures: dict[str, dict[str, Any]] = field(default_factory=dict)
    yardsticks: list[str] = field(default_factory=list)
    """The names of those by which one side wins."""

    def enter(self, name: str, row: dict[str, Any], *, decides: bool = False) -> None:
        """Enter a measure."""
        self.measures[name] = row
        if decides:
            self.yardsticks.append(name)

    def to_json(self, owners: int = ENOUGH) -> dict[str, Any]:
        """Return it as plain data, with who is better by which yardsticks and who ``wins``.

        A side wins that is better by some yardstick and worse by none; else ``wins`` is empty. Of fewer than
        six ``owners`` (units, classes) none wins, and ``too_few`` is true: all of them fall to one side more
        often than once in twenty by chance, and what they tell moves together.
        """
        ahead = {
            side: [name for name in self.yardsticks if self.measures[name]["better"] == side]
            for side in ("a", "b")
        }
        wins = [side for side, other in (("a", "b"), ("b", "a")) if ahead[side] and not ahead[other]]
        return {
            "measures": self.measures,
            "yardsticks": self.yardsticks,
            "ahead": ahead,
            "wins": "" if owners < ENOUGH else "".join(wins),
            "too_few": owners < ENOUGH,
        }


def measure_looks(sides: Sides, photographs: Tensor | None, table: Table) -> None:
    """Enter spectrum and tone: means, and which set's distribution is nearer to photographs'."""
    known = known_looks() if photographs is None else distributions_of(list(photographs))
    looks = sides.each(looks_of)
    for name in looks["a"]:
        words, values = name.replace("_", " "), {side: looks[side][name] for side in looks}
        table.enter(words, sides.compare(values))
        if name in known:
            table.enter(f"{words} from photographs'", sides.compare_to(values, known[name]), decides=True)


def measure_recognition(
    sides: Sides, labels: Mapping[str, Sequence[int]], judge: ModelHandle, views: int | None, table: Table
) -> None:
    """Enter whether a judge names the class first, its probability and its margin."""
    told = {side: transfer(sides.pictures[side], labels[side], judge, views) for side in sides.pictures}
    for name, read in (
        ("first", lambda one: float(one.rank == 1)),
        ("probability", lambda one: one.probability),
        ("margin", lambda one: one.margin),
    ):
        values = {side: np.array([read(one) for one in recognized]) for side, recognized in told.items()}
        table.enter(f"{name}, {judge.name}", sides.compare(values, 1), decides=True)


def measure_norms(sides: Sides, photographs: Tensor | None, judge: ModelHandle, table: Table) -> None:
    """Enter D_μ and D_σ in batches, and D_σ of each picture alone; of a judge without BatchNorm nothing.

    Where photographs' are known the nearer to these is the better, else the smaller in batches: below
    photographs' own lies what was made for small ones. The same pictures stand together in both sides.
    """
    norms = norms_of(judge, photographs, BATCH)
    told = sides.each(lambda pictures: _in_batches(pictures, judge))
    if told["a"] is None or told["b"] is None:
        return
    alone = {side: np.array([one for part in told[side] for one in part.alone]) for side in told}
    width = min(len(alone["a"]), len(alone["b"]))
    table.enter(f"alone (D_σ), {judge.name}", sides.compare(alone))
    if norms is not None:
        row = sides.compare_to(alone, norms.alone)
        table.enter(f"alone (D_σ) from photographs', {judge.name}", row, decides=True)
    for measure, words in (("shift", "shift (D_μ)"), ("spread", "spread (D_σ)")):
        values = {side: _whole(told[side], measure) for side in told}
        count = min(len(values["a"]), len(values["b"]))
        values = {side: some[:count] for side, some in values.items()}
        owners = {side: range(count) for side in values}
        beside = norms if norms is not None and norms.batch == BATCH <= width else None
        name = f"{words}, {judge.name}"
        better = -1 if beside is None else 0
        table.enter(name, compare_means(values, owners, sides.draws, better), decides=beside is None)
        if beside is not None:
            row = compare_distances(values, owners, _of(beside, measure), sides.draws)
            table.enter(f"{words} from photographs', {judge.name}", row, decides=True)


def _of(norms: Norms, measure: str) -> Distribution:
    return norms.batches[measure]


def _in_batches(pictures: Sequence[Shown], judge: ModelHandle) -> list[Statistics] | None:
    """Measure pictures in batches of consecutive ones; the last may be smaller."""
    found = []
    for place in range(0, len(pictures), BATCH):
        statistics = naturalness(pictures[place : place + BATCH], judge, BATCH)
        if statistics is None:
            return None
        found.append(statistics)
    return found


def _whole(told: Sequence[Statistics], measure: str) -> Values:
    """Return a measure of the whole batches; of the first where none is whole."""
    whole = [one for one in told if one.batch == BATCH] or told[:1]
    return np.array([getattr(one, measure) for one in whole])


def compare_means(
    values: Mapping[str, Values], owners: Mapping[str, Owners], draws: int, better: int = 0
) -> dict[str, Any]:
    """Compare two sides' means over the owners that both have, each owner's mean counting once.

    Args:
        values: ``a`` and ``b``; what is not finite is left out.
        owners: of each value.
        draws: of the bootstrap over owners.
        better: whether more is better (1), worse (-1), or neither is (0).

    Returns:
        ``a``, ``b``, ``difference`` (b less a), its 95 % ``interval`` (None for one owner) and ``better``:
        ``a``, ``b``, or empty where the interval holds zero or neither is better.
    """
    means = {side: _means(values[side], owners[side]) for side in ("a", "b")}
    shared = [owner for owner in means["a"] if owner in means["b"]]
    if not shared:
        return {"a": None, "b": None, "difference": None, "interval": None, "better": ""}
    a, b = (np.array([means[side][owner] for owner in shared]) for side in ("a", "b"))
    interval = paired(a, b, np.arange(len(shared)), draws) if len(shared) > 1 else None
    return _row(float(a.mean()), float(b.mean()), interval, better)


def compare_distances(
    values: Mapping[str, Values], owners: Mapping[str, Owners], photographs: Distribution, draws: int
) -> dict[str, Any]:
    """Compare two sides' Wasserstein-1 distances from photographs, as :func:`compare_means` does.

    The nearer is better, unless both are as near as sets of as many photographs are (``usual``).
    """
    sound = {side: np.isfinite(values[side]) for side in ("a", "b")}
    kept = {
        side: [one for one, is_sound in zip(owners[side], sound[side], strict=True) if is_sound]
        for side in sound
    }
    shared = [owner for owner in dict.fromkeys(kept["a"]) if owner in set(kept["b"])]
    if not shared:
        return {"a": None, "b": None, "difference": None, "interval": None, "better": "", "usual": None}
    rows = np.random.default_rng(0).integers(0, len(shared), (draws, len(shared)))
    times = np.apply_along_axis(np.bincount, 1, rows, None, len(shared)).astype(float)
    times = np.concatenate((np.ones((1, len(shared))), times))  # as they are, then the draws
    place = {owner: number for number, owner in enumerate(shared)}
    found, counts = {}, []
    for side in ("a", "b"):
        given = [number for number, owner in enumerate(kept[side]) if owner in place]
        whose = np.array([place[kept[side][number]] for number in given])
        weights = times[:, whose] / np.bincount(whose)[whose]
        found[side] = photographs.distance(values[side][sound[side]][given], weights)
        counts.append(len(given))
    interval = None
    if len(shared) > 1:
        low, high = np.quantile(found["b"][1:] - found["a"][1:], (0.025, 0.975))
        interval = (float(low), float(high))
    a, b = float(found["a"][0]), float(found["b"][0])
    usual = photographs.usual(min(counts))
    row = _row(a, b, interval, 0 if max(a, b) <= usual else -1)
    return {**row, "usual": usual}


def _row(a: float, b: float, interval: tuple[float, float] | None, better: int) -> dict[str, Any]:
    difference, which = b - a, ""
    if interval is not None and better and not interval[0] <= 0 <= interval[1]:
        which = "b" if difference * better > 0 else "a"
    told = None if interval is None else list(interval)
    return {"a": a, "b": b, "difference": difference, "interval": told, "better": which}


def _means(values: Values, owners: Owners) -> dict[Any, float]:
    of: dict[Any, list[float]] = {}
    for value, owner in zip(values, owners, strict=True):
        if np.isfinite(value):
            of.setdefault(owner, []).append(float(value))
    return {owner: sum(some) / len(some) for owner, some in of.items()}
