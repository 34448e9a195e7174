"""How pages say numbers, and what a score is worth beside photographs."""

from __future__ import annotations

import re
from collections.abc import Sequence

MEANING = {
    "dead": "no start gave the unit any gradient, so there is no picture of it",
    "failed": "its run ended with an error, so there is no picture of it",
    "missing": "its file is not in this folder; the same command as before renders it again",
}
"""What a status means, where the manifest gives no reason of its own."""

_PRAISE = re.compile(r"stands out in its layer|recognized by (\d+) of \1 judges?")


def is_praise(verdict: str) -> bool:
    """Whether a verdict says nothing against a picture.

    >>> [is_praise(one) for one in ("recognized by 2 of 2 judges", "recognized by 1 of 2 judges", "dead")]
    [True, False, False]
    """
    return _PRAISE.fullmatch(verdict) is not None


def kind_of(verdict: str) -> str:
    """Return the kind of mark that a verdict is: ``praise`` or ``verdict``, which speaks against it."""
    return "praise" if is_praise(verdict) else "verdict"


def say_number(value: float | None) -> str:
    """Write a number in three digits, with a true minus sign; a dash for none.

    >>> [say_number(value) for value in (31.0117, -0.351, 100.0, 1234.5, 0.00001, 0.0, None)]
    ['31.0', '−0.351', '100', '1,234', '1.00e−05', '0', '–']
    """
    if value is None:
        return "–"
    if value == 0:
        return "0"
    text = f"{value:,.0f}" if 1000 <= abs(value) < 1e9 else f"{value:#.3g}".rstrip(".")
    return text.replace("-", "−")


def say_count(count: int, one: str, many: str | None = None) -> str:
    """Write a count with its noun.

    >>> say_count(1, "picture"), say_count(2048, "unit")
    ('1 picture', '2,048 units')
    """
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def say_ordinal(fraction: float) -> str:
    """Write a fraction as a percentile.

    >>> [say_ordinal(fraction) for fraction in (0.5, 0.91, 0.99, 0.999, 0.13)]
    ['50th', '91st', '99th', '99.9th', '13th']
    """
    text = f"{100 * fraction:.4g}"
    last = "th" if "." in text or text[-2:] in ("11", "12", "13") else None
    return text + (last or {"1": "st", "2": "nd", "3": "rd"}.get(text[-1], "th"))


def compare_to_best(score: float | None, best: float | None) -> str:
    """Say a score as a multiple of the best photograph's value; nothing unless that is above zero.

    >>> compare_to_best(9.0, 3.6), compare_to_best(9.0, -1.0)
    ('2.50 times the best photograph', '')
    """
    if score is None or best is None or best <= 0:
        return ""
    return f"{say_number(score / best)} times the best photograph"


def place_among(score: float | None, quantiles: Sequence[tuple[float, float]], images: int) -> str:
    """Say between which percentiles, (fraction, value) rising, of the photographs' values a score lies.

    >>> place_among(5.0, [(0.5, 1.0), (0.9, 2.0), (0.99, 7.0), (1.0, 8.0)], 120)
    'between the 90th and the 99th percentile of 120 photographs'
    >>> place_among(9.0, [(0.5, 1.0), (1.0, 8.0)], 120)
    'above all 120 photographs'
    """
    if score is None or not quantiles:
        return ""
    among = say_count(images, "photograph")
    below = [fraction for fraction, value in quantiles if score >= value]
    above = [fraction for fraction, value in quantiles if score < value]
    if not below:
        return f"below the {say_ordinal(above[0])} percentile of {among}"
    if not above and max(below) >= 1:
        return f"above all {among}" if score > quantiles[-1][1] else f"as high as the best of {among}"
    # Equal values at several fractions: the highest that it reaches counts.
    reached = max(below)
    beyond = [fraction for fraction in above if fraction > reached]
    if not beyond:
        return f"above the {say_ordinal(reached)} percentile of {among}"
    if min(beyond) >= 1:
        return f"above the {say_ordinal(reached)} percentile of {among}, below the best"
    return f"between the {say_ordinal(reached)} and the {say_ordinal(min(beyond))} percentile of {among}"
