"""What is shown while pictures are made: a bar on a terminal, a bar and a sheet in a notebook, else lines."""

from __future__ import annotations

import random
import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, TextIO

from featvis.errors import count_of
from featvis.notebook import Area, figure, image_tag, is_notebook, is_watched, plain, side_by_side

_chance = random.getstate()
from rich.console import Console  # noqa: E402
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn  # noqa: E402

random.setstate(_chance)  # rich draws numbers while it is imported; the user's go on as they were

# Durations are also said of what needs no torch.
if TYPE_CHECKING:
    from featvis.engine.lanes import Step
    from featvis.models.handle import ModelHandle
    from featvis.results.picture import Picture

EVERY = 10.0
"""Seconds between two plain lines."""
OFTEN = 0.5
"""Seconds between two looks of a bar; what takes less shows none in a notebook."""
LIVE = 1.0
"""Seconds between two live sheets at least."""
REST = 10.0
"""How many times as long as a sheet takes to draw it is waited with the next one."""
_SIDE, _MOST = 112, 16
"""The longest side of a picture under way, and how many are shown."""


class Report:
    """Shows how a run goes on: pictures done, steps per second, time left, mean score."""

    def __init__(self, stream: TextIO | None = None, *, live: ModelHandle | None = None) -> None:
        """Write to ``stream``, by default stderr; a notebook also shows the pictures of the network given."""
        self._stream = stream or sys.stderr
        self._area = Area() if stream is None and is_notebook() else None
        self._console = Console(file=self._stream, highlight=False)
        self._live = self._area is None and self._console.is_terminal
        self._model = live if self._area is not None else None
        self._bar: Progress | None = None
        self._total = self._done = self._steps = self._steps_done = 0
        self._began = self._shown_at = time.perf_counter()
        self._pause = LIVE if self._model is not None else OFTEN
        self._drawn = False
        self._notes: list[str] = []
        self._pictures_done: list[Picture] = []
        self._crew: int | None = None
        self._made = 0  # pictures that this run has finished
        self._most: int | None = None  # How many it makes, where it leaves some for another

    def __enter__(self) -> Report:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
        if self._drawn:
            ended = "" if kind is None else "ended early: "
            took = duration(time.perf_counter() - self._began)
            self._draw(f"{ended}{self._pictures()}, {took}", self._sheet(None))

    def begin(self, total: int, done: int, steps: int, most: int | None = None) -> None:
        """Begin: how many pictures there are, how many are done, how many steps the rest takes.

        Of the rest only the first ``most`` are made now; the steps are theirs.
        """
        self._total, self._done, self._steps = total, done, steps
        self._most = most if most is not None and most < total - done else None
        self._began = self._shown_at = time.perf_counter()
        if done:
            self.say(f"{done} of {count_of(total, 'picture')} {'is' if total == 1 else 'are'} there already")
        if self._most is not None:
            verb = "is" if self._most == 1 else "are"
            self.say(f"{self._most} of {count_of(total - done, 'missing picture')} {verb} made now")
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
        if now - self._shown_at < (self._pause if self._area else OFTEN if self._live else EVERY):
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
            return
        left = (self._steps - self._steps_done) * (now - self._began) / self._steps_done
        line = f"{self._pictures()}, {speed}, about {duration(left)} left, {score}"
        if self._area is None:
            self.say(line)
            return
        self._draw(line, self._sheet(step), self._steps_done / self._steps)
        self._shown_at = time.perf_counter()
        least = LIVE if self._model is not None else OFTEN
        self._pause = max(least, REST * (self._shown_at - now))

    def picture(self, picture: Picture) -> None:
        """Count a finished picture; where no step is heard of, now and then show how far the run is."""
        self._done += 1
        self._made += 1
        if self._model is not None:
            self._pictures_done.append(picture)
        if not self._steps_done:
            self._show_pictures()

    def crew(self, workers: int) -> None:
        """Take how many workers are at work elsewhere; the clock runs since the first of them is."""
        if self._crew is None:
            self._began = self._shown_at = time.perf_counter()
        self._crew = workers

    def _show_pictures(self) -> None:
        """Show how far a run is whose steps are taken elsewhere: by its pictures."""
        now = time.perf_counter()
        if now - self._shown_at < (OFTEN if self._area or self._live else EVERY):
            return
        self._shown_at = now
        speed = f"{60 * self._made / (now - self._began):.3g} pictures/min"
        if self._crew is not None:
            speed = f"{count_of(self._crew, 'worker')}, {speed}"
        left = (self._total if self._most is None else self._most) - self._counted
        if self._bar is not None:
            total = self._made + left
            self._bar.update(
                self._task,
                completed=self._made,
                total=total,
                pictures=self._pictures(),
                speed=speed,
                score="",
            )
            return
        line = f"{self._pictures()}, {speed}, about {duration(left * (now - self._began) / self._made)} left"
        if self._area is None:
            self.say(line)
        else:
            self._draw(line, "", self._made / (self._made + left))

    def say(self, line: str) -> None:
        """Show a line."""
        line = "".join(one if one.isprintable() else "?" for one in line)  # names that somebody else gave
        if self._area is not None:
            self._notes.append(line)
            self._draw(self._pictures() if self._total else "")
        elif self._live:
            self._console.print(line, markup=False)
        else:
            print(line, file=self._stream, flush=True)

    @property
    def _counted(self) -> int:
        """How many pictures are done of those that are counted: all, or those that are made now."""
        return self._done if self._most is None else self._made

    def _pictures(self) -> str:
        return f"{self._counted} of {count_of(self._most or self._total, 'picture')}"

    def _draw(self, line: str, sheet: str = "", share: float | None = None) -> None:
        """Draw the notebook's area: the notes, a bar unless the run is over, a line, the sheet."""
        if self._area is None:
            return
        parts = [f"<div>{plain(note, 1000)}</div>" for note in self._notes]
        bar = (
            "" if share is None else f'<progress value="{share:.3f}" max="1" style="width:12em"></progress> '
        )
        parts += [f"<div>{bar}{plain(line)}</div>"] if line else []
        self._area.draw(f'<div style="color:inherit">{"".join(parts)}{sheet}</div>')
        self._drawn = True

    def _sheet(self, step: Step | None) -> str:
        """Return the pictures so far, and those under way as they stand."""
        if self._model is None:
            return ""
        shown = [picture.as_html(_SIDE, brief=True) for picture in self._pictures_done[-_MOST:]]
        if step is not None:
            shown += _under_way(step, self._model)[: _MOST - len(shown) % _MOST]
        return side_by_side(shown[-_MOST:])


def _under_way(step: Step, model: ModelHandle) -> list[str]:
    """Return the images of a step, each once though lanes be filled up with it."""
    from featvis.results.picture import to_levels
    from featvis.results.views import make_view

    levels, found = to_levels(step.images), []
    for lane, score in enumerate(step.scores.tolist()):
        if lane and (levels[lane] == levels[lane - 1]).all():
            continue
        shown = make_view(levels[lane][: model.channels], model.frames)  # alpha is left out
        found.append(figure(image_tag(shown, "under way", _SIDE), ["", f"score {score:.3g}"], _SIDE))
    return found


def report_for(progress: bool | None, live: ModelHandle | None = None) -> Report | None:
    """Return what shows a run's progress, if that was asked for; by default where somebody looks on."""
    wanted = is_watched() if progress is None else progress
    return Report(live=live) if wanted else None


def duration(seconds: float) -> str:
    """Write a time span as people say it.

    >>> duration(42), duration(150), duration(9000)
    ('42 s', '2.5 min', '2.5 h')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
