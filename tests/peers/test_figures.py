"""The comparison's own arithmetic, on numbers whose answer is known; no peer is needed."""

import importlib
import math
import sys

import numpy as np
import pytest

from tests.peers import compare
from tests.peers.figures import (
    Curve,
    mean_interval,
    median_ms,
    quantiles,
    ratio_by_round,
    resamples,
    table,
    time_to_reach,
    undisturbed,
)


def test_one_disturbed_step_moves_no_median():
    assert median_ms([0.01, 0.01, 0.012, 9.0]) == pytest.approx(11)
    assert median_ms([0.08, 0.16, 0.16], pictures=8) == pytest.approx(20)


def test_disturbed_steps_count_as_the_median_and_others_stay():
    assert undisturbed([1.0, 1.0, 1.5, 2.9]) == (pytest.approx(6.4), 0)
    assert undisturbed([1.0, 1.0, 1.0, 50.0]) == (pytest.approx(4.0), 1)
    assert undisturbed([]) == (0.0, 0)


def test_a_ratio_is_taken_within_its_round():
    # The machine was three times slower in the last round, for both.
    assert ratio_by_round([50, 60, 165], [5, 5, 15]) == (11, 10, 12)
    with pytest.raises(ValueError, match="zip"):
        ratio_by_round([1, 2], [1])


def test_the_interval_is_that_of_the_mean():
    values = np.random.default_rng(3).normal(0.4, 0.1, 100)
    low, high = mean_interval(values)
    # The standard error of the mean is .01, so that 95 % are about .039 wide.
    assert low < values.mean() < high
    assert high - low == pytest.approx(3.92 * values.std() / 10, rel=0.1)
    assert mean_interval([0.25] * 16) == (0.25, 0.25)
    assert mean_interval(values) == mean_interval(values), "the same samples each time"


def test_samples_draw_whole_sets_of_classes_with_repeats():
    drawn = resamples(16, draws=500)
    assert drawn.shape == (500, 16)
    assert set(np.unique(drawn)) == set(range(16))
    assert any(len(set(row)) < 16 for row in drawn)


def test_quantiles_are_values_that_were_found():
    assert quantiles(np.arange(101.0)) == (2, 98)
    assert quantiles(np.array([1.0] * 60 + [math.inf] * 40)) == (1, math.inf)


CURVE = Curve((1.0, 2.0, 4.0), np.array([[0.1, 0.3], [0.4, 0.6], [0.8, 1.0]]))


@pytest.mark.parametrize(
    ("level", "seconds"), [(0.35, 1.5), (0.5, 2.0), (0.7, 3.0), (0.9, 4.0), (0.1, 1.0), (0.95, math.inf)]
)
def test_a_level_is_reached_between_the_points(level, seconds):
    assert CURVE.reach(level) == pytest.approx(seconds)


def test_a_curve_that_falls_is_read_where_it_first_reaches():
    curve = Curve((1.0, 2.0, 3.0, 4.0), np.array([[0.0], [0.6], [0.2], [0.9]]))
    assert curve.reach(0.3) == pytest.approx(1.5)


def test_time_to_reach_compares_the_same_classes():
    reach = time_to_reach(CURVE, [0.6, 0.8], their_seconds=30.0)
    assert reach.level == pytest.approx(0.7)
    assert reach.seconds == pytest.approx(3.0)
    assert reach.ratio == pytest.approx(10.0)
    assert not reach.bound
    # Both classes lie .2 apart for both methods, so whichever is drawn the answer is the same.
    assert reach.interval == (pytest.approx(10.0), pytest.approx(10.0))


def test_a_level_below_the_first_point_bounds_the_time_from_above():
    reach = time_to_reach(CURVE, [0.0, 0.2], their_seconds=30.0)
    assert (reach.seconds, reach.bound, reach.ratio) == (1.0, True, 30.0)


def test_a_level_that_is_never_reached_has_no_ratio():
    reach = time_to_reach(CURVE, [1.0, 1.0], their_seconds=30.0)
    assert (reach.seconds, reach.ratio, reach.bound) == (math.inf, 0.0, False)


def test_the_table_has_a_cell_for_every_column():
    lines = table(["what", "ms"], [["a", "1.0"], ["longer", "12.5"]]).splitlines()
    assert [line.count("|") for line in lines] == [3] * 4
    assert len({len(line) for line in lines}) == 1
    with pytest.raises(ValueError, match="zip"):
        table(["what", "ms"], [["a"]])


def test_quick_asks_for_little_and_goes_elsewhere():
    quick, full = compare.parse(["--quick"]), compare.parse([])
    assert (quick.units, quick.classes, quick.lucent_steps) == (2, 2, 8)
    assert (full.units, full.classes, full.lucent_steps) == (16, 16, 512)
    assert quick.out != full.out


@pytest.mark.parametrize(
    "typed", [["--classes", "0"], ["--curve", "a,b"], ["--curve", "0,8"], ["--only", "x"]]
)
def test_mistakes_in_options_are_told_before_any_compute(typed, capsys):
    with pytest.raises(SystemExit, match="2"):
        compare.parse(typed)
    assert "error:" in capsys.readouterr().err


def test_no_peer_is_imported_by_asking():
    importlib.reload(compare)
    compare.parse([])
    assert not {"lucent", "horama"} & set(sys.modules)
