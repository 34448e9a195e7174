"""Which part of many inputs a run takes: one that moves with the version, or all of them by ``--every``."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import TypeVar

import pytest

import featvis as fv

EVERY = "--every"

One = TypeVar("One")


def takes_all(config: pytest.Config) -> bool:
    """Whether all inputs were asked for."""
    return bool(config.getoption(EVERY, default=False))


def moved(count: int) -> int:
    """A number below ``count`` that the version tells."""
    return zlib.crc32(fv.__version__.encode()) % count


def part_of(inputs: Sequence[One], share: int, config: pytest.Config) -> list[One]:
    """Every so manyth input: the first one is told by the version, so that all have their turn."""
    return list(inputs) if takes_all(config) else list(inputs[moved(share) :: share])
