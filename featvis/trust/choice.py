"""A machine's two-alternative choice: does a unit's picture tell which of two photographs excites it?"""

from __future__ import annotations

import torch
from torch import Tensor

QUERIES = 9


def choice(likeness: Tensor, positive: Tensor, negative: Tensor, high: Tensor, low: Tensor) -> float:
    """Return the share of pairs of photographs in which the pictures point at the one that excites the unit.

    The task of Zimmermann et al. 2023 (arXiv 2307.05471) with a judge's features in place of a person: for
    a photograph q, Δ(q) is its mean likeness to the unit's pictures less that to what stands against
    them; a pair is right if Δ is larger for the photograph that excites the unit. Ties count half, so
    chance is ½. Without DreamSim no probability is made of Δ.

    Args:
        likeness: ``(N, N)`` of pictures and photographs together.
        positive: indices of the unit's pictures, at least one.
        negative: of what drives it down, or pictures of other units; may be empty.
        high: of photographs that excite the unit most.
        low: of photographs that excite it least.
    """

    def pull(query: Tensor) -> Tensor:
        towards = likeness[query][:, positive].mean(1)
        return towards - likeness[query][:, negative].mean(1) if len(negative) else towards

    difference = pull(high)[:, None] - pull(low)[None]
    return float(((difference > 0).double() + (difference == 0).double() / 2).mean())


def extremes(responses: Tensor, most: int = QUERIES) -> tuple[Tensor, Tensor] | None:
    """Return the indices of the photographs that excite a unit most, and least; None if they are too few.

    Args:
        responses: of the unit to each photograph.
        most: at most so many of each, and at most a quarter of all.
    """
    count = min(most, len(responses) // 4)
    if count < 2:
        return None
    order = torch.argsort(responses, stable=True)
    return order[-count:], order[:count]
