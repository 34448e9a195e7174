"""Transfer: whether a network that took no part names the class that a picture is meant to show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

from featvis.errors import TargetError
from featvis.models.handle import ModelHandle
from featvis.trust.intervals import wilson
from featvis.trust.judging import Shown
from featvis.trust.views import logits, views_of


@dataclass(frozen=True)
class Recognition:
    """What one judge makes of one picture of a class."""

    rank: int
    """The class' place in the judge's order, from 1."""
    probability: float
    logit: float
    margin: float
    """The class' logit less the largest of the others."""
    z: float
    """The class' logit, standardized over all classes."""
    said: int
    """The class that the judge names first."""


def transfer(
    pictures: Sequence[Shown], labels: Sequence[int], judge: ModelHandle, views: int | None = None
) -> list[Recognition]:
    """Ask a judge which class it sees in saved pictures, meant to be ``labels`` (see :func:`class_of`).

    ``views`` is how often it looks at each, 1 or 8, by default what is known to suit the judge.
    """
    if len(labels) != len(pictures):
        raise TargetError(f"one class for each picture: {len(pictures)} pictures, {len(labels)} classes")
    if not pictures:
        return []
    return recognitions(logits(pictures, judge, views_of(judge, views)), labels)


def recognitions(logits: Tensor, labels: Sequence[int]) -> list[Recognition]:
    """Read recognitions off logits ``(N, classes)``; in the rank, a tie counts against the picture."""
    classes = logits.shape[1]
    if classes < 2:
        raise TargetError("a judge that knows one class cannot tell classes apart")
    if wrong := [label for label in labels if not 0 <= label < classes]:
        raise TargetError(f"class {wrong[0]} is out of range; the judge has classes 0 to {classes - 1}")
    values = logits.double()
    probabilities = values.softmax(1)
    mean, spread = values.mean(1), values.std(1, correction=0).clamp(min=1e-12)
    recognized = []
    for row, label in enumerate(labels):
        own = values[row, label]
        others = torch.cat((values[row, :label], values[row, label + 1 :]))
        recognized.append(
            Recognition(
                rank=1 + int((others >= own).sum()),
                probability=float(probabilities[row, label]),
                logit=float(own),
                margin=float(own - others.max()),
                z=float((own - mean[row]) / spread[row]),
                said=int(values[row].argmax()),
            )
        )
    return recognized


def class_of(label: str, judge: ModelHandle) -> int | None:
    """Return the number of the judge's class of this name, written as the judge writes it; None if none."""
    names = classes_of(judge)
    return names.index(label) if label and label in names else None


def classes_of(judge: ModelHandle) -> tuple[str, ...]:
    """Return the names of a judge's outputs; none where the names that it was given are not as many."""
    return judge.layer(judge.output_layer).labels


def summarize(recognized: Sequence[Recognition]) -> dict[str, Any]:
    """Return the shares named first and among five with Wilson's 95 % intervals, and means of the rest."""
    count = len(recognized)
    if not count:
        return {"pictures": 0}
    first, five = sum(one.rank == 1 for one in recognized), sum(one.rank <= 5 for one in recognized)
    return {
        "pictures": count,
        "top1": first / count,
        "top1_interval": list(wilson(first, count)),
        "top5": five / count,
        "top5_interval": list(wilson(five, count)),
        "probability": fmean(one.probability for one in recognized),
        "logit": fmean(one.logit for one in recognized),
        "margin": fmean(one.margin for one in recognized),
        "median_rank": sorted(one.rank for one in recognized)[count // 2],
    }
