"""Words that were found for units, as ``words.json`` tells of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from featvis.pages.entries import read_list, read_number, read_table, read_text
from featvis.pages.outline import Unit

LEAST = 0.01
"""How sure a word is at least, beside the first one, to be shown."""
_MOST = 5


@dataclass(frozen=True)
class Said:
    """What is said of one unit."""

    words: tuple[tuple[str, str], ...] = ()
    """Each with its certainty in percent, the surest first."""
    chance: str = ""
    """How often random patches have a word that is as sure, in percent; empty where that is not known."""


@dataclass(frozen=True)
class SaidOfUnits:
    """What is said of every unit."""

    pair: str = ""
    units: dict[str, Any] = field(default_factory=dict)

    def of(self, unit: Unit) -> Said:
        """Return a unit's words."""
        raw = self.units.get(f"{unit.lead.layer}:{unit.number}") if unit.number is not None else None
        if raw is None:
            return Said()
        words: list[tuple[str, str]] = []
        for word in read_list(raw.get("words"))[:_MOST]:
            told = read_table(word)
            text, certainty = read_text(told.get("text")), read_number(told.get("certainty"))
            if text and certainty is not None and 0 <= certainty <= 1 and (not words or certainty >= LEAST):
                words.append((text, say_share(certainty)))
        chance = read_number(raw.get("chance"))
        return Said(tuple(words), say_share(chance) if chance is not None and 0 <= chance <= 1 else "")


def read_said(raw: Any, weights: str) -> SaidOfUnits:
    """Read what ``words.json`` holds, if it is of these weights; a value of the wrong type is not there."""
    told = read_table(raw)
    if read_text(told.get("weights")) != weights:
        return SaidOfUnits()
    units = [one for one in read_list(told.get("units")) if isinstance(one, dict)]
    return SaidOfUnits(read_text(told.get("pair")), {read_text(one.get("target")): one for one in units})


def say_share(share: float) -> str:
    """Write a share in percent, and what is next to nothing as that.

    >>> [say_share(share) for share in (0.414, 1.0, 0.004, 0.0)]
    ['41 %', '100 %', '< 1 %', '< 1 %']
    """
    return "< 1 %" if share < LEAST else f"{share:.0%}".replace("%", " %")
