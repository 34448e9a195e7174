"""Yardsticks of two sets: intervals by a bootstrap of their own, and who wins."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from featvis.trust.distribution import Distribution
from featvis.trust.known import known_looks
from featvis.trust.yardsticks import (
    Sides,
    Table,
    compare_distances,
    compare_means,
    measure_looks,
    measure_norms,
)
from tests.networks import small


def test_each_class_counts_once_and_only_classes_of_both():
    values = {"a": np.array([1.0, 3.0, 10.0, np.nan]), "b": np.array([4.0, 8.0, 8.0, 50.0])}
    owners = {"a": ["x", "x", "y", "z"], "b": ["x", "y", "y", "only b"]}
    found = compare_means(values, owners, 200, better=1)
    assert (found["a"], found["b"], found["difference"]) == ((2 + 10) / 2, (4 + 8) / 2, 0)
    assert found["better"] == ""
    assert compare_means(values, {"a": list("pqrs"), "b": list("tuvw")}, 200)["difference"] is None


def test_of_pairs_the_interval_is_that_of_their_differences():
    chance = np.random.default_rng(1)
    a = chance.normal(size=30)
    b = a + 0.5 + 0.01 * chance.normal(size=30)
    owners = dict.fromkeys("ab", range(30))
    found = compare_means({"a": a, "b": b}, owners, 500, better=-1)
    assert found["interval"] == pytest.approx([0.5, 0.5], abs=0.02)
    assert found["better"] == "a"
    assert compare_means({"a": a, "b": b}, owners, 500)["better"] == ""


def slow_distance(values, photographs):
    """∫ |F - G| on a fine grid."""
    grid = np.linspace(-12, 12, 48001)
    ours = np.searchsorted(np.sort(values), grid, "right") / len(values)
    theirs = np.searchsorted(photographs.values, grid, "right") / len(photographs.values)
    return np.abs(ours - theirs).sum() * (grid[1] - grid[0])


def test_distances_are_of_the_drawn_classes_with_all_their_pictures():
    chance = np.random.default_rng(5)
    photographs = Distribution.of_values(chance.normal(size=120))
    owners = {"a": [0, 1, 1, 2, 3, 4, 9], "b": [4, 3, 2, 1, 0, 8]}
    values = {"a": chance.normal(1, 1, 7), "b": chance.normal(2.5, 1, 6)}
    found = compare_distances(values, owners, photographs, 100)
    # Two pictures of class 1 weigh as one of each other; the classes 8 and 9 are in one set only.
    a = np.repeat(values["a"][:6], [2, 1, 1, 2, 2, 2])
    assert found["a"] == pytest.approx(slow_distance(a, photographs), abs=2e-3)
    assert found["b"] == pytest.approx(slow_distance(values["b"][:5], photographs), abs=2e-3)
    means = []
    for row in np.random.default_rng(0).integers(0, 5, (100, 5)):
        of_a = np.concatenate(
            [
                np.repeat(values["a"][k], 2) if k != 1 else values["a"][1:3]
                for k in [[0, None, 3, 4, 5][k] if k != 1 else 1 for k in row]
            ]
        )
        of_b = values["b"][[4 - k for k in row]]
        means.append(slow_distance(of_b, photographs) - slow_distance(of_a, photographs))
    assert found["interval"] == pytest.approx(np.quantile(means, (0.025, 0.975)), abs=5e-3)


def test_of_two_sets_like_photographs_none_is_better_else_the_nearer():
    chance = np.random.default_rng(7)
    photographs = Distribution.of_values(chance.normal(size=2000))
    near = photographs.values[10::20]  # an even sample: nearer than chance
    owners = dict.fromkeys("ab", range(100))
    alike = compare_distances({"a": near, "b": near + 0.12}, owners, photographs, 200)
    assert alike["a"] < 0.03 < 0.1 < alike["b"] < alike["usual"]
    assert alike["better"] == ""
    apart = compare_distances({"a": near, "b": near + 0.6}, owners, photographs, 200)
    assert apart["better"] == "a"
    assert compare_distances({"a": near + 9, "b": near - 3}, owners, photographs, 200)["better"] == "b"


@pytest.mark.parametrize(
    ("better", "wins"),
    [("b", "b"), ("ba", ""), ("", ""), ("bb", "b"), ("a", "a")],
)
def test_one_wins_that_is_better_by_some_and_worse_by_none(better, wins):
    table = Table()
    table.enter("cost", {"better": "a"})
    table.enter("even", {"better": ""}, decides=True)
    for place, which in enumerate(better):
        table.enter(f"yardstick {place}", {"better": which}, decides=True)
    told = table.to_json()
    assert told["wins"] == wins
    few = table.to_json(5)
    assert (few["wins"], few["too_few"], few["ahead"]) == ("", True, told["ahead"])
    assert (table.to_json(6)["wins"], told["too_few"]) == (wins, False)
    assert "cost" not in told["yardsticks"]
    assert len(told["ahead"]["b"]) == better.count("b")


def test_soft_pictures_are_nearer_to_photographs_than_harsh_ones():
    chance = np.random.default_rng(9)
    known = known_looks()
    sets = {}
    for side, contrast in (("a", 0.4), ("b", 0.11)):
        images = []
        for level in chance.choice(known["saturation"].values, 12):
            blobs = torch.from_numpy(chance.normal(0.45, contrast, (1, 3, 14, 14)))
            grey = blobs.mean(1, keepdim=True) * 1.7 - 0.3
            mixed = grey + level * (blobs - grey)
            images.append(
                torch.nn.functional.interpolate(mixed, (224, 224), mode="bicubic").clamp(0, 1)[0].float()
            )
        sets[side] = images
    table = Table()
    owners = dict.fromkeys("ab", range(12))
    measure_looks(Sides(sets, owners, 200), None, table)
    assert table.measures["clipped from photographs'"]["better"] == "b"
    assert table.measures["rms contrast"]["a"] > table.measures["rms contrast"]["b"]
    assert table.measures["rms contrast"]["better"] == "", "in itself neither is better"
    assert all(name.endswith("from photographs'") for name in table.yardsticks)


def test_norms_beside_photographs_of_ones_own_and_without(chance):
    judge = small()
    photographs = torch.rand((24, 3, 17, 24), generator=chance)
    near = torch.rand((16, 3, 17, 24), generator=chance)
    even = 0.5 + 0.01 * torch.rand((16, 3, 17, 24), generator=chance)
    sides = Sides({"a": list(even), "b": list(near)}, dict.fromkeys("ab", range(16)), 200)
    beside, alone = Table(), Table()
    measure_norms(sides, photographs, judge, beside)
    row = beside.measures[f"alone (D_σ) from photographs', {judge.name}"]
    assert (row["better"], row["a"] > 5 * row["b"]) == ("b", True)
    assert f"spread (D_σ) from photographs', {judge.name}" in beside.yardsticks
    measure_norms(sides, None, judge, alone)
    assert alone.yardsticks == [f"shift (D_μ), {judge.name}", f"spread (D_σ), {judge.name}"]
