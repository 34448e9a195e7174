"""Whether raters agree: Krippendorff's alpha, and how often or how nearly two of them say the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from itertools import combinations
from typing import TypeVar

Said = TypeVar("Said", bound=Hashable)


def is_other(a: Hashable, b: Hashable) -> float:
    """Return the distance of two names: 0 if they are one, else 1."""
    return float(a != b)


def square(a: float, b: float) -> float:
    """Return the distance of two marks of an interval scale."""
    return (a - b) ** 2


def krippendorff_alpha(
    answers: Sequence[Sequence[Said]], distance: Callable[[Said, Said], float]
) -> float | None:
    """Return Krippendorff's alpha: 1 for raters who agree in all, 0 for chance, below for less than chance.

    Krippendorff 2011, "Computing Krippendorff's alpha-reliability": 1 - (observed / expected disagreement).
    For two raters and names it is close to Cohen's kappa, for several to Fleiss'; answers may be missing.
    None where no question has two answers, or all answers are the same.

    Args:
        answers: those to each question, one of each rater who answered it.
        distance: :func:`is_other` for names, :func:`square` for marks.

    >>> krippendorff_alpha([["cat", "cat"], ["dog", "dog"], ["cat", "dog"]], is_other)
    0.4444444444444444
    """
    shared = [question for question in answers if len(question) > 1]
    said = Counter(answer for question in shared for answer in question)
    total = sum(said.values())
    expected = sum(2 * said[a] * said[b] * distance(a, b) for a, b in combinations(said, 2))
    if not expected:
        return None
    observed = sum(
        2 * sum(distance(a, b) for a, b in combinations(question, 2)) / (len(question) - 1)
        for question in shared
    )
    return 1 - (observed / total) / (expected / (total * (total - 1)))


def mean_distance(answers: Sequence[Sequence[Said]], distance: Callable[[Said, Said], float]) -> float | None:
    """Return the mean distance of every two answers to one question; None if no question has two.

    >>> mean_distance([[1, 3], [2, 2, 5], [4]], lambda a, b: abs(a - b))
    2.0
    """
    distances = [distance(a, b) for question in answers for a, b in combinations(question, 2)]
    return sum(distances) / len(distances) if distances else None
