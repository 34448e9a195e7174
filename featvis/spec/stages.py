"""Canvas stages: a run that begins on a small canvas and grows it on the way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

Size = tuple[int, int]


@dataclass(frozen=True)
class Stage:
    """Steps ``first`` to ``last`` (not included) on one canvas."""

    size: Size
    first: int
    last: int


def plan_stages(stages: Sequence[tuple[Size, float]], size: Size, steps: int) -> list[Stage]:
    """Return the stages of a run, the whole canvas last; those without a step are left out.

    ``stages`` are ((height, width), the share of the run at which it ends).

    >>> plan_stages([((64, 64), 0.25), ((128, 128), 0.5)], (224, 224), 8)[1]
    Stage(size=(128, 128), first=2, last=4)
    """
    planned: list[Stage] = []
    first = 0
    for canvas, share in (*stages, (size, 1.0)):
        last = steps if canvas == size else min(steps, round(share * steps))
        if last > first:
            planned.append(Stage(canvas, first, last))
            first = last
    return planned
