"""Agreement: whether pictures of one unit are more alike than pictures of two; and how much they differ."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

_STRONG = 0.9


@dataclass(frozen=True)
class Agreement:
    """Of the pictures of one unit."""

    pictures: int
    own: float
    """The mean likeness of two pictures of the unit."""
    others: float | None
    """The mean likeness of one of them and a picture of another unit; None if there is no other."""

    @property
    def agrees(self) -> bool | None:
        """Whether two pictures of the unit are more alike than pictures of two units."""
        return None if self.others is None else self.own > self.others


def agreement(likeness: Tensor, groups: Sequence[Hashable]) -> dict[Hashable, Agreement]:
    """Compare the pictures of every group that has two or more, by the likeness ``(N, N)`` of all."""
    names = list(groups)
    agreements: dict[Hashable, Agreement] = {}
    for name in dict.fromkeys(names):
        mine = torch.tensor([one == name for one in names])
        count = int(mine.sum())
        if count < 2:
            continue
        inside = likeness[mine][:, mine]
        own = float((inside.sum() - inside.diagonal().sum()) / (count * (count - 1)))
        across = likeness[mine][:, ~mine]
        agreements[name] = Agreement(count, own, float(across.mean()) if across.numel() else None)
    return agreements


def diversity(likeness: Tensor, scores: Sequence[float]) -> float | None:
    """Return the mean of 1 - likeness over every two pictures that reach 90 % of the best score.

    Where the best is not above zero, all count that reach it; None for fewer than two such pictures.
    """
    best = max(scores, default=0.0)
    strong = [place for place, score in enumerate(scores) if score >= (_STRONG * best if best > 0 else best)]
    if len(strong) < 2:
        return None
    inside = 1 - likeness[strong][:, strong]
    return float((inside.sum() - inside.diagonal().sum()) / (len(strong) * (len(strong) - 1)))
