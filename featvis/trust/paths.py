"""Path similarity: whether a network processes a picture of a class as it does photographs of that class."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from featvis.attribution.measure import spearman


@dataclass(frozen=True)
class PathSimilarity:
    """How alike a network processes a picture of a class and photographs of that class."""

    photographs: int
    layers: dict[str, float | None]
    """None for a layer in which photographs of the class are no more alike than those of two classes."""

    @property
    def mean(self) -> float | None:
        """The mean over the layers that tell."""
        clear = [value for value in self.layers.values() if value is not None]
        return sum(clear) / len(clear) if clear else None


def path_similarity(
    picture: Mapping[str, Tensor], same: Mapping[str, Tensor], other: Mapping[str, Tensor]
) -> dict[str, float | None]:
    """Return by layer how alike the paths of a picture and of its class' photographs are.

    Geirhos et al. 2023 (arXiv 2306.04719): the mean Spearman ρ of the picture's activations ``(D,)`` with
    ``same``, those ``(N, D)`` of photographs of its class, scaled so that two of these give 1 and one of them
    with one of the ``other`` classes' ``(M, D)`` gives 0. None for a layer in which photographs of the class
    are no more alike than those of two classes.
    """
    similarities: dict[str, float | None] = {}
    for layer, row in picture.items():
        count = len(same[layer])
        inside = spearman(same[layer], same[layer])
        alike = float((inside.sum() - inside.diagonal().sum()) / (count * (count - 1)))
        apart = float(spearman(same[layer], other[layer]).mean())
        mine = float(spearman(row[None], same[layer]).mean())
        similarities[layer] = (mine - apart) / (alike - apart) if alike > apart + 1e-6 else None
    return similarities
