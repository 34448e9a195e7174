"""From what was measured of a picture to what is said of it in plain words."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

DEAD = "dead"
FOREIGN = "not the picture that was rendered"
MISREPORTED = "its score is not the one it claims"
UNTRAINED = "of a network with random weights"
SATURATED = "saturated"
NOISE = "responds as much to noise"
RANDOM = "responds as much with random weights"
RIVAL = "another unit's picture excites it more"
PHOTOGRAPH = "a photograph excites it more"
UNSTABLE = "unstable over seeds"
UNLIKE = "looks unlike any photograph"
FRAGILE = "shifted and noised, it responds as to noise"
CHANCE = "does not tell which photographs excite it"
GOOD = "stands out in its layer"

_SAME_SCORE = 0.05
_SMALL = 1e-3
_RANK = re.compile(r"rank \d+ of \d+ in its layer$")


def verdicts_of(told: Mapping[str, Any]) -> list[str]:
    """Return what is to be said of a picture, the gravest first.

    Args:
        told: what :func:`featvis.evaluate` found of it; what was not measured may be left out.

    Returns:
        At least one verdict wherever anything was measured. Of a class, ``recognized by N of M judges``
        comes first unless something graver is to be said; a picture of any other unit without a fault
        ``stands out in its layer``.
    """
    if told.get("status") == "dead" or told.get("noise", {}).get("still"):
        return [DEAD]
    grave = [
        words
        for words, found in (
            (FOREIGN, told.get("genuine") is False),
            (MISREPORTED, _is_misreported(told)),
            (UNTRAINED, told.get("untrained") is True),
            (SATURATED, told.get("saturated") is True),
            (NOISE, _is_noise(told)),
            (RANDOM, _is_random(told)),
        )
        if found
    ]
    slight = [
        words
        for words, found in (
            (RIVAL, _is_outdone(told)),
            (PHOTOGRAPH, _is_below_photographs(told)),
            (UNSTABLE, (told.get("agreement") or {}).get("agrees") is False),
            (UNLIKE, told.get("unlike") is True),
            (FRAGILE, _is_fragile(told)),
            (CHANCE, (told.get("choice") or {}).get("is_chance") is True),
        )
        if found
    ]
    rank = told.get("selectivity")
    if rank is not None and rank["rank"] > 1 and not told.get("transfer"):
        slight.insert(0, f"rank {rank['rank']} of {rank['units']} in its layer")
    named = told.get("transfer") or {}
    recognized = []
    if named:
        count = sum(one["rank"] == 1 for one in named.values())
        recognized = [f"recognized by {count} of {len(named)} judge{'s' if len(named) != 1 else ''}"]
    elif rank is not None and not grave and not slight:
        recognized = [GOOD]
    return grave + recognized + slight


def kind_of(verdict: str) -> str:
    """Return what a verdict is counted under: the ranks of different units are one kind.

    >>> kind_of("rank 12 of 64 in its layer"), kind_of("dead")
    ('not first in its layer', 'dead')
    """
    return "not first in its layer" if _RANK.match(verdict) else verdict


def _is_misreported(told: Mapping[str, Any]) -> bool:
    score, claimed = told.get("score"), told.get("claimed")
    if score is None or claimed is None:
        return False
    return bool(abs(score - claimed) > _SMALL + _SAME_SCORE * max(abs(score), abs(claimed)))


def _is_outdone(told: Mapping[str, Any]) -> bool:
    below = told.get("other_pictures", {}).get("below")
    return below is not None and below < 1.0


def _is_noise(told: Mapping[str, Any]) -> bool:
    return "noise" in told and told["score"] <= told["noise"]["reach"]


def _is_fragile(told: Mapping[str, Any]) -> bool:
    fresh = told.get("fresh")
    return fresh is not None and not _is_noise(told) and fresh <= told["noise"]["best"]


def _is_random(told: Mapping[str, Any]) -> bool:
    z = (told.get("random_weights") or {}).get("z")
    return z is not None and not _is_noise(told) and bool(z >= told["noise"]["z"])


def _is_below_photographs(told: Mapping[str, Any]) -> bool:
    found = told.get("photographs")
    return found is not None and told["score"] < found["best"]
