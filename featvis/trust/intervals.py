"""How sure a share is."""

from __future__ import annotations

import math

Interval = tuple[float, float]


def wilson(successes: int, count: int, z: float = 1.959964) -> Interval:
    """Return Wilson's score interval of a share (Wilson 1927), by default of 95 %.

    >>> [round(bound, 3) for bound in wilson(78, 84)]
    [0.853, 0.967]
    """
    if not 0 <= successes <= count:
        raise ValueError(f"successes lie between 0 and {count}, got {successes}")
    if count == 0:
        return 0.0, 1.0
    share, square = successes / count, z * z
    middle = share + square / (2 * count)
    half = z * math.sqrt(share * (1 - share) / count + square / (4 * count * count))
    whole = 1 + square / count
    return max(0.0, (middle - half) / whole), min(1.0, (middle + half) / whole)
