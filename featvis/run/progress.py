"""What is shown while pictures are made: a live bar on a terminal or in a notebook, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from featvis.errors import count_of

# Durations are also said of what needs no torch.
if TYPE_CHECKING:
    from featvis.engine.lanes import Step
    from featvis.results.picture import Picture

EVERY = 10.0
"""Seconds between two plain lines."""


class Report:
    """Shows how a run goes on: pictures done, steps per second, time left, mean score."""

    def __init__(self, stream: TextIO | None = None) -> None:
        """Write to ``stream``, by default stderr."""
        self._stream = stream or sys.stderr
        self._console = Console(file=self._stream, highlight=False)
        self._live = _has_widgets() if self._console.is_jupyter else self._console.is_terminal
        self._bar: Progress | None = None
        self._total = self._done = self._steps = self._steps_done = 0
        self._began = self._shown_at = time.perf_counter()

    def __enter__(self) -> Report:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def begin(self, total: int, done: int, steps: int) -> None:
        """Begin: how many pictures there are, how many are done, how many steps the rest takes."""
        self._total, self._done, self._steps = total, done, steps
        self._began = self._shown_at = time.perf_counter()
        if done:
            self.say(f"{done} of {count_of(total, 'picture')} {'is' if total == 1 else 'are'} there already")
        if self._live and steps:
            self._bar = Progress(
                TextColumn("{task.fields[pictures]}"),
                BarColumn(bar_width=None),
                TextColumn("{task.percentage:>3.0f}%  {task.fields[speed]}"),
                TimeRemainingColumn(),
                TextColumn("{task.fields[score]}"),
                console=self._console,
                transient=True,
            )
            self._task = self._bar.add_task("", total=steps, pictures=self._pictures(), speed="", score="")
            self._bar.start()

    def step(self, step: Step) -> None:
        """Count a step, and now and then show how far the run is."""
        self._steps_done += 1
        self._steps = max(self._steps, self._steps_done)  # a dead unit's retry was not counted
        now = time.perf_counter()
        # Reading the scores waits for the device, so it is done now and then only.
        if now - self._shown_at < (0.5 if self._live else EVERY):
            return
        self._shown_at = now
        speed = f"{self._steps_done / (now - self._began):.1f} steps/s"
        score = f"mean score {float(step.scores.mean()):.3g}"
        if self._bar is not None:
            self._bar.update(
                self._task,
                completed=self._steps_done,
                total=self._steps,
                pictures=self._pictures(),
                speed=speed,
                score=score,
            )
        else:
            left = (self._steps - self._steps_done) * (now - self._began) / self._steps_done
            self.say(f"{self._pictures()}, {speed}, about {duration(left)} left, {score}")

    def picture(self, picture: Picture) -> None:
        """Count a finished picture."""
        self._done += 1

    def say(self, line: str) -> None:
        """Show a line."""
        line = "".join(one if one.isprintable() else "?" for one in line)  # names that somebody else gave
        if self._live:
            self._console.print(line, markup=False)
        else:
            print(line, file=self._stream, flush=True)

    def _pictures(self) -> str:
        return f"{self._done} of {count_of(self._total, 'picture')}"


def _has_widgets() -> bool:
    """Whether a notebook can show a bar that moves; rich only warns where it cannot."""
    try:
        from IPython.display import display  # noqa: F401
        from ipywidgets import Output  # noqa: F401
    except ImportError:
        return False
    return True


def duration(seconds: float) -> str:
    """Write a time span as people say it.

    >>> duration(42), duration(150), duration(9000)
    ('42 s', '2.5 min', '2.5 h')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
