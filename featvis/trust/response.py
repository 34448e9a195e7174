"""Response: a unit's score on its saved picture, beside noise, fresh transforms and photographs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from featvis import draws
from featvis.models.handle import ModelHandle
from featvis.run.score import shown_plainly
from featvis.spec import register
from featvis.spec.recipe import Recipe
from featvis.transforms.chain import Chain
from featvis.trust.judging import BATCH, fit, read, units_of
from featvis.trust.subjects import Subject

FRESH = 4
"""How many fresh draws of the transforms a picture is shown under."""

SUPER = 3.0
"""A score of so many times the best photograph's is a super-stimulus."""

CLASSES: dict[str, tuple[float, float]] = {
    "efficientnet_lite0": (7.1, 11.4),
    "efficientnet_lite1": (6.2, 8.6),
    "efficientnet_lite2": (5.7, 9.8),
}
"""Between which values the embedded networks' logits of the class were on nine photographs."""


def as_its_network_is_shown(subjects: Sequence[Subject], model: ModelHandle) -> Tensor:
    """Return pictures of one size as their own network is shown them, without transforms."""
    size = subjects[0].shown_size
    rows = []
    for one in subjects:
        asked = one.recipe.get("size")
        if asked is not None and tuple(asked) == tuple(one.image.shape[1:]):
            rows.append(shown_plainly(one.image[None], size)[0])
        else:  # a file that is not the one that was rendered
            rows.append(fit([one.image], model, size)[0])
    return torch.stack(rows)


def respond(
    images: Tensor, model: ModelHandle, layer: str, position: tuple[int, int] | None = None
) -> Tensor:
    """Return what a layer's units say of images, ``(N, units)``, as pictures are scored."""
    info = model.at((images.shape[2], images.shape[3])).layer(layer)
    return read(images, model, [layer], lambda _, given: units_of(info, given, position))[layer]


@torch.no_grad()
def under_fresh_transforms(
    subjects: Sequence[Subject], model: ModelHandle, count: int = FRESH
) -> list[float]:
    """Return each picture's mean score over fresh draws of its recipe's transforms, as late in the run.

    The draws are the picture's own but not those that it was made with. Pictures of one layer and one size.
    """
    size, layer, position = subjects[0].shown_size, subjects[0].layer, subjects[0].position
    info = model.at(size).layer(layer)
    scores: list[float] = []
    for place in range(0, len(subjects), BATCH):
        group = subjects[place : place + BATCH]
        recipe = Recipe(**group[0].recipe)
        shown = _transformed(group, recipe, model, count)
        responses = read(shown, model, [layer], lambda _, one: units_of(info, one, position))[layer]
        for row, one in enumerate(group):
            assert one.unit is not None
            scores.append(one.sign * float(responses[row * count : (row + 1) * count, one.unit].mean()))
    return scores


def _transformed(group: Sequence[Subject], recipe: Recipe, model: ModelHandle, count: int) -> Tensor:
    steps = max(recipe.steps, count)
    images = torch.stack([one.image for one in group])

    def stream_of(one: Subject) -> Any:
        return lambda purpose: draws.stream(
            int(one.entry["seed"]), str(one.entry["target"]), 0, f"evaluate {purpose}"
        )

    chain = Chain(
        [register.make("transforms", spec) for spec in recipe.transforms],
        [stream_of(one) for one in group],
        steps=steps,
        channels=images.shape[1],
        canvas=(images.shape[2], images.shape[3]),
        shown_size=group[0].shown_size,
        device=torch.device("cpu"),
    )
    shown = [chain(images, step) for step in range(steps - count, steps)]
    return torch.stack(shown, 1).flatten(0, 1)


def percentile(score: float, values: Tensor) -> float:
    """Return the share of values that lie below a score, ties counted half.

    >>> percentile(2.0, torch.tensor([1.0, 2.0, 3.0, 4.0]))
    0.375
    """
    return float(((values < score).double() + (values == score).double() / 2).mean())


def band(score: float, low: float, high: float) -> str:
    """Say where a score lies beside photographs': ``below``, ``within``, ``above`` or ``super-stimulus``.

    >>> [band(score, 7.0, 11.0) for score in (5, 9, 15, 40)]
    ['below', 'within', 'above', 'super-stimulus']
    """
    if score < low:
        return "below"
    if score <= high:
        return "within"
    return "super-stimulus" if high > 0 and score >= SUPER * high else "above"


def band_of_class(logit: float, network: str) -> str | None:
    """Say where a class logit lies beside photographs of its class; None where none were shown beforehand.

    >>> band_of_class(9.0, "efficientnet_lite0"), band_of_class(30.0, "efficientnet_lite0")
    ('within', 'above')
    """
    return band(logit, *CLASSES[network]) if network in CLASSES else None


@dataclass(frozen=True)
class PhotographScores:
    """A score beside those of photographs."""

    best: float
    ratio: float | None
    """The score over the best; None unless the best is above zero."""
    percentile: float
    """The largest of the shares that the search keeps whose value the score reaches."""
    band: str
    """Where it lies beside the median and the best; see :func:`band`."""


def beside_photographs(score: float, examples: dict[str, Any], *, at_position: bool) -> PhotographScores:
    """Compare a score with what :func:`featvis.find_examples` found, of one neuron the largest values."""
    if at_position:
        best = float(examples["examples"][0]["value"])
        quantiles = examples["quantiles"]
    else:
        best, quantiles = float(examples["scores"]["best"]), examples["scores"]["quantiles"]
    reached = [share for share, value in quantiles if score >= value]
    middle = next((value for share, value in quantiles if share == 0.5), best)
    return PhotographScores(
        best=best,
        ratio=score / best if best > 0 else None,
        percentile=max(reached, default=0.0),
        band=band(score, float(middle), best),
    )
