"""Saving pictures beside the computing: PNGs are encoded and written on a thread of their own."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from featvis.results.picture import Picture

EVERY = 2.0
"""Seconds between two manifests while pictures come in; writing one after each would cost their square."""
REST = 20
"""How many times as long as a manifest took it is waited with the next; that of 100,000 takes seconds."""


class Saver:
    """Adds pictures to a folder in their order while the next ones are computed.

    What goes wrong is raised by the next :meth:`put`, or at the end; leaving the context waits for
    every picture that was put.
    """

    def __init__(self, add: Callable[[Picture], object], note: Callable[[], object]) -> None:
        self._add, self._note = add, note
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="featvis-saver")
        self._pending: list[Future[None]] = []
        self._noted, self._pause = time.monotonic(), EVERY

    def put(self, picture: Picture) -> None:
        """Have a picture saved."""
        self._check(wait=False)
        self._pending.append(self._thread.submit(self._save, picture))

    def _save(self, picture: Picture) -> None:
        self._add(picture)
        began = time.monotonic()
        if began - self._noted >= self._pause:
            self._note()
            self._noted = time.monotonic()
            self._pause = max(EVERY, REST * (self._noted - began))

    def _check(self, *, wait: bool) -> None:
        while self._pending and (wait or self._pending[0].done()):  # one thread: they end in their order
            self._pending.pop(0).result()

    def __enter__(self) -> Saver:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._thread.shutdown(wait=True)
        if kind is None:
            self._check(wait=True)
