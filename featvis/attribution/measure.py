"""How good a map is (deletion, insertion) and how alike two maps are (rank correlation, SSIM)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from featvis.attribution.blur import blur
from featvis.attribution.scoring import Score


def curve(score: Score, image: Tensor, values: Tensor, filler: Tensor, steps: int = 16) -> Tensor:
    """Return the scores ``(steps + 1,)`` while more and more of an image is put into ``filler``.

    The pixels of the map's largest ``values`` come first, an equal number with each step. Insertion is this;
    deletion is the same with image and filler exchanged (Petsiuk et al. 2018).
    """
    count = values.numel()
    order = values.flatten().argsort(descending=True, stable=True)
    rank = torch.empty_like(order)
    rank[order] = torch.arange(count, device=order.device)
    rank = rank.view(1, 1, *values.shape)
    shown = [torch.where(rank < round(count * step / steps), image, filler) for step in range(steps + 1)]
    return score.values(torch.cat(shown))


def deletion_insertion(
    score: Score, image: Tensor, values: Tensor, filler: Tensor, blurred: Tensor, steps: int = 16
) -> tuple[float | None, float | None]:
    """Return the mean heights of both curves; 0 is the emptied image's score and 1 the whole one's.

    Small is good for deletion, which fills with ``filler``, large for insertion, which begins with
    ``blurred``. None where the emptied image has the whole one's score: there is nothing to lose.
    """
    deleted = curve(score, filler, values, image, steps)
    inserted = curve(score, image, values, blurred, steps)
    return _height(deleted, empty=deleted[-1], whole=deleted[0]), _height(inserted, inserted[0], inserted[-1])


def _height(scores: Tensor, empty: Tensor, whole: Tensor) -> float | None:
    span = whole - empty
    if float(span.abs()) < 1e-12:
        return None
    heights = (scores - empty) / span
    return float(torch.trapezoid(heights) / (len(scores) - 1))


def rank_correlation(one: Tensor, other: Tensor) -> float:
    """Return Spearman's ρ of two maps, ties at their mean rank; 0 where one of them is constant."""
    return float(spearman(one[None], other[None]))


def spearman(one: Tensor, other: Tensor) -> Tensor:
    """Return Spearman's ρ of every row of ``one`` with every row of ``other``, ``(N, M)``."""
    standard = []
    for values in (one, other):
        ranked = torch.stack([ranks(row) for row in values])
        standard.append(functional.normalize(ranked - ranked.mean(1, keepdim=True), dim=1))
    return standard[0] @ standard[1].T


def ranks(values: Tensor) -> Tensor:
    """Return the ranks of values from 1, flattened, ties at their mean rank.

    >>> ranks(torch.tensor([3.0, 1.0, 1.0])).tolist()
    [3.0, 1.5, 1.5]
    """
    inverse: Tensor
    _, inverse, counts = torch.unique(values.flatten(), return_inverse=True, return_counts=True)
    middle: Tensor = counts.cumsum(0).double() - (counts - 1) / 2
    return middle[inverse]


def similarity(one: Tensor, other: Tensor) -> float:
    """Return the mean SSIM of two maps, each brought to [0, 1] first (Wang et al. 2004, Gaussian σ 1.5)."""
    first, second = (_unit(values)[None, None] for values in (one, other))

    def mean(values: Tensor) -> Tensor:
        return blur(values, 1.5, radius=5)

    mu, nu = mean(first), mean(second)
    variances = mean(first * first) - mu * mu, mean(second * second) - nu * nu
    covariance = mean(first * second) - mu * nu
    c1, c2 = 0.01**2, 0.03**2
    ratio = (2 * mu * nu + c1) * (2 * covariance + c2)
    ratio = ratio / ((mu * mu + nu * nu + c1) * (variances[0] + variances[1] + c2))
    return float(ratio.mean())


def _unit(values: Tensor) -> Tensor:
    values = values.double()
    span = values.max() - values.min()
    return (values - values.min()) / span if span > 0 else torch.zeros_like(values)
