"""Feature accentuation: a photograph made to excite a unit more, without ceasing to be that photograph."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from featvis.errors import TargetError
from featvis.models.layers.measure import LayerInfo
from featvis.models.layers.network import NetworkAt
from featvis.models.photograph import Photograph, read_photograph, with_channels
from featvis.objectives.base import Composite, Objective, copy_with, digest_of, number, spread_over
from featvis.objectives.resize import Resize
from featvis.objectives.shown import Activations, Shown, require_shown
from featvis.objectives.unit import as_objective


class Accentuation(Composite):
    """f(Tx) - λ·b·d(Tx, T x₀), with the same transforms T for image and photograph (arXiv 2402.10039).

    d is the mean over positions of the Euclidean distance over channels, of what the network is shown or of
    a layer; b = Σ|∂f/∂x| / Σ|∂d/∂x| for each picture, so that at λ = 1 photograph and unit pull equally hard.
    Measured anew at each step, over the pixels: at the photograph itself d has no gradient, and b there is 0.
    """

    reads_shown = True
    constants = ("_resized",)

    def __init__(self, climbed: Objective, photograph: Tensor, weight: float, layer: str | None) -> None:
        self.photograph, self.weight, self.layer = photograph, weight, layer
        self.own_layers = (layer,) if layer else ()
        self._info: LayerInfo | None = None
        self._resized: Tensor | None = None
        super().__init__([climbed])

    def bind(self, network: NetworkAt) -> Objective:  # noqa: D102
        info = network.layer(self.layer) if self.layer else None
        photograph = with_channels(self.photograph, network.channels, "accentuation: a photograph")
        bound = super().bind(network)
        return copy_with(bound, photograph=photograph, _info=info, _resized=photograph[None])

    def score(self, activations: Activations, images: Tensor) -> Tensor:  # noqa: D102
        shown = require_shown(activations, self)
        if self._resized is None or (self.layer is not None and self._info is None):
            raise TargetError(f"{self.describe()} is not opened yet; render it, or use fv.ascend")
        scores = self.inner[0](shown, images)
        if self.weight == 0:
            return scores
        if self._resized.shape[2:] != images.shape[2:]:
            self._resized = Resize((images.shape[2], images.shape[3]))(self._resized)
        with torch.no_grad():
            photograph = self._resized.to(images.dtype).expand(images.shape[0], -1, -1, -1)
            # With no layer to look at, the photograph's own pixels will do: no pass of the network.
            if self.layer is None:
                reference = shown.move(photograph).flatten(2)
            else:
                reference = self._features(shown.look(photograph))
        distances = _distance(self._features(shown), reference)
        return scores - self.weight * _balance(scores, distances, images) * distances

    def _features(self, shown: Shown) -> Tensor:
        if self.layer is None:
            return shown.images.flatten(2)
        assert self._info is not None
        return spread_over(self._info, shown[self.layer])

    def describe(self) -> str:  # noqa: D102
        levels = (self.photograph * 255).round().to(torch.uint8)
        where = f", layer={self.layer}" if self.layer else ""
        return f"accentuation({self.inner[0].describe()}, {digest_of(levels)}, {number(self.weight)}{where})"


def accentuation(
    objective: Objective | str, photograph: Photograph, *, weight: float = 1.0, layer: str | None = None
) -> Accentuation:
    """Accentuate in a photograph what an objective looks for (Hamblin et al. 2024, arXiv 2402.10039).

    ``start=photograph`` begins the run there.

    Args:
        objective: what is climbed; an objective, or the address of one unit.
        photograph: a file, a PIL image, or a tensor or array ``(C, H, W)`` in [0, 1]; resized to the canvas.
        weight: λ, from 0 up; 1 lets the photograph pull as hard as the objective, 0 lets it not pull.
        layer: where the distance is measured, best an early layer; by default what the network is shown.

    Raises:
        CanvasError: no image, one beyond [0, 1], or (at the network) one of other channels.
        OutputError: a file that is no readable image.
        TargetError: no objective, or a negative weight.

    >>> import featvis as fv, torch
    >>> fv.accentuation(fv.logit(263), torch.zeros(3, 8, 8), weight=0.5, layer="conv")
    accentuation(logit(263), 5d89f0568650, 0.5, layer=conv)
    """
    objective = as_objective(objective, "accentuation")
    if not math.isfinite(weight) or weight < 0:
        raise TargetError(f"accentuation: weight is a number from 0 up, got {weight}")
    image = read_photograph(photograph, what="accentuation: a photograph")
    levels = (image * 255).round() / 255  # an image is known by its 8-bit levels
    return Accentuation(objective, levels, float(weight), layer)


def _distance(first: Tensor, second: Tensor) -> Tensor:
    """Mean over positions of the Euclidean distance over units, ``(B, units, positions)`` to ``(B,)``."""
    square = (first - second).square().sum(1)
    apart = square > 0
    # The root has no gradient at 0, where there is nothing to pull back.
    return (torch.where(apart, square, 1.0).sqrt() * apart).mean(1)


def _balance(scores: Tensor, distances: Tensor, images: Tensor) -> Tensor:
    """Σ|∂f/∂x| / Σ|∂d/∂x| of each picture, a number without a gradient; 0 where d is flat."""
    if not (images.requires_grad and scores.requires_grad and distances.requires_grad):
        return torch.zeros_like(distances)
    pulls = [
        torch.autograd.grad(values.sum(), images, retain_graph=True)[0].abs().flatten(1).sum(1)
        for values in (scores, distances)
    ]
    flat = pulls[1] == 0
    balance: Tensor = torch.where(flat, 0.0, pulls[0] / torch.where(flat, 1.0, pulls[1]))
    return balance.detach()
