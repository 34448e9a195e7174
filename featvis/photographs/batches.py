"""Photographs of many shapes, in batches of one shape each and in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Levels = NDArray[np.uint8]

WAITING_BYTES = 96 * 2**20  # How much may wait for others of its shape


@dataclass(frozen=True)
class Batch:
    """Canvases of one shape, and which photographs they show."""

    numbers: list[int]
    """The photographs' places in the listing; fewer than canvases where the batch was filled up."""
    levels: Levels  # ``(B, C, H, W)``


class Batches:
    """Sorts canvases by shape and gives a batch when one is full.

    All batches of a shape are equally wide, a short one is filled up with copies: the same canvas then has
    the same activations to the last bit, so that copies of one photograph tie. Only a shape that
    never filled a batch is run at the width that it has.
    """

    def __init__(self, width: int, waiting_bytes: int = WAITING_BYTES) -> None:
        self._width = width
        self._limit = waiting_bytes
        self._waiting: dict[tuple[int, ...], list[tuple[int, Levels]]] = {}
        self._bytes = 0
        self._ran: set[tuple[int, ...]] = set()

    def add(self, number: int, levels: Levels) -> Iterator[Batch]:
        """Take one canvas; give what must run before more may wait."""
        waiting = self._waiting.setdefault(levels.shape, [])
        waiting.append((number, levels))
        self._bytes += levels.nbytes
        if len(waiting) == self._width:
            yield self._take(levels.shape, full=True)
        while self._bytes > self._limit:
            # Of the fullest the one that began first.
            fullest = max(self._waiting, key=lambda shape: (len(self._waiting[shape]), -self._first(shape)))
            yield self._take(fullest, full=True)

    def rest(self) -> Iterator[Batch]:
        """Give what still waits."""
        for shape in sorted(self._waiting, key=self._first):
            yield self._take(shape, full=shape in self._ran)

    def _first(self, shape: tuple[int, ...]) -> int:
        return self._waiting[shape][0][0]

    def _take(self, shape: tuple[int, ...], *, full: bool) -> Batch:
        waiting = self._waiting.pop(shape)
        self._ran.add(shape)
        canvases = [levels for _, levels in waiting]
        self._bytes -= sum(levels.nbytes for levels in canvases)
        if full:
            canvases += canvases[-1:] * (self._width - len(canvases))
        return Batch([number for number, _ in waiting], np.stack(canvases))
