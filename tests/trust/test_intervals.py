"""Intervals of shares and means."""

import numpy as np
import pytest

from featvis.trust.intervals import of_mean, paired, wilson


@pytest.mark.parametrize(
    ("successes", "count", "low", "high"),
    [(78, 84, 0.853, 0.967), (0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (50, 100, 0.4038, 0.5962)],
)
def test_wilson_gives_the_published_intervals(successes, count, low, high):
    assert wilson(successes, count) == pytest.approx((low, high), abs=6e-4)


def test_wilson_knows_nothing_of_no_trial_and_refuses_the_impossible():
    assert wilson(0, 0) == (0.0, 1.0)
    with pytest.raises(ValueError, match="between 0 and 3"):
        wilson(4, 3)


def test_the_interval_of_a_mean_draws_owners_with_all_their_values():
    values, owners = np.array([1.0, 2.0, 6.0, 7.0, 7.0]), np.array([0, 0, 1, 1, 1])
    low, high = of_mean(values, owners, 4000)
    # Of two owners drawn: both the first (mean 1.5), both the second (20 / 3), or one of each.
    assert (low, high) == pytest.approx((1.5, 20 / 3))
    assert of_mean(values, owners, 4000) == (low, high)
    assert paired(np.zeros(5), values, owners, 4000) == (low, high)
