"""What a picture's entry may hold, in its PNG and in a manifest: the kind of each field. No torch in here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

STATUSES = ("ok", "dead", "failed", "stopped")


def is_text(value: Any) -> bool:
    r"""Whether a value is a text that can be written: no half of a character is in it.

    >>> is_text("blocks.3:5"), is_text("\ud800"), is_text(3)
    (True, False, False)
    """
    return isinstance(value, str) and (
        value.isascii() or not any("\ud800" <= one <= "\udfff" for one in value)
    )


def is_count(value: Any) -> bool:
    """Whether a value is a whole number from 0 up, of a length that any machine can add up.

    >>> is_count(3), is_count(-1), is_count(True), is_count(10**400)
    (True, False, False, False)
    """
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 128


def is_number(value: Any) -> bool:
    """Whether a value is a number that a float holds, finite or not.

    >>> is_number(-0.5), is_number(float("nan")), is_number(10**400), is_number("1")
    (True, True, False, False)
    """
    whole = isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << 128
    return whole or isinstance(value, float)


def is_table(value: Any) -> bool:
    """Whether a value is a table whose keys can be written."""
    return isinstance(value, dict) and all(map(is_text, value))


def _or_none(kind: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or kind(value)


def _list_of(kind: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and all(map(kind, value))


FIELDS: dict[str, Callable[[Any], bool]] = {
    **dict.fromkeys(("target", "layer", "label", "variant", "key"), is_text),
    **dict.fromkeys(("seed", "attempt", "evaluations"), is_count),
    **dict.fromkeys(("unit", "chosen", "taken", "steps"), _or_none(is_count)),
    **dict.fromkeys(("score", "start_score", "seconds"), _or_none(is_number)),
    "trace": _list_of(is_number),
    "candidates": _list_of(_or_none(is_number)),
    "asked_key": _or_none(is_text),
    "status": lambda value: value in STATUSES,
    "verdicts": _list_of(is_text),
}
"""Whether a field's value is one that we write; a field that is missing has its default."""
ENTRY: dict[str, Callable[[Any], bool]] = {
    **FIELDS,
    **dict.fromkeys(("recipe", "reason", "machine", "function"), is_text),
    "file": _or_none(is_text),
    "stale": lambda value: isinstance(value, bool),
}
"""The same for an entry of a manifest."""
