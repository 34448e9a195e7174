"""Whether two results are the same: what holds arrays is compared by their values, in one True or False."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, ClassVar

import numpy as np


class SameByValue:
    """For dataclasses with ``eq=False`` that hold arrays: two are equal if all their fields are.

    Fields with ``compare=False`` do not matter. Equal ones have one hash, so that sets and dicts take them.
    """

    _known_by: ClassVar[tuple[str, ...]] = ()
    """Fields that its hash is of, where others may change; by default those that are text."""

    def __eq__(self, other: object) -> bool:
        if type(self) is not type(other):
            return NotImplemented
        named = [one.name for one in fields(self) if one.compare]  # type: ignore[arg-type]
        mine, theirs = ([getattr(one, name) for name in named] for one in (self, other))
        return is_same(mine, theirs)

    def __hash__(self) -> int:
        if self._known_by:
            return hash((type(self), *(getattr(self, name) for name in self._known_by)))
        held = [getattr(self, one.name) for one in fields(self) if one.compare]  # type: ignore[arg-type]
        return hash((type(self), *(value for value in held if isinstance(value, str))))


def is_same(one: Any, other: Any) -> bool:
    """Return whether two values are the same, arrays and what is in containers too; NaN is the same as NaN.

    >>> is_same({"a": np.array([1.0, math.nan])}, {"a": np.array([1.0, math.nan])})
    True
    """
    if one is other:
        return True
    if isinstance(one, np.ndarray):
        if not isinstance(other, np.ndarray) or one.dtype != other.dtype:
            return False
        return np.array_equal(one, other, equal_nan=one.dtype.kind in "fc")
    torch = sys.modules.get("torch")  # pictures are read without it
    if torch is not None and isinstance(one, torch.Tensor):
        if not isinstance(other, torch.Tensor) or (one.shape, one.dtype) != (other.shape, other.dtype):
            return False
        there = other.to(one.device)
        return bool(((one == there) | ((one != one) & (there != there))).all())
    if isinstance(one, float) and isinstance(other, float) and math.isnan(one):
        return math.isnan(other)
    if isinstance(one, Mapping):
        alike = isinstance(other, Mapping) and one.keys() == other.keys()
        return alike and all(is_same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        alike = type(one) is type(other) and len(one) == len(other)
        # What is told fast is told first.
        parts = sorted(zip(one, other, strict=True), key=_is_large) if alike else []
        return alike and all(is_same(*pair) for pair in parts)
    alike = one == other
    return bool(alike) if isinstance(alike, bool | np.bool_) else False  # of a number and an array


def _is_large(pair: tuple[Any, Any]) -> bool:
    return hasattr(pair[0], "shape") or isinstance(pair[0], Mapping | list | tuple)
