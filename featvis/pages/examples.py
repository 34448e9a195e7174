"""Photographs that units respond to most, as ``examples.json`` tells of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from featvis.pages.entries import CROP_SUFFIXES, read_list, read_number, read_path, read_text, read_whole
from featvis.pages.outline import Unit
from featvis.pages.words import compare_to_best, place_among, say_count, say_number

REACH = 0.25
"""The share of a picture's score that the best photograph must reach for the two to be compared. Photographs
without the thing reach less: 20 that show none of 40 classes of ImageNet reached 0.22 at most."""


@dataclass(frozen=True)
class Crop:
    """The part of a photograph that a unit responds to."""

    image: str
    value: float | None
    position: tuple[int, int] | None
    """(row, column) on the layer's map; None for a class."""
    size: tuple[int, int] | None
    """(height, width) of the crop."""
    file: str | None


@dataclass(frozen=True)
class UnitExamples:
    """One unit's best photographs, best first, and what they are beside its picture."""

    crops: tuple[Crop, ...] = ()
    told: str = ""
    """What its picture's score is beside them, as a sentence; empty where nothing was measured."""
    lacking: str = ""
    """Why they are no measure for it: that none seems to show what it looks for."""


@dataclass(frozen=True)
class Examples:
    """Those of every unit."""

    images: int = 0
    units: dict[str, Any] = field(default_factory=dict)

    def of(self, unit: Unit) -> UnitExamples:
        """Return a unit's photographs."""
        table = self.units.get(f"{unit.lead.layer}:{unit.number}") if unit.number is not None else None
        if not isinstance(table, dict):
            return UnitExamples()
        quantiles = []
        crops = tuple(_read_crop(raw) for raw in read_list(table.get("examples")) if isinstance(raw, dict))
        for pair in read_list(table.get("quantiles")):
            if isinstance(pair, list) and len(pair) == 2:
                fraction, value = read_number(pair[0]), read_number(pair[1])
                if fraction is not None and value is not None and 0 <= fraction <= 1:
                    quantiles.append((fraction, value))
        # A picture of one position, or an objective's, is not measured as the photographs were.
        lead = unit.lead
        score = lead.score if lead.file is not None and not lead.where and lead.variant == "picture" else None
        best = max((crop.value for crop in crops if crop.value is not None), default=None)
        if score is not None and best is not None and score > 0 and best < REACH * score:
            of = f"none of {say_count(self.images, 'photograph')}" if self.images else "no photograph"
            reached = f"reaches {REACH:.0%} of the picture’s score of {say_number(score)}"
            lacking = f"{of[0].upper()}{of[1:]} {reached} (the best, {say_number(best)}): "
            return UnitExamples(crops, lacking=f"{lacking}they do not seem to show what it looks for.")
        parts = [compare_to_best(score, best), place_among(score, sorted(quantiles), self.images)]
        beside = ", ".join(part for part in parts if part)
        return UnitExamples(crops, told=f"Score {say_number(score)}: {beside}." if beside else "")


def read_examples(raw: dict[str, Any] | None) -> Examples:
    """Read what ``examples.json`` holds; what is of the wrong type counts as not there."""
    if not isinstance(raw, dict) or not isinstance(raw.get("units"), dict):
        return Examples()
    return Examples(max(0, read_whole(raw.get("images")) or 0), raw["units"])


def _read_crop(raw: dict[str, Any]) -> Crop:
    box, position = _wholes(raw.get("box"), 4), _wholes(raw.get("position"), 2)
    return Crop(
        image=read_text(raw.get("image")),
        value=read_number(raw.get("value")),
        position=(position[0], position[1]) if position else None,
        size=(box[2], box[3]) if box and min(box[2:]) > 0 else None,
        file=read_path(raw.get("file"), CROP_SUFFIXES),
    )


def _wholes(value: Any, count: int) -> list[int]:
    """Return a list of so many whole numbers; what is none is empty."""
    numbers = [number for number in map(read_whole, read_list(value)) if number is not None]
    return numbers if len(numbers) == count == len(read_list(value)) else []
