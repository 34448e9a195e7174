"""How clear, how many-sided and how much alike units are, and how sure a word for one is: from embeddings.

Clarity, redundancy and polysemanticity are those of SemanticLens (Dreyer et al. 2025, "Mechanistic
understanding and validation of large AI models with SemanticLens", arXiv 2501.05398), of embeddings of unit
length.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional

SETS = 1000
"""How many sets of random patches a unit's word is compared with."""
_SPLIT = 16
"""Patches of which all ways to split them into two groups are tried: 32,767 of so many."""
_BYTES = 128 * 2**20
"""What the patches of random sets may take at once."""


def unit_length(vectors: Tensor) -> Tensor:
    """Return vectors at length 1; one of length 0 stays that.

    >>> unit_length(torch.tensor([[3.0, 4.0], [0.0, 0.0]]))[:, 1].tolist()
    [0.800000011920929, 0.0]
    """
    return functional.normalize(vectors.float(), dim=-1)


def clarity(vectors: Tensor) -> Tensor:
    """Return how alike patches are: the mean cosine of two of them, n/(n-1)·(‖mean of v/‖v‖‖² - 1/n).

    Args:
        vectors: embeddings ``(..., n, D)`` of n ≥ 2 patches.

    >>> [round(clarity(vectors).item(), 5) for vectors in (torch.eye(2), torch.ones(4, 2))]
    [0.0, 1.0]
    """
    count = vectors.shape[-2]
    length = unit_length(vectors).mean(-2).square().sum(-1)
    clear: Tensor = (count * length - 1) / (count - 1)
    return clear


def redundancy(means: Tensor) -> Tensor:
    """Return of each unit the cosine with the one that is most like it, ``(K,)``.

    Args:
        means: the mean embeddings ``(K, D)`` of K ≥ 2 units of a layer.

    >>> redundancy(torch.tensor([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0]])).tolist()
    [1.0, 1.0, 0.0]
    """
    apart = unit_length(means)
    alike = apart @ apart.T
    largest: Tensor = alike.fill_diagonal_(-2).amax(1)
    return largest


def polysemanticity(vectors: Tensor) -> float | None:
    """Return 1 - the cosine of the means of the two groups that a unit's patches fall into, by 2-means.

    The groups are the best that there are of the first 16 patches. Where one of them is a single patch, it is
    the mean of 1 - the cosine of each patch and the mean of all, as in SemanticLens' code. None for fewer
    than four patches.

    Args:
        vectors: embeddings ``(n, D)``, those of the strongest patches first.

    >>> polysemanticity(torch.eye(2).repeat_interleave(3, 0)), polysemanticity(torch.ones(5, 2))
    (1.0, 0.0)
    """
    if len(vectors) < 4:
        return None
    apart = unit_length(vectors)[:_SPLIT]
    splits = _splits(len(apart))
    sizes = splits.sum(1)
    others = 1 - splits
    # Two means leave least of the squares where the groups' squared sums, each over its size, are largest.
    alike = apart @ apart.T
    within = [((group @ alike) * group).sum(1) / group.sum(1) for group in (splits, others)]
    best = int((within[0] + within[1]).argmax())
    if 1 in (int(sizes[best]), len(apart) - int(sizes[best])):
        cosines = apart @ unit_length(apart.mean(0))
    else:
        cosines = (unit_length(splits[best] @ apart) * unit_length(others[best] @ apart)).sum()
    # What floating point may be off by is no meaning.
    return max(0.0, round(1 - float(cosines.mean()), 5))


@lru_cache(maxsize=4)
def _splits(count: int) -> Tensor:
    """Return every way of taking some of so many things, and not the last one: rows of 0 and 1."""
    numbers = torch.arange(1, 2 ** (count - 1))
    return ((numbers[:, None] >> torch.arange(count)) & 1).float()


@dataclass(frozen=True)
class RandomSets:
    """What sets of random patches are: as many as a unit has, each of another photograph."""

    patch: Tensor
    """The mean embedding of a random patch, ``(D,)``."""
    sets: Tensor
    """The mean embedding of each set, at length 1, ``(SETS, D)``."""
    clarity: float | None
    """The mean clarity of the sets."""

    @property
    def middle(self) -> Tensor:
        """The mean of the sets, ``(D,)``: longer than that of single patches, which lie farther apart."""
        return self.sets.mean(0)


def draw_sets(vectors: Tensor, count: int, chance: torch.Generator, sets: int = SETS) -> RandomSets:
    """Draw sets of random patches.

    Args:
        vectors: embeddings ``(photographs, patches of each, D)`` at length 1.
        count: how many patches a set has; at most one of each photograph.
        chance: what is drawn from.
        sets: how many sets.
    """
    photographs, each, width = vectors.shape
    count = min(count, photographs)
    chosen = torch.rand((sets, photographs), generator=chance).argsort(1)[:, :count]
    places = torch.randint(each, (sets, count), generator=chance)
    means, clear = [], []
    at_once = max(1, _BYTES // (4 * width * count))
    for start in range(0, sets, at_once):
        of = vectors[chosen[start : start + at_once], places[start : start + at_once]]
        means.append(unit_length(of.mean(1)))
        if count > 1:
            clear.append(clarity(of))
    usual = float(torch.cat(clear).mean()) if clear else None
    return RandomSets(vectors.mean((0, 1)), torch.cat(means), usual)


class Certainty:
    """How sure words are: the softmax of what sets a unit's cosines with them apart from random patches'.

    p(w) = softmax over w of scale·(cos(u, w) - the mean of cos(r, w) over random sets r).
    """

    def __init__(self, texts: Tensor, sets: Tensor, scale: float) -> None:
        """Take embeddings of words ``(W, D)`` and of random sets ``(S, D)``, at length 1, and a scale."""
        self._texts, self._scale = texts, scale
        cosines = sets @ texts.T
        self._usual = cosines.mean(0)
        self._best = self._softmax(cosines).amax(1)

    def of(self, mean: Tensor) -> tuple[Tensor, Tensor]:
        """Return the certainty and the cosine of every word for a mean embedding at length 1."""
        cosines = self._texts @ mean
        return self._softmax(cosines), cosines

    def chance(self, certainty: float) -> float:
        """Return how often random patches have a word that is as sure: (1 + how many) / (1 + sets)."""
        return (1 + int((self._best >= certainty).sum())) / (1 + len(self._best))

    def _softmax(self, cosines: Tensor) -> Tensor:
        return (self._scale * (cosines - self._usual)).softmax(-1)
