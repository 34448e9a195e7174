"""One queue for all that the network does: jobs with places, one at work, any of them may be cancelled."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from featvis.errors import FeatvisError, OutputError

log = logging.getLogger(__name__)
MOST = 64
"""Jobs that may wait; who asks for more has forgotten the earlier ones."""
PAUSE = 0.03
"""Seconds between two looks at a job that somebody waits for."""


class Job:
    """Something for the network to do: ``work`` is called with the job, and looks whether it is cancelled."""

    def __init__(self, work: Callable[[Job], Any], slot: str = "") -> None:
        self.work = work
        self.slot = slot
        self.state = "waiting"
        """``waiting``, ``running``, ``done``, ``failed`` or ``cancelled``."""
        self.result: Any = None
        self.error = ""
        self.news: tuple[int, Mapping[str, Any]] = (0, {})
        """How often it told something, and the last of it; what nobody took in time is gone."""
        self._cancelled = threading.Event()

    @property
    def is_cancelled(self) -> bool:
        """Whether nobody wants it any more."""
        return self._cancelled.is_set()

    @property
    def is_over(self) -> bool:
        """Whether nothing more comes of it."""
        return self.state in ("done", "failed", "cancelled")

    def tell(self, news: Mapping[str, Any]) -> None:
        """Tell how far it is."""
        self.news = (self.news[0] + 1, news)

    def cancel(self) -> None:
        """Have it end at its next look."""
        self._cancelled.set()


class Queue:
    """Jobs one after another, in a thread of their own.

    >>> queue = Queue()
    >>> job = queue.submit(lambda job: 6 * 7)
    >>> queue.close()
    >>> job.state in ("done", "cancelled")
    True
    """

    def __init__(self) -> None:
        self._waiting: deque[Job] = deque()
        self._running: Job | None = None
        self._closed = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._work, name="featvis-serve", daemon=True)
        self._thread.start()

    def submit(self, work: Callable[[Job], Any], slot: str = "") -> Job:
        """Put a job at the end; an earlier one of the same slot is cancelled, for its page wants this one.

        Args:
            work: what is called, with the job.
            slot: of whom it is; empty for nobody's.

        Raises:
            OutputError: too many jobs wait, or the explorer ends.
        """
        job = Job(work, slot)
        with self._changed:
            if self._closed:
                raise OutputError("the explorer is ending")
            if slot:
                for other in [*self._waiting, *([self._running] if self._running else [])]:
                    if other.slot == slot:
                        self._drop(other)
            if len(self._waiting) >= MOST:
                raise OutputError(f"{MOST} jobs are waiting already; try again when some are done")
            self._waiting.append(job)
            self._changed.notify()
        return job

    def cancel(self, job: Job) -> None:
        """Take a job out, or have it end at its next look."""
        with self._changed:
            self._drop(job)

    def _drop(self, job: Job) -> None:
        job.cancel()
        if job in self._waiting:
            self._waiting.remove(job)
            job.state = "cancelled"

    def place(self, job: Job) -> int:
        """Return how many jobs come before this one; 0 is at work or over."""
        with self._changed:
            if job not in self._waiting:
                return 0
            return self._waiting.index(job) + (self._running is not None)

    @property
    def count(self) -> int:
        """How many jobs wait or are at work and wanted."""
        with self._changed:
            running = self._running is not None and not self._running.is_cancelled
            return len(self._waiting) + running

    def stop(self) -> None:
        """Cancel all there is, and take nothing more."""
        # Called by a signal's handler, too, which may have interrupted who holds the lock.
        self._closed = True
        for job in [*self._waiting, *([self._running] if self._running else [])]:
            job.cancel()

    def close(self, seconds: float = 20.0) -> None:
        """Stop, and wait until the job at work has given its network back."""
        self.stop()
        with self._changed:
            for job in list(self._waiting):
                self._drop(job)
            self._changed.notify_all()
        self._thread.join(seconds)

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._waiting and not self._closed:
                    self._changed.wait(0.5)
                if not self._waiting:
                    return
                job = self._running = self._waiting.popleft()
                job.state = "running"
            state = "done"
            try:
                if not job.is_cancelled:
                    job.result = job.work(job)
            except FeatvisError as error:
                state, job.error = "failed", str(error)
            except Exception as error:  # whatever a network raises, the next job is another matter
                log.warning("a job failed", exc_info=True)
                state, job.error = "failed", f"{type(error).__name__}: {error}"
            with self._changed:
                self._running = None
            job.state = "cancelled" if job.is_cancelled else state


async def result_of(job: Job) -> Any:
    """Wait for a job and return its result.

    Raises:
        OutputError: it failed, or was cancelled.
    """
    while not job.is_over:
        await asyncio.sleep(PAUSE)
    if job.state != "done":
        raise OutputError(job.error or "cancelled")
    return job.result
