"""Seconds per picture and step: the libraries in turn, in one process, on the same units of one network."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from featvis.models.handle import ModelHandle
from tests.peers import with_featvis, with_horama, with_lucent
from tests.peers.clock import turn
from tests.peers.figures import median_ms, ratio_by_round, table

SHIPPED, EQUAL, MACO, FOURIER = "lucent", "lucent-equal", "horama-maco", "horama-fourier"
STEPS_ONLY, WHOLE = "featvis", "featvis-whole"


@dataclass
class Row:
    """One library's figures."""

    told: str
    evaluations: int
    """Passes of the network in a step of one picture."""
    rounds: list[float] = field(default_factory=list)
    """Milliseconds for one picture and step: the median of each round."""

    @property
    def ms(self) -> float:
        """The median of the rounds."""
        return median_ms([value / 1000 for value in self.rounds])


@dataclass(frozen=True)
class Asked:
    """What is timed."""

    layer: str
    size: int
    lanes: int
    units: tuple[int, ...]
    counted: int
    """Steps of a peer's picture that count."""
    rounds: int
    canvas: int
    """Horama's."""
    recipe: dict[str, object]
    """Changes of featvis' recipe."""
    spectrum: Path


def measure(model: ModelHandle, asked: Asked, say: Callable[[str], None]) -> dict[str, Row]:
    """Time every library once in each round."""
    size, layer, canvas = asked.size, asked.layer, asked.canvas
    seen = max(size, 224)
    rows = {
        SHIPPED: Row(f"Lucent as it ships: canvas {size}, network sees {seen}", 1),
        EQUAL: Row(f"Lucent, network sees {size}", 1),
        MACO: Row(
            f"Horama maco: canvas {canvas}, {with_horama.CROPS} crops, network sees 224", with_horama.CROPS
        ),
        FOURIER: Row(
            f"Horama fourier: canvas {canvas}, {with_horama.CROPS} crops, network sees 224",
            with_horama.CROPS,
        ),
        STEPS_ONLY: Row(f"featvis, steps: canvas {size}, network sees {size}", 1),
        WHOLE: Row("featvis, whole call with scores and PNGs", 1),
    }
    options = {"size": size, "lanes": asked.lanes, **asked.recipe}
    with turn():
        with_featvis.warm_up(model, layer, asked.units[0], **options)
        with_lucent.time_steps(model, layer, asked.units[0], counted=1, canvas=size)
    for number in range(asked.rounds):
        with turn():
            _round(model, asked, number, rows, options)
        say(
            f"round {number + 1} of {asked.rounds}: "
            + ", ".join(f"{name} {row.rounds[-1]:.1f}" for name, row in rows.items())
            + " ms"
        )
    return rows


def _round(
    model: ModelHandle, asked: Asked, number: int, rows: dict[str, Row], options: dict[str, object]
) -> None:
    layer, size, counted = asked.layer, asked.size, asked.counted
    share = asked.units[number :: asked.rounds] or asked.units[:1]
    for name, seen in ((SHIPPED, None), (EQUAL, size)):
        times = [
            seconds
            for unit in share
            for seconds in with_lucent.time_steps(model, layer, unit, counted=counted, canvas=size, seen=seen)
        ]
        rows[name].rounds.append(median_ms(times))
    with tempfile.TemporaryDirectory() as folder:
        run = with_featvis.run(model, layer, asked.units, out=Path(folder), **options)
    rows[STEPS_ONLY].rounds.append(median_ms(run.step_seconds, run.lanes))
    rows[WHOLE].rounds.append(run.seconds * 1000 / run.picture_steps)
    for name, method in ((MACO, "maco"), (FOURIER, "fourier")):
        times = with_horama.time_steps(
            model,
            layer,
            share[0],
            method=method,
            spectrum=asked.spectrum,
            counted=horama_counted(asked),
            canvas=asked.canvas,
        )
        rows[name].rounds.append(median_ms(times))


def horama_counted(asked: Asked) -> int:
    """Return how many of Horama's steps count: it takes six passes of the network for each."""
    return max(2, asked.counted // 2)


def show(rows: dict[str, Row]) -> str:
    """Return the table in Markdown."""
    head = ["", "ms per picture-step", "network passes", "times featvis' step", "times featvis' whole call"]
    return table(
        head,
        [
            [
                row.told,
                f"{row.ms:.1f}",
                str(row.evaluations),
                _times(row.rounds, rows[STEPS_ONLY].rounds),
                _times(row.rounds, rows[WHOLE].rounds),
            ]
            for row in rows.values()
        ],
    )


def _times(theirs: Sequence[float], ours: Sequence[float]) -> str:
    middle, least, most = ratio_by_round(theirs, ours)
    return f"{middle:.1f} ({least:.1f} to {most:.1f})"


def to_json(rows: dict[str, Row]) -> dict[str, object]:
    """Return the figures as plain data."""
    ours = {name: rows[name].rounds for name in (STEPS_ONLY, WHOLE)}
    return {
        name: {
            **asdict(row),
            "ms": row.ms,
            "times": {other: ratio_by_round(row.rounds, rounds)[0] for other, rounds in ours.items()},
        }
        for name, row in rows.items()
    }
