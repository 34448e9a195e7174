"""What it does to the classes that a unit is switched off, as ``ablations.json`` tells of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from featvis.pages.entries import read_list, read_number, read_table, read_text, read_whole
from featvis.pages.outline import Outline, Unit
from featvis.pages.words import say_count, say_number


@dataclass(frozen=True)
class ClassChange:
    """How a class changes in the mean, with a 95 % interval."""

    name: str
    page: str
    """Where the class's own page lies; empty if it has none."""
    logit: str
    interval: str
    probability: str
    may_be_0: bool
    """Whether the interval holds 0."""


@dataclass(frozen=True)
class UnitAblation:
    """What a unit's page says of it."""

    told: str = ""
    """What was done, and of how many photographs another class comes first; empty: nothing was measured."""
    falls: tuple[ClassChange, ...] = ()
    rises: tuple[ClassChange, ...] = ()


@dataclass(frozen=True)
class Ablations:
    """Those of every unit."""

    photographs: int = 0
    folder: str = ""
    units: dict[str, Any] = field(default_factory=dict)
    pages: dict[int, str] = field(default_factory=dict)
    """The pages of classes."""

    def of(self, unit: Unit) -> UnitAblation:
        """Return what is known of a unit."""
        table = self.units.get(f"{unit.lead.layer}:{unit.number}") if unit.number is not None else None
        changed = read_whole(read_table(table).get("first_changed"))
        if not isinstance(table, dict) or changed is None or not 0 <= changed <= self.photographs:
            return UnitAblation()
        if not self.photographs:
            return UnitAblation()
        interval = _pair(table.get("first_changed_interval"))
        sure = "" if interval is None else f" (95 % interval {interval[0]:.1%} to {interval[1]:.1%})"
        how = read_text(table.get("how")) or "Switched off"
        of = say_count(self.photographs, "photograph") + (f" of {self.folder}" if self.folder else "")
        told = (
            f"{how}, over {of}: another class comes first for {changed / self.photographs:.1%} of them{sure}."
        )
        falls, rises = (
            tuple(self._read(raw) for raw in read_list(table.get(name)) if isinstance(raw, dict))
            for name in ("falls", "rises")
        )
        return UnitAblation(told, falls, rises)

    def _read(self, raw: dict[str, Any]) -> ClassChange:
        number, label = read_whole(raw.get("class")), read_text(raw.get("label")).partition(",")[0]
        interval = _pair(raw.get("logit_interval"))
        return ClassChange(
            name=label or ("a class" if number is None else f"class {number}"),
            page="" if number is None else self.pages.get(number, ""),
            logit=_signed(read_number(raw.get("logit"))),
            interval="–" if interval is None else f"{_signed(interval[0])} to {_signed(interval[1])}",
            probability=_signed(read_number(raw.get("probability"))),
            may_be_0=interval is not None and interval[0] <= 0 <= interval[1],
        )


def read_ablations(raw: dict[str, Any] | None, outline: Outline, weights: str) -> Ablations:
    """Read what ``ablations.json`` holds; what is of the wrong type or of other weights counts as not there.

    Args:
        raw: the file's table; None if there is none.
        outline: of the gallery, for the pages of classes.
        weights: of the gallery's network.
    """
    if not isinstance(raw, dict) or not isinstance(raw.get("units"), dict):
        return Ablations()
    if weights and read_text(raw.get("weights")) != weights:
        return Ablations()
    name = read_text(raw.get("layer"))
    units = [unit for layer in outline.layers if layer.name == name for unit in layer.units]
    pages = {unit.number: unit.page for unit in units if unit.number is not None}
    photographs = max(0, read_whole(raw.get("photographs")) or 0)
    return Ablations(photographs, read_text(raw.get("folder")), raw["units"], pages)


def _pair(value: Any) -> tuple[float, float] | None:
    numbers = [read_number(one) for one in read_list(value)]
    if len(numbers) != 2 or numbers[0] is None or numbers[1] is None:
        return None
    return numbers[0], numbers[1]


def _signed(value: float | None) -> str:
    """Write a change with its sign.

    >>> _signed(0.25), _signed(-1.5), _signed(None)
    ('+0.250', '−1.50', '–')
    """
    return f"+{say_number(value)}" if value is not None and value > 0 else say_number(value)
