"""Where activations lie on a map: two coordinates for each, alike ones close together."""

from __future__ import annotations

import math
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from featvis.errors import ModelError, RecipeError, unknown

LAYOUTS = ("tsne", "pca", "umap")
"""t-SNE (van der Maaten and Hinton 2008), principal components, UMAP (McInnes et al. 2018)."""
LANDMARKS = 2500
"""How many vectors t-SNE itself places; the others are placed among those that they are nearest to."""
PERPLEXITY = 30.0
_PARTS = 50
_NEAREST = 8
_MARGIN = 0.1
_CHUNK = 4096


def check_layout(name: str) -> str:
    """Return the name of a layout that can be made here.

    Raises:
        RecipeError: an unknown name.
        ModelError: a package that it needs is not installed.
    """
    if name not in LAYOUTS:
        raise RecipeError(unknown("layout", name, LAYOUTS, f"layouts: {', '.join(LAYOUTS)}"))
    if name == "umap" and find_spec("umap") is None:
        raise ModelError(
            "the layout umap needs the package umap-learn: pip install 'featvis[atlas]'; tsne and pca need "
            "none"
        )
    return name


def lay_out(
    vectors: NDArray[np.floating],
    layout: str = "tsne",
    *,
    seed: int = 0,
    steps: int = 400,
    say: Callable[[str], None] | None = None,
) -> NDArray[np.float64]:
    """Return a place ``(N, 2)`` on the unit square for each vector.

    Vectors are compared by the cosine of what they differ from their mean: they are centred, scaled to
    length 1 and reduced to 50 principal components. Each axis is scaled so that its 1st and 99th percentile,
    and a tenth beyond, become 0 and 1; what lies outside comes to the border.

    Args:
        vectors: ``(N, units)``.
        layout: ``tsne``, ``pca`` or ``umap``.
        seed: of the landmarks and of UMAP.
        steps: of t-SNE's descent.
        say: is told how far it is.

    >>> places = lay_out(np.array([[0.0, 1], [0, 2], [5, 0], [6, 0]]), "pca")
    >>> bool(places[0, 0] < 0.5) != bool(places[2, 0] < 0.5)
    True
    """
    check_layout(layout)
    parts = _reduce(vectors)
    if layout == "pca" or len(parts) < 8:
        found = parts[:, :2]
    elif layout == "umap":
        found = _umap(parts, seed)
    else:
        found = _tsne_of_many(parts, seed, steps, say)
    return _on_square(found.double().numpy())


def _reduce(vectors: NDArray[np.floating]) -> Tensor:
    """Return at most 50 principal components of the centred vectors of length 1; at least two."""
    units = vectors.shape[1]
    mean = np.zeros(units)
    for start in range(0, len(vectors), _CHUNK):
        mean += vectors[start : start + _CHUNK].astype(np.float64).sum(0)
    mean /= len(vectors)

    def chunks() -> Any:
        for start in range(0, len(vectors), _CHUNK):
            part = vectors[start : start + _CHUNK].astype(np.float64) - mean
            yield part / np.maximum(np.linalg.norm(part, axis=1, keepdims=True), 1e-12)

    total, products = np.zeros(units), np.zeros((units, units))
    for part in chunks():
        total += part.sum(0)
        products += part.T @ part
    middle = total / len(vectors)
    _, axes = np.linalg.eigh(products / len(vectors) - np.outer(middle, middle))
    axes = axes[:, ::-1][:, :_PARTS]
    # An axis's sign is free: its largest part speaks for it.
    axes = axes * np.sign(axes[np.abs(axes).argmax(0), np.arange(axes.shape[1])])
    found = np.concatenate([(part - middle) @ axes for part in chunks()])
    if found.shape[1] < 2:
        found = np.concatenate([found, np.zeros((len(found), 1))], 1)
    return torch.from_numpy(found.astype(np.float32))


def _umap(parts: Tensor, seed: int) -> Tensor:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # on threads and on its own dependencies
        import umap

        neighbours = min(20, len(parts) - 1)
        fitted = umap.UMAP(n_components=2, n_neighbors=neighbours, min_dist=0.01, random_state=seed)
        return torch.from_numpy(np.asarray(fitted.fit_transform(parts.numpy()), dtype=np.float32))


