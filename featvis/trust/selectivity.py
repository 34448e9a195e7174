"""Selectivity: where a unit stands among its layer's units on its own picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

_FLOOR = 0.25


@dataclass(frozen=True)
class Selectivity:
    """Of one unit on its own picture."""

    rank: int
    """Its place among the layer's units by standardized response, from 1; a tie counts against it."""
    units: int
    z: float
    """Its response in standard deviations above its mean over the reference images."""


def standardize(responses: Tensor, reference: Tensor) -> Tensor:
    """Return responses ``(N, units)`` in standard deviations above each unit's mean over reference images.

    A unit's deviation counts as at least a quarter of the layer's (the root mean square over its units):
    units that hardly ever respond would else stand above all others whenever they do.
    """
    return _above(responses, reference.mean(0), reference.std(0, correction=0))


def standardize_in_turn(pictures: Tensor, units: Sequence[int], reference: Tensor) -> Tensor:
    """Return responses ``(N, units)`` to units' pictures, standardized by those to all the others.

    The reference of picture n and unit u is ``reference``, and the pictures that are neither u's nor of the
    unit that n is of. So no unit is measured by its own pictures, and no picture by its like: a rival whose
    own picture lies in the folder has no wider range than the unit itself because of it.
    """
    own = torch.tensor(units)
    centre = reference.mean(0)  # sums of squares are taken about it, lest they lose what they tell
    shifted = (pictures - centre).double()
    moments = _moments(shifted)
    everything = moments.sum(1) + _moments((reference - centre).double()).sum(1)
    of_itself = (moments * functional.one_hot(own, pictures.shape[1])).sum(1)  # of unit u on u's pictures
    rows = []
    for row, unit in enumerate(units):
        left = everything - of_itself - moments[:, own == unit].sum(1)
        left[:, unit] += of_itself[:, unit]  # taken away twice
        mean = left[1] / left[0]
        deviation = (left[2] / left[0] - mean.square()).clamp(min=0).sqrt()
        rows.append(_above(shifted[row], mean, deviation))
    return torch.stack(rows).to(pictures.dtype)


def _moments(values: Tensor) -> Tensor:
    return torch.stack((torch.ones_like(values), values, values.square()))


def _above(responses: Tensor, mean: Tensor, deviation: Tensor) -> Tensor:
    floor = _FLOOR * deviation.square().mean().sqrt()
    return (responses - mean) / deviation.maximum(floor).clamp(min=1e-9)


def selectivity(z: Tensor, units: Sequence[int], signs: Sequence[int] | None = None) -> list[Selectivity]:
    """Rank each picture's unit in its layer by standardized responses ``(N, units)``; signs are 1 or -1."""
    ranked = []
    for row, unit in enumerate(units):
        signed = z[row] * (signs[row] if signs is not None else 1)
        rank = 1 + int((signed >= signed[unit]).sum()) - 1
        ranked.append(Selectivity(rank, z.shape[1], float(signed[unit])))
    return ranked


def below_directions(z: Tensor, units: Sequence[int], signs: Sequence[int], count: int = 256) -> list[float]:
    """Return for each picture the share of random directions that it excites less than its own unit."""
    generator = torch.Generator().manual_seed(0)
    directions = torch.randn((z.shape[1], count), generator=generator)
    along = z @ (directions / directions.norm(dim=0))
    own = [sign * float(z[row, unit]) for row, (unit, sign) in enumerate(zip(units, signs, strict=True))]
    return [float((along[row] < value).double().mean()) for row, value in enumerate(own)]
