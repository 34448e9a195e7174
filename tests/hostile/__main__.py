"""``python -m tests.hostile [--seed N] [--mutations N] [--only TEXT]``: the table of counts; exit code 1 for any fault."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from tests.hostile.guard import Guarded
from tests.hostile.inputs import every
from tests.hostile.measure import COLUMNS, run, table
from tests.hostile.seeds import make_seeds


def main() -> int:
    parser = argparse.ArgumentParser(
        description="Run hostile inputs through the command line and count how they end."
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--mutations", type=int, default=8, help="of each kind of real file")
    parser.add_argument("--only", default="", help="kinds and names that hold this text")
    parser.add_argument("--seeds", type=Path, help="a folder to keep the real files in")
    parser.add_argument("--verbose", action="store_true", help="tell how each ended")
    arguments = parser.parse_args()
    chosen = [
        one
        for one in every(arguments.seed, arguments.mutations)
        if arguments.only in f"{one.kind}: {one.name}"
    ]
    began, guarded, outcomes = time.monotonic(), Guarded(), []
    with tempfile.TemporaryDirectory(prefix="hostile-seeds-") as place:
        seeds = (arguments.seeds or Path(place) / "seeds").resolve()
        if not seeds.exists():
            make_seeds(seeds)
        for outcome in run(chosen, seeds, guarded):
            outcomes.append(outcome)
            if outcome.problems or arguments.verbose:
                print(f"{', '.join(outcome.problems) or 'ok'}: {outcome}", file=sys.stderr, flush=True)
    guarded.end()
    counts = table(outcomes)
    counts["all"] = {column: sum(row[column] for row in counts.values()) for column in COLUMNS}
    width = max(map(len, counts))
    print(" " * width, *(f"{column:>13}" for column in COLUMNS))
    for kind, row in counts.items():
        print(kind.ljust(width), *(f"{row[column]:>13}" for column in COLUMNS))
    longest = max(outcomes, key=lambda one: one.answer["seconds"])
    largest = max(outcomes, key=lambda one: one.answer["peak"])
    print(
        f"longest {longest.answer['seconds']} s ({longest.input.kind}: {longest.input.name}), "
        f"largest {largest.answer['peak'] >> 20} MiB ({largest.input.kind}: {largest.input.name}), "
        f"{time.monotonic() - began:.0f} s in all"
    )
    return int(any(outcome.problems for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main())
