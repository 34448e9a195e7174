"""What hostile inputs lead to, counted."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.hostile.guard import MEMORY, SECONDS, Guarded
from tests.hostile.inputs import Input


@dataclass
class Outcome:
    """How one input ended."""

    input: Input
    answer: dict
    partial: list[str]
    """Files that the command left half-written."""

    @property
    def problems(self) -> list[str]:
        """What must not be: each a column of the table."""
        answer, found = self.answer, []
        if answer["did"]:
            found.append("code or reach")
        if answer["crash"] == "too long" or answer["seconds"] > SECONDS or self._too_large:
            found.append("over limits")
        elif answer["crash"]:
            found.append("tracebacks")
        elif answer["code"] == 2 and self.lines != 1:
            found.append("not one line")
        elif answer["code"] not in (0, 1, 2) or "Traceback" in answer["err"]:
            found.append("tracebacks")
        if self.partial:
            found.append("half-written")
        return found

    @property
    def _too_large(self) -> bool:
        return self.answer["peak"] > MEMORY or "out of memory" in self.answer["err"].lower()

    @property
    def lines(self) -> int:
        """Lines that tell of an error."""
        return sum(line.startswith("featvis: ") for line in self.answer["err"].splitlines())

    def __str__(self) -> str:
        answer = self.answer
        numbers = f"{answer['seconds']} s, {answer['peak'] >> 20} MiB, code {answer['code']}"
        said = f"{answer['crash']}\n{answer['err']}".strip()[-1500:]
        return f"{self.input.kind}: {self.input.name}: {numbers} {answer['did']} {self.partial}\n    {said}"


def run(inputs: Iterable[Input], seeds: Path, guarded: Guarded) -> Iterator[Outcome]:
    """Run each input in folders of its own."""
    for one in inputs:
        with tempfile.TemporaryDirectory(prefix="hostile-") as name:
            place = Path(name).resolve()
            (place / "in").mkdir()
            (place / "out").mkdir()
            one.prepare(seeds, place / "in", place / "out")
            before = set((place / "out").rglob("*"))
            words = {"in": place / "in", "out": place / "out", "seeds": seeds}
            typed = [word.format(**words) for word in one.typed]
            answer = guarded.run(typed, place / "in", place / "out", **one.more)
            partial = [str(path.name) for path in find_partial(place / "out", before)]
            partial += [path.name for path in (place / "in").glob("ran-*")]
            shutil.rmtree(place / "out", ignore_errors=True)
        yield Outcome(one, answer, partial)


def find_partial(folder: Path, before: set[Path]) -> Iterator[Path]:
    """Yield files that are new and not whole."""
    from PIL import Image

    for path in folder.rglob("*"):
        if path in before or not path.is_file() or path.is_symlink():
            continue
        if path.name.endswith(".part") or path.stat().st_size == 0:
            yield path
        elif path.suffix == ".json":
            try:
                json.loads(path.read_text())
            except ValueError:
                yield path
        elif path.suffix in (".png", ".webp"):
            try:
                with Image.open(path) as opened:
                    opened.load()
            except Exception:
                yield path


COLUMNS = (
    "inputs",
    "results",
    "one line",
    "tracebacks",
    "not one line",
    "code or reach",
    "over limits",
    "half-written",
)


def table(outcomes: Iterable[Outcome]) -> dict[str, dict[str, int]]:
    """Count the outcomes by kind."""
    counts: dict[str, dict[str, int]] = {}
    for outcome in outcomes:
        kind = outcome.input.kind
        for row in (counts.setdefault(kind, dict.fromkeys(COLUMNS, 0)),):
            row["inputs"] += 1
            for problem in outcome.problems:
                row[problem] += 1
            if not outcome.problems:
                row["one line" if outcome.answer["code"] == 2 else "results"] += 1
    return counts
