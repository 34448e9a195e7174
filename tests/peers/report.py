"""What judges say of the pictures, beside what the pictures cost."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from tests.peers.figures import Curve, mean_interval, table, time_to_reach
from tests.peers.judging import Verdict
from tests.peers.quality import Method

Verdicts = Mapping[str, Mapping[str, Verdict]]
"""By judge, by method."""


def quality_table(methods: Mapping[str, Method], verdicts: Verdicts, against: str) -> str:
    """Return the table in Markdown; the last column compares class by class with the method ``against``."""
    head = ["", "pictures", "s per picture", "network passes"]
    for judge in verdicts:
        head += [f"{_short(judge)}: mean p", "first", f"p less that of {against} (95 %)"]
    rows = []
    for name, method in methods.items():
        row = [
            method.told,
            str(len(method.classes)),
            f"{method.cost:.2f}",
            str(method.evaluations),
        ]
        for of in verdicts.values():
            verdict = of[name]
            row += [
                f"{verdict.probability.mean():.3f}",
                f"{int(verdict.first.sum())}/{len(verdict.first)}",
                _difference(methods, of, name, against),
            ]
        rows.append(row)
    return table(head, rows)


def _difference(methods: Mapping[str, Method], of: Mapping[str, Verdict], name: str, against: str) -> str:
    if name == against:
        return ""
    differences = paired(methods, of, name, against)
    low, high = mean_interval(differences)
    return f"{float(np.mean(differences)):+.3f} ({low:+.3f} to {high:+.3f})"


def paired(
    methods: Mapping[str, Method], of: Mapping[str, Verdict], name: str, against: str
) -> Sequence[float]:
    """Return the differences of the probability, class by class, where both have a picture."""
    theirs = dict(zip(methods[against].classes, of[against].probability, strict=True))
    ours = dict(zip(methods[name].classes, of[name].probability, strict=True))
    return [float(ours[unit] - theirs[unit]) for unit in ours if unit in theirs]


def reaches(methods: Mapping[str, Method], verdicts: Verdicts, theirs: str) -> dict[str, dict[str, Any]]:
    """Return, by judge, how soon featvis reaches what ``theirs`` does, on the classes that it has."""
    ours = [name for name in methods if name.startswith("featvis-")]
    ours.sort(key=lambda name: methods[name].cost)
    seconds = tuple(methods[name].cost for name in ours)
    columns = [methods[ours[0]].classes.index(unit) for unit in methods[theirs].classes]
    found = {}
    for judge, of in verdicts.items():
        curve = Curve(seconds, np.stack([of[name].probability[columns] for name in ours]))
        reach = time_to_reach(curve, list(of[theirs].probability), methods[theirs].cost)
        found[judge] = {
            **asdict(reach),
            "their_seconds": methods[theirs].cost,
            "classes": len(columns),
        }
    return found


def reach_line(judge: str, reach: Mapping[str, Any], theirs: str) -> str:
    """Say it in a sentence."""
    what = f"{_short(judge)}, {reach['classes']} classes: the {reach['level']:.3f} of {theirs}"
    if reach["ratio"] == 0:
        return f"{what} is not reached by featvis at any of its numbers of steps."
    low, high = reach["interval"]
    sooner = "at the most" if reach["bound"] else "about"
    times = ("at least " if reach["bound"] else "") + f"{reach['ratio']:.1f}"
    return (
        f"{what} ({reach['their_seconds']:.1f} s a picture) is reached by featvis after {sooner} "
        f"{reach['seconds']:.2f} s a picture: {times} times sooner "
        f"(95 % {low:.1f} to {high:.1f}, bootstrap over classes)."
    )


def to_json(
    methods: Mapping[str, Method], verdicts: Verdicts, found: Mapping[str, dict[str, dict[str, Any]]]
) -> dict[str, Any]:
    """Return the figures as plain data."""
    return {
        "methods": {
            name: {
                "told": method.told,
                "classes": method.classes,
                "evaluations": method.evaluations,
                "seconds": method.cost,
                "seconds_as_made": method.seconds,
                "judges": {
                    judge: {
                        "mean_probability": float(of[name].probability.mean()),
                        "first": float(of[name].first.mean()),
                        "probability": of[name].probability.tolist(),
                    }
                    for judge, of in verdicts.items()
                },
            }
            for name, method in methods.items()
        },
        # JSON knows no infinity: a level that is never reached has no seconds.
        "time_to_reach": {
            theirs: {
                judge: {**reach, "seconds": reach["seconds"] if math.isfinite(reach["seconds"]) else None}
                for judge, reach in by_judge.items()
            }
            for theirs, by_judge in found.items()
        },
    }


def _short(judge: str) -> str:
    return judge.removeprefix("efficientnet_").capitalize()
