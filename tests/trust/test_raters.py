"""Agreement of raters, beside published and hand-computed values."""

import pytest

from featvis.trust.raters import is_other, krippendorff_alpha, mean_distance, square

# Krippendorff 2011, the data with missing values: four observers, twelve units.
OBSERVERS = [
    [1, 2, 3, 3, 2, 1, 4, 1, 2, None, None, None],
    [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, None, 3],
    [None, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, None],
    [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, None],
]
UNITS = [[value for value in unit if value is not None] for unit in zip(*OBSERVERS, strict=True)]


def test_alpha_is_krippendorffs_own_example():
    assert krippendorff_alpha(UNITS, is_other) == pytest.approx(0.743, abs=5e-4)
    assert krippendorff_alpha(UNITS, square) == pytest.approx(0.849, abs=5e-4)


def test_alpha_of_two_raters_by_hand():
    # Of 8 answers 5 are a, 3 are b; one of four questions differs: observed 2 / 8, expected 30 / 56.
    questions = [["a", "a"], ["a", "a"], ["b", "b"], ["a", "b"]]
    assert krippendorff_alpha(questions, is_other) == pytest.approx(1 - (2 / 8) / (30 / 56))


def test_all_agree_or_nothing_can_be_said():
    assert krippendorff_alpha([["a", "a"], ["b", "b"]], is_other) == 1.0
    assert krippendorff_alpha([["a", "a"], ["a", "a"]], is_other) is None
    assert krippendorff_alpha([["a"], ["b"]], is_other) is None
    assert krippendorff_alpha([], is_other) is None
    assert krippendorff_alpha([["a", "b"], ["b", "a"]], is_other) == pytest.approx(-0.5)


def test_the_mean_distance_is_over_every_two_answers():
    assert mean_distance([[1, 3], [2, 2, 5], [4]], lambda a, b: abs(a - b)) == pytest.approx(8 / 4)
    assert mean_distance([[4]], square) is None
