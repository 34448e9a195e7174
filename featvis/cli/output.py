"""What commands print and write alike."""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from featvis.errors import OutputError, UserError, count_of

if TYPE_CHECKING:
    from featvis.engine.lanes import Step
    from featvis.run.estimate import Cost
    from featvis.run.progress import Report

STDOUT = "-"
"""What stands for a file's name where JSON is to be printed."""
TIMED = 4
"""Steps after which it is known how long a step takes."""
LONG = 10.0
"""Seconds that a run takes which is announced."""
_quiet = False
"""Whether the command that runs says nothing but results and errors."""
_log: logging.Handler | None = None
"""What prints the lines of the logger ``featvis``, if anything does."""


def set_loudness(*, quiet: bool, verbose: bool) -> None:
    """Set how much the command says on stderr beside errors: nothing, as usual, or also what it does.

    Raises:
        UserError: both at once.
    """
    global _quiet, _log
    if quiet and verbose:
        raise UserError("--quiet says nothing and --verbose everything; give one of them")
    logger = logging.getLogger("featvis")
    if _log is not None:
        logger.removeHandler(_log)
        _log = None
    _quiet = quiet
    logger.setLevel(logging.NOTSET)
    if verbose:
        _log = logging.StreamHandler()
        _log.setFormatter(logging.Formatter("%(asctime)s %(name)s: %(message)s", "%H:%M:%S"))
        logger.addHandler(_log)
        logger.setLevel(logging.DEBUG)


def is_quiet() -> bool:
    """Whether nothing but results and errors is to be said."""
    return _quiet


def results_folder() -> Path:
    """Return where results go, each in a folder of its own, if no option says where."""
    from featvis.results.elsewhere import is_address

    named = os.environ.get("FEATVIS_OUT") or "gallery"
    if is_address(named):
        raise OutputError(f"FEATVIS_OUT is a folder on this machine; give {named} by --out")
    return Path(named)


def plain(text: str) -> str:
    r"""Return a text that somebody else wrote on one line, without what a terminal takes for commands.

    >>> plain("blocks.4:3\x1b[2J\n")
    'blocks.4:3?[2J'
    """
    return "".join(one if one.isprintable() else "?" for one in " ".join(text.split()))


def note(line: str) -> None:
    """Print a line to stderr, unless the command is to be quiet."""
    if not _quiet:
        print(plain(line), file=sys.stderr, flush=True)


def warn(line: str) -> None:
    """Print what went wrong in a command that goes on, quiet or not."""
    print(plain(f"featvis: {line}"), file=sys.stderr, flush=True)


class Announced:
    """What shows how a run goes on, which says first what a long one does, how long it takes and where to."""

    def __init__(self, report: Report, what: str, folder: Path) -> None:
        self._report, self._what, self._folder = report, what, folder
        self._pictures = self._steps = self._taken = 0
        self._first = 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._report, name)

    def begin(self, total: int, done: int, steps: int, most: int | None = None) -> None:
        """Begin: how many pictures there are, how many are done, how many steps the rest takes."""
        left = total - done
        self._pictures, self._steps = left if most is None else min(left, most), steps
        self._report.begin(total, done, steps, most)

    def step(self, step: Step) -> None:
        """Count a step; after a few the time that all take is known."""
        from featvis.run.progress import duration

        self._taken += 1
        now = time.perf_counter()
        if self._taken == 1:  # much is made ready in the first
            self._first = now
        elif self._taken == TIMED:
            seconds = (now - self._first) / (TIMED - 1) * self._steps
            if seconds > LONG:
                pictures = count_of(self._pictures, "picture")
                self._report.say(
                    f"{pictures} of {self._what}, about {duration(seconds)}, to {self._folder}; Ctrl-C keeps "
                    "what there is"
                )
        self._report.step(step)


def progress() -> AbstractContextManager[Report | None]:
    """Return what shows how a run goes on; nothing where the command is to be quiet."""
    if _quiet:
        return nullcontext()
    from featvis.run.progress import Report

    return Report()


def note_code(source: str) -> None:
    """Print which file's code a network's name runs, if it does."""
    file = source.removeprefix("file:").rpartition(":")[0]
    if source.startswith("file:") and Path(file).is_file():
        note(f"running the code of {file}")


def write_json(path: Path, data: Any) -> None:
    """Write plain data to a JSON file, which appears whole or not at all."""
    from featvis.files import to_bytes, write_whole

    write_whole(path, to_bytes(json.dumps(data, indent=1, ensure_ascii=False) + "\n"))


def print_json(data: Any) -> None:
    """Print plain data as JSON, in ASCII where the stream does not take all signs."""
    takes_all = (sys.stdout.encoding or "utf-8").lower().replace("-", "") == "utf8"
    print(json.dumps(data, indent=1, ensure_ascii=not takes_all), flush=True)


def print_costs(costs: Iterable[Cost]) -> None:
    """Print a line for each layer and recipe: how many pictures, how they are computed, how long it takes."""
    from featvis.run.progress import duration

    for cost in costs:
        height, width = cost.canvas
        jobs = f"{count_of(cost.jobs, 'job')} of {count_of(cost.lanes, 'lane')}"
        work = f"canvas {height}x{width}, {count_of(cost.steps, 'step')}, about {duration(cost.seconds)}"
        print(f"{cost.layer}: {count_of(cost.pictures, 'picture')} in {jobs}, {work}")


def first_of(names: Sequence[str]) -> str:
    """Return the first eight names, with commas between."""
    return ", ".join(names[:8]) + (" …" if len(names) > 8 else "")
