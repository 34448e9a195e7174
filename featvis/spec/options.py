"""Types for the options of parts and recipes, with their ranges. No torch in here.

A part's constructor is its config schema: its fields use these names and no others, so that
:mod:`featvis.spec.register` can read a recipe without importing the part.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Annotated, Any, TypeVar

from annotated_types import Ge, Gt, Le
from pydantic import AfterValidator, BeforeValidator, PlainSerializer

from featvis.spec.pinned import pin


def plain(value: Any) -> Any:
    """Return NumPy's numbers as Python's, also inside lists and tables; anything else as it is.

    >>> plain([3, {"steps": 4}]), plain("conv")
    ([3, {'steps': 4}], 'conv')
    """
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    if type(value) in (list, tuple):
        return type(value)(plain(inner) for inner in value)
    if type(value).__module__ == "numpy" and getattr(value, "ndim", None) == 0:
        return value.item()
    return value


Positive = Annotated[float, Gt(0)]
NonNegative = Annotated[float, Ge(0)]
Fraction = Annotated[float, Ge(0), Le(1)]
Count = Annotated[int, Ge(0)]
AtLeastOne = Annotated[int, Ge(1)]
AtLeastTwo = Annotated[int, Ge(2)]
_Number = TypeVar("_Number")

Switch = Annotated[bool, AfterValidator(lambda value: value or None)]
"""An option that a part has gained, with None as its default: off is not written, so old keys stay."""


def _as_size(value: Any) -> Any:
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        return (value, value)
    if isinstance(value, str):
        parts = value.lower().replace("×", "x").replace(",", "x").split("x")
        return tuple(parts * 2 if len(parts) == 1 else parts)
    return value


def _as_schedule(value: Any) -> Any:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return (float(value), float(value))
    return value


def _constant_as_number(value: tuple[float, float]) -> float | list[float]:
    return value[0] if value[0] == value[1] else list(value)


def _as_inner(value: Any) -> Any:
    is_table = isinstance(value, dict) and isinstance(value.get("name"), str)
    if is_table or isinstance(value, str) or hasattr(value, "part_name"):
        return value
    raise ValueError(f"an image space, its name, or a table with its name is expected, got {value!r}")


Inner = Annotated[Any, BeforeValidator(_as_inner)]
"""Another part of the same family: its name, its table (``{"name": …, option: value}``), or the part."""

Size = Annotated[tuple[AtLeastOne, AtLeastOne], BeforeValidator(_as_size)]
"""(height, width) in pixels; one number means a square, ``"96x160"`` is read too."""

_Scheduled = Annotated[
    tuple[_Number, _Number],
    BeforeValidator(_as_schedule),
    PlainSerializer(_constant_as_number, return_type=Any),
]
Schedule = _Scheduled[float]  # A number, or [start, end]: linear over the run
PositiveSchedule = _Scheduled[NonNegative]  # A schedule of numbers that are not negative
FractionSchedule = _Scheduled[Fraction]  # A schedule of numbers from 0 to 1


def _as_band(value: tuple[float, float]) -> tuple[float, float]:
    if not -math.inf < value[0] <= value[1] < math.inf:
        raise ValueError(f"a score or (low, high), low first, got {value}")
    return value


Band = Annotated[Schedule, AfterValidator(_as_band)]
"""A score, or (low, high): where a score is wanted."""


Statistics = Annotated[str, AfterValidator(pin)]
"""A file that :func:`featvis.image_statistics` wrote; kept as ``PATH#sha256:DIGEST``."""

_MEASURED = "featvis statistics, or fv.activation_statistics(model, photographs, out=...),"
LayerStatistics = Annotated[str, AfterValidator(partial(pin, made=_MEASURED))]
"""A file that :func:`featvis.activation_statistics` wrote; kept likewise."""


def _as_ranges(value: Any) -> Any:
    flat = _as_schedule(value)
    if isinstance(flat, (list, tuple)) and len(flat) == 2:
        inner = tuple(_as_schedule(end) if isinstance(end, (list, tuple)) else end for end in flat)
        if all(isinstance(end, (list, tuple)) for end in inner):
            return inner
        if not any(isinstance(end, (list, tuple)) for end in inner):
            return (flat, flat)
    return value


def _constant_as_range(value: tuple[tuple[float, float], tuple[float, float]]) -> list[Any]:
    return list(value[0]) if value[0] == value[1] else [list(end) for end in value]


_Ranged = Annotated[
    tuple[tuple[_Number, _Number], tuple[_Number, _Number]],
    BeforeValidator(_as_ranges),
    PlainSerializer(_constant_as_range, return_type=Any),
]
Range = _Ranged[Positive]
"""A number, [least, greatest] (drawn uniformly from between), or a schedule of such a range over the run:
``[[least, greatest], [least, greatest]]`` at its start and its end."""
ShareRange = _Ranged[Annotated[float, Gt(0), Le(1)]]
"""A range, or a schedule of ranges, of shares above 0, up to 1."""
AnyRange = _Ranged[NonNegative]  # A range, or a schedule of ranges, from 0 up

Options = Annotated[dict[str, Any], BeforeValidator(lambda value: dict(value) if value == () else value)]
"""Options that are passed on to something else; a part with a field ``options`` takes any name for it."""
