"""A machine's two-alternative choice: does a unit's picture tell which of two photographs excites it?"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

QUERIES = 9
FEWEST = 4
_TIE = 1e-6


@dataclass(frozen=True)
class Choice:
    """How often a unit's pictures point at the photograph of two that excites it more."""

    share: float
    """Of all pairs; chance is ½."""
    queries: int
    """Photographs on each side; every one of one side was paired with every one of the other."""

    @property
    def is_chance(self) -> bool:
        """Whether the pictures tell no more than chance would.

        With fewer than :data:`QUERIES` on a side, the share must lie a standard deviation of the rank sum
        below ½.
        """
        deviation = math.sqrt((2 * self.queries + 1) / 12) / self.queries
        return self.share <= 0.5 - (deviation if self.queries < QUERIES else 0.0)


def choice(likeness: Tensor, positive: Tensor, negative: Tensor, high: Tensor, low: Tensor) -> Choice:
    """Say in how many pairs of photographs the pictures point at the one that excites the unit.

    The task of Zimmermann et al. 2023 (arXiv 2307.05471) with a judge's features in place of a person: for a
    photograph q, Δ(q) is its mean likeness to the unit's pictures less that to what stands against them; a
    pair is right if Δ is larger for the photograph that excites the unit. Ties count half, so chance is ½.
    Without DreamSim no probability is made of Δ.

    Args:
        likeness: ``(N, N)`` of pictures and photographs together; the others are indices of these.
        positive, negative: the unit's pictures, and what drives it down or is of other units (may be none).
        high, low: photographs that excite the unit most, and least.
    """

    def pull(query: Tensor) -> Tensor:
        towards = likeness[query][:, positive].mean(1)
        return towards - likeness[query][:, negative].mean(1) if len(negative) else towards

    difference = pull(high)[:, None] - pull(low)[None]
    right = (difference > _TIE).double() + (difference.abs() <= _TIE).double() / 2
    return Choice(float(right.mean()), min(len(high), len(low)))


def extremes(responses: Tensor, most: int = QUERIES) -> tuple[Tensor, Tensor] | None:
    """Return the indices of the (at most a quarter of all) photographs that excite a unit most, and least."""
    count = min(most, len(responses) // 4)
    if count < FEWEST:
        return None
    order = torch.argsort(responses, stable=True)
    return order[-count:], order[:count]
