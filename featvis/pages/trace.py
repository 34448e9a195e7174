"""The score over a run as an inline SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence

from markupsafe import Markup

from featvis.pages.words import say_number

_WIDTH, _HEIGHT = 380, 190
_LEFT, _RIGHT, _TOP, _BOTTOM = 50, 10, 16, 40
_DIGIT = 7
"""Width of a tick's digit, at 12 pixels."""
_ENDS = ("first image", "saved picture")


def make_trace(
    scores: Sequence[float],
    steps: int | None,
    name: str,
    ends: tuple[float | None, float | None] = (None, None),
) -> Markup:
    """Draw scores over a run, the SVG's ids after ``name``; nothing for fewer than two or absurd ones.

    ``ends`` are the scores that a page prints, of the first image and of the saved picture: dots with the
    same numbers, for what is climbed is seen through transforms and is another quantity.
    """
    told = [end for end in ends if end is not None]
    if len(scores) < 2 or max(map(abs, [*scores, *told])) > 1e200:
        return Markup("")
    last = steps if steps is not None and steps > 0 else len(scores)
    ticks = _ticks(min([*scores, *told]), max([*scores, *told]))
    low, high = min(ticks[0], *scores, *told), max(ticks[-1], *scores, *told)
    numbers = [f"{tick:g}".replace("-", "−") for tick in ticks]
    left = max(_LEFT, 24 + _DIGIT * max(map(len, numbers)))  # the axis' name stands beside them
    across, down = _WIDTH - left - _RIGHT, _HEIGHT - _TOP - _BOTTOM

    def column(fraction: float) -> str:
        return f"{left + across * fraction:.1f}"

    def row(value: float) -> str:
        return f"{_TOP + down * (1 - (value - low) / (high - low)):.1f}"

    points = " ".join(f"{column(i / (len(scores) - 1))},{row(score)}" for i, score in enumerate(scores))
    grid = [
        Markup(
            '<line x1="{0}" x2="{1}" y1="{2}" y2="{2}"/>'
            '<text x="{3}" y="{2}" dy="4" text-anchor="end">{4}</text>'
        ).format(left, _WIDTH - _RIGHT, row(tick), left - 6, number)
        for tick, number in zip(ticks, numbers, strict=True)
    ]
    foot = _HEIGHT - _BOTTOM + 16
    marks = [(0.0, 0, "start"), (0.5, last // 2, "middle"), (1.0, last, "end")]
    grid += [
        Markup('<text x="{}" y="{}" text-anchor="{}">{}</text>').format(column(part), foot, anchor, step)
        for part, step, anchor in marks
        if part != 0.5 or last > 3
    ]
    dots = [
        Markup(
            '<circle cx="{}" cy="{}" r="4"/>'
            '<text class="dot" x="{}" y="{}" dy="-8" text-anchor="{}">{}</text>'
        ).format(column(part), row(end), column(part + inwards), row(end), anchor, say_number(end))
        for part, inwards, anchor, end in ((0.0, 0.025, "start", ends[0]), (1.0, -0.025, "end", ends[1]))
        if end is not None
    ]
    description = (
        f"A line from {say_number(scores[0])} at the first step to {say_number(scores[-1])} at step {last}; "
        f"lowest {say_number(min(scores))}, highest {say_number(max(scores))}."
    )
    if told:
        saved = [
            f"{say_number(end)} of the {what}"
            for end, what in zip(ends, _ENDS, strict=True)
            if end is not None
        ]
        description += f" Dots at {' and '.join(saved)}."
    return Markup(
        '<svg class="trace" viewBox="0 0 {width} {height}" role="img" '
        'aria-labelledby="{name}-title {name}-desc" xmlns="http://www.w3.org/2000/svg">'
        '<title id="{name}-title">Score over the steps</title><desc id="{name}-desc">{told}</desc>'
        '<g class="grid">{grid}</g>'
        '<text class="axis" x="{middle}" y="{bottom}" text-anchor="middle">step</text>'
        '<text class="axis" x="12" y="{centre}" text-anchor="middle" '
        'transform="rotate(-90 12 {centre})">score</text>'
        '<polyline points="{points}"/>{dots}</svg>'
    ).format(
        width=_WIDTH,
        height=_HEIGHT,
        name=name,
        told=description,
        grid=Markup("").join(grid),
        dots=Markup("").join(dots),
        middle=left + across / 2,
        bottom=_HEIGHT - 6,
        centre=_TOP + down / 2,
        points=points,
    )


def _ticks(low: float, high: float) -> list[float]:
    """Return three to six round numbers that cover a range.

    >>> _ticks(-0.4, 31.0)
    [-10.0, 0.0, 10.0, 20.0, 30.0, 40.0]
    >>> _ticks(2.0, 2.0)
    [1.9, 1.95, 2.0, 2.05, 2.1]
    """
    if high - low <= max(1e-9 * max(abs(low), abs(high)), 1e-200):
        room = max(0.05 * abs(low), 1e-6)
        low, high = low - room, high + room
    rough = (high - low) / 4
    scale = 10.0 ** math.floor(math.log10(rough))
    step = next(scale * factor for factor in (1, 2, 5, 10) if scale * factor >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [float(f"{step * number:.6g}") for number in range(first, last + 1)]
