"""The score of a target as a plain function of images, for as long as the network is borrowed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor

from featvis.errors import TargetError
from featvis.models.borrow.tap import Tap
from featvis.models.handle import ModelHandle
from featvis.objectives.base import Objective, Sum
from featvis.objectives.unit import of_target
from featvis.objectives.vectors import read_vectors
from featvis.plan.make import AnyTarget
from featvis.spec.target import Target, expand, parse_vectors


class Score:
    """A target's score as a function of images ``(B, C, H, W)`` in [0, 1]."""

    def __init__(self, model: ModelHandle, tap: Tap, objective: Objective) -> None:
        self.model, self.tap, self.objective = model, tap, objective

    def __call__(self, images: Tensor) -> Tensor:
        """Return the scores ``(B,)``."""
        return self.objective(self.tap(images), images)

    def of_prepared(self, shown: Tensor, images: Tensor) -> Tensor:
        """Return the scores of images as the network takes them; see :meth:`Tap.prepare`."""
        return self.objective(self.tap.read(shown), images)

    @torch.no_grad()
    def values(self, images: Tensor, batch: int = 8) -> Tensor:
        """Return the scores of many images, ``batch`` at a time and without gradients."""
        return torch.cat([self(part) for part in torch.split(images, batch)])


@contextmanager
def scored(
    model: ModelHandle, objective: Objective, size: tuple[int, int], also: Sequence[str] = ()
) -> Iterator[Score]:
    """Borrow the network for the scores of a bound objective at a canvas; ``also`` are read beside it."""
    layers = tuple(dict.fromkeys((*objective.layers, *also)))
    with model.tap(layers, size=size, cheaper=False) as tap:
        yield Score(model, tap, objective)


def find_target(model: ModelHandle, target: AnyTarget, size: tuple[int, int]) -> tuple[Objective, str]:
    """Return the one objective that a target names, bound at a canvas, and its name."""
    network = model.at(size)
    if isinstance(target, str) and (rows := parse_vectors(target)) is not None:
        width = network.layer(rows.layers[0]).units
        found = [one for layer in rows.layers for one in read_vectors(replace(rows, layers=(layer,)), width)]
        if len(found) != 1:
            raise TargetError(f"{target!r} names {len(found)} directions; an attribution is of one")
        target = found[0]
    if isinstance(target, str):
        request = network.request(target)
        info = network.layer(request.layer)
        targets = expand(request, info.units, info.labels)
        if len(targets) != 1:
            raise TargetError(
                f"{target!r} names {len(targets)} units; an attribution is of one, for instance {targets[0]}"
            )
        target = targets[0]
    if isinstance(target, Target):
        return of_target(target).bind(network), str(target)
    if not isinstance(target, Objective):
        raise TargetError(f"a target is an address or an objective, got {type(target).__name__}")
    bound = target.bind(network)
    terms = [term for _, term in bound.terms] if isinstance(bound, Sum) else [bound]
    if any(term.coupled for term in terms):
        raise TargetError(f"{bound.describe()} scores pictures by each other; there is one photograph here")
    if not bound.layers:
        raise TargetError(f"{bound.describe()} reads no layer of the network; there is nothing to attribute")
    return bound, bound.describe()
