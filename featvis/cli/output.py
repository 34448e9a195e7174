"""What commands print and write alike."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from featvis.run.estimate import Cost


def plain(text: str) -> str:
    r"""Return a text that somebody else wrote on one line, without what a terminal takes for commands.

    >>> plain("blocks.4:3\x1b[2J\n")
    'blocks.4:3?[2J'
    """
    return "".join(one if one.isprintable() else "?" for one in " ".join(text.split()))


def note(line: str) -> None:
    """Print a line to stderr."""
    print(plain(line), file=sys.stderr, flush=True)


def note_code(source: str) -> None:
    """Print which file's code a network's name runs, if it does."""
    if source.startswith("file:"):
        note(f"running the code of {source.removeprefix('file:').rpartition(':')[0]}")


def write_json(path: Path, data: Any) -> None:
    """Write plain data to a JSON file, which appears whole or not at all."""
    from featvis.files import write_whole

    write_whole(path, (json.dumps(data, indent=1, ensure_ascii=False) + "\n").encode())


def print_costs(costs: Iterable[Cost]) -> None:
    """Print a line for each layer and recipe: how many pictures, how they are computed, how long it takes."""
    from featvis.run.progress import duration

    for cost in costs:
        height, width = cost.canvas
        jobs = f"{count_of(cost.jobs, 'job')} of {count_of(cost.lanes, 'lane')}"
        work = f"canvas {height}x{width}, {count_of(cost.steps, 'step')}, about {duration(cost.seconds)}"
        print(f"{cost.layer}: {count_of(cost.pictures, 'picture')} in {jobs}, {work}")


def count_of(number: int, thing: str) -> str:
    """Return a number with its noun.

    >>> count_of(1, "picture"), count_of(2, "job")
    ('1 picture', '2 jobs')
    """
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def first_of(names: Sequence[str]) -> str:
    """Return the first eight names, with commas between."""
    return ", ".join(names[:8]) + (" …" if len(names) > 8 else "")