def _tsne_of_many(parts: Tensor, seed: int, steps: int, say: Callable[[str], None] | None) -> Tensor:
    chance = torch.Generator().manual_seed(seed)
    chosen = torch.randperm(len(parts), generator=chance)[:LANDMARKS].sort().values
    landmarks = parts[chosen]
    placed = tsne(landmarks, steps=steps, say=say)
    if len(chosen) == len(parts):
        return placed
    found = torch.empty(len(parts), 2)
    for start in range(0, len(parts), _CHUNK):
        apart = torch.cdist(parts[start : start + _CHUNK], landmarks)
        near, which = apart.topk(min(_NEAREST, len(landmarks)), largest=False)
        # Gaussians as wide as the third neighbour is far: one that lies upon a landmark gets its place.
        width = near[:, 2:3].clamp(min=1e-6)
        weights = torch.softmax(-near.square() / (width.square() / 2), dim=1)
        found[start : start + _CHUNK] = (weights[:, :, None] * placed[which]).sum(1)
    found[chosen] = placed
    return found


@torch.no_grad()
def tsne(
    points: Tensor,
    *,
    perplexity: float = PERPLEXITY,
    steps: int = 400,
    say: Callable[[str], None] | None = None,
) -> Tensor:
    """Place points by exact t-SNE (van der Maaten and Hinton 2008), from their first two coordinates.

    Args:
        points: ``(N, D)``; memory is N² numbers.
        perplexity: how many neighbours each has, at most a third of the points.
        steps: of gradient descent, a quarter of them with exaggeration 12.
        say: is told how far it is.

    >>> chance = torch.Generator().manual_seed(0)
    >>> corners = torch.tensor([[0.0, 0], [9, 9]]).repeat_interleave(10, 0)
    >>> corners = corners + torch.rand(20, 2, generator=chance) / 10
    >>> placed = tsne(corners, steps=100)
    >>> bool((placed[:10].mean(0) - placed[10:].mean(0)).norm() > placed[:10].std(0).norm())
    True
    """
    count = len(points)
    likely = _likelihoods(points, min(perplexity, max((count - 1) / 3, 1.0)))
    placed = points[:, :2] - points[:, :2].mean(0)
    placed = placed / placed[:, 0].std().clamp(min=1e-12) * 1e-4
    speed, gains = torch.zeros_like(placed), torch.ones_like(placed)
    early = steps // 4
    rate = max(count / 12.0 / 4.0, 10.0)  # Belkina et al. 2019
    for step in range(steps):
        exaggeration = 12.0 if step < early else 1.0
        squares = placed.square().sum(1)
        kernel = torch.addmm(squares[:, None] + squares[None, :], placed, placed.T, alpha=-2.0)
        kernel.clamp_(min=0).add_(1).reciprocal_()
        kernel.fill_diagonal_(0)
        forces = (likely * kernel).mul_(exaggeration).addcmul_(kernel, kernel, value=-1 / float(kernel.sum()))
        slope = 4 * (forces.sum(1, keepdim=True) * placed - forces @ placed)
        gains = torch.where(slope.sign() == speed.sign(), gains * 0.8, gains + 0.2).clamp(min=0.01)
        speed = (0.5 if step < early else 0.8) * speed - rate * gains * slope
        placed = placed + speed
        placed -= placed.mean(0)
        if say is not None and step % 100 == 99:
            say(f"t-SNE of {count:,} vectors: step {step + 1} of {steps}")
    return placed


def _likelihoods(points: Tensor, perplexity: float) -> Tensor:
    """Return the symmetric likelihoods p of neighbours, each point's Gaussian of the given perplexity."""
    apart = torch.cdist(points, points).square()
    apart = apart / apart.mean().clamp(min=1e-20)
    apart.fill_diagonal_(torch.inf)
    aim = math.log(perplexity)
    precision = torch.ones(len(points), 1)
    low, high = torch.zeros_like(precision), torch.full_like(precision, torch.inf)
    nearest = apart.min(1, keepdim=True).values
    for _ in range(40):
        weights = torch.exp(-precision * (apart - nearest))
        share = weights / weights.sum(1, keepdim=True)
        entropy = -(share * share.clamp(min=1e-30).log()).sum(1, keepdim=True)
        wide = entropy > aim
        low, high = torch.where(wide, precision, low), torch.where(wide, high, precision)
        middle = torch.where(high.isinf(), precision * 2, (low + high) / 2)
        precision = middle.clamp(max=1e12)
    both = share + share.T
    return both / both.sum()


def _on_square(found: NDArray[np.float64]) -> NDArray[np.float64]:
    low, high = np.percentile(found, [1, 99], axis=0)
    wide = np.where(high > low, high - low, 1.0)
    placed = np.clip((found - low) / wide, -_MARGIN, 1 + _MARGIN)
    placed = np.where(high > low, placed, 0.5)
    squeezed: NDArray[np.float64] = (placed + _MARGIN) / (1 + 2 * _MARGIN)
    return squeezed
