"""Seconds of steps, and whose turn it is on the machine."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch

SKIPPED = 2
"""Steps of a block that are not counted: the one before the first stamp, and one that finds cold caches."""


class Clock:
    """Is stamped once in each step; what lies between two stamps is one whole step."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.stamps: list[float] = []

    def now(self) -> float:
        """Seconds; the device has done what it was given."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return time.perf_counter()

    def stamp(self) -> None:
        """One more step has come to this point."""
        self.stamps.append(self.now())

    def steps(self) -> list[float]:
        """Seconds of each counted step."""
        pairs = zip(self.stamps[1:], self.stamps[2:], strict=False)
        return [after - before for before, after in pairs]


@contextmanager
def turn() -> Iterator[None]:
    """Wait for the lock file that the environment variable BENCH_LOCK names, if it names one.

    Two measurements on one machine spoil each other: whoever else takes the same lock waits.
    """
    path = os.environ.get("BENCH_LOCK")
    if not path:
        yield
        return
    with open(path, "a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield
