"""How far an image's activations are from what the network's BatchNorm layers saw in training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from featvis.errors import RecipeError
from featvis.models.borrow.moments import MOMENTS_FROM, MOMENTS_OF, layer_of
from featvis.models.layers.network import NetworkAt
from featvis.objectives.base import Objective, copy_with
from featvis.objectives.shown import Activations
from featvis.objectives.statistics import Numbers, pinned_statistics, varying
from featvis.spec.options import AtLeastOne, AtLeastTwo, LayerStatistics, Switch
from featvis.spec.pinned import PIN
from featvis.spec.register import part


@part("batchnorm")
class BatchNormStatistics(Objective):
    """Distance of each picture's channel statistics from those that BatchNorm layers saw in training.

    To be subtracted: the mean over layers of mean_c[(μ - m)² / v] + ¼ mean_c[ln²((s² + .001 v) / v)], with μ,
    s² the mean and variance over (a grid of) the positions of one picture at a BatchNorm's input and m, v its
    running statistics (the idea is DeepInversion's, Yin et al. 2020, arXiv 1912.08795; there a batch has one
    μ and s², here each picture its own). Reads the BatchNorm2d layers up to the target's layer; none there is
    an error. ``every`` = 2 reads the last of them, the last but two and so on, at half the cost. With
    ``relative`` it is multiplied by the root mean square of the picture's activations at the target's layer
    (a class' are all logits), as a constant, so that one weight does for networks of any scale: for logits of
    EfficientNet-Lite0, whose size is 1.4 to 3 on the way, 6 is about what 14 is without.

    ``pooled`` takes μ and s² over all pictures of a set together, as DeepInversion does: what a channel says
    differs from picture to picture in photographs, too, and one picture alone that had the average of all of
    them would have to show a little of everything. A set is what is asked for together, in order, ``pooled``
    pictures at a time; the last is filled up with other units of the layer, drawn by the seed.

    ``statistics``, a file of :func:`featvis.activation_statistics`, takes the place of what BatchNorm layers
    keep: m and v are those of photographs, measured at the network's convolutions (or its LayerNorms), and
    what these give is held to them. So a network needs no BatchNorm. The layers that run before the target
    is computed are read; channels that no photograph moves are left out.
    """

    every: AtLeastOne = 1
    relative: Switch | None = None
    pooled: AtLeastTwo | None = None
    statistics: LayerStatistics | None = None

    @property
    def coupled(self) -> bool:  # type: ignore[override]
        """Whether a picture's score depends on its batch-mates."""
        return self.pooled is not None

    def beside(self, layers: Sequence[str], units: Sequence[int] = ()) -> Objective:  # noqa: D102
        return copy_with(self, _until=tuple(map(layer_of, layers)))

    def bind(self, network: NetworkAt) -> Objective:  # noqa: D102
        until = self._until or (network.output_layer,)
        moments, trained = (
            self._kept(until, network) if self.statistics is None else self._told(until, network)
        )
        layers = moments + (tuple(dict.fromkeys(until)) if self.relative else ())
        return copy_with(self, layers=layers, _moments=moments, _trained=trained)

    def _kept(self, until: tuple[str, ...], network: NetworkAt) -> tuple[tuple[str, ...], Tensor]:
        """Return the moments that are read, and what BatchNorm layers keep of their training."""
        names = network.batch_norms(until)
        if not names:
            problem = (
                f"penalty batchnorm: no BatchNorm2d runs before {', '.join(until)}; it can take statistics"
            )
            raise RecipeError(
                f"{problem} of photographs instead: fv.activation_statistics(model, photographs, out=...)",
                typed=f"{problem} of photographs instead: featvis statistics PHOTOS --out FILE",
            )
        names = names[::-1][:: self.every][::-1]
        modules = dict(network.module.named_modules())
        if any(modules[name].running_var is None for name in names):
            raise RecipeError("penalty batchnorm: this network's BatchNorm keeps no running statistics")
        return tuple(MOMENTS_OF + name for name in names), _trained([modules[name] for name in names])

    def _told(self, until: tuple[str, ...], network: NetworkAt) -> tuple[tuple[str, ...], Tensor]:
        """Return the moments that are read, and what photographs make of them."""
        assert self.statistics is not None
        path = self.statistics.rpartition(PIN)[0]
        try:
            found = pinned_statistics(self.statistics)
            names = found.before(until, network)
        except RecipeError as error:
            said = f"penalty batchnorm, statistics {path}: "
            raise RecipeError(f"{said}{error}", typed=f"{said}{error.typed}") from None
        names = [name for name in names if varying(found.layers[name]).any()][::-1][:: self.every][::-1]
        if not names:
            raise RecipeError(
                f"penalty batchnorm: no layer of the statistics {path} runs before {', '.join(until)}"
            )
        return tuple(MOMENTS_FROM + name for name in names), _measured([found.layers[name] for name in names])

    def score(self, activations: Activations, images: Tensor) -> Tensor:  # noqa: D102
        # All layers' channels in one row: a few operations instead of a few for each of fifty layers.
        own_mean, own_square = torch.cat([activations[name] for name in self._moments], dim=2).unbind(1)
        mean, variance, share = self._trained.to(own_mean.device)
        if self.pooled is not None:  # every picture's score is that of the set
            own_mean, own_square = (moments.mean(0, keepdim=True) for moments in (own_mean, own_square))
        own_variance = (own_square - own_mean.square()).clamp(min=0)
        shift = (own_mean - mean).square() / variance
        spread = ((own_variance + 0.001 * variance) / variance).log().square()
        distances: Tensor = ((shift + spread / 4) @ share).expand(images.shape[0])
        sizes = [_size(activations[name]) for name in self.layers[len(self._moments) :]]
        return distances * torch.stack(sizes).mean(0) if sizes else distances

    def describe(self) -> str:  # noqa: D102
        options = [f"every={self.every}"] if self.every > 1 else []
        options += ["relative"] if self.relative else []
        options += [f"pooled={self.pooled}"] if self.pooled is not None else []
        if self.statistics is not None:  # what the file holds counts, not where it lies
            options += [f"statistics={self.statistics.rpartition(PIN)[2]}"]
        return f"batchnorm({', '.join(options)})"

    constants = ("_trained",)
    _trained: ClassVar[Tensor] = torch.zeros(3, 0)
    _until: ClassVar[tuple[str, ...]] = ()
    _moments: ClassVar[tuple[str, ...]] = ()


def _size(activations: Tensor) -> Tensor:
    """The root mean square of each picture's activations ``(B, …)``, as a constant."""
    size: Tensor = activations.detach().float().flatten(1).square().mean(1).sqrt()
    return size


def _trained(norms: Sequence[nn.BatchNorm2d]) -> Tensor:
    """Running mean, running variance and share in the mean of every channel of every layer, ``(3, ΣC)``."""
    rows = []
    for norm in norms:
        assert norm.running_mean is not None
        assert norm.running_var is not None
        share = torch.full_like(norm.running_mean, 1 / (len(norms) * len(norm.running_mean)))
        rows.append(torch.stack((norm.running_mean, norm.running_var + norm.eps, share)).detach().float())
    return torch.cat(rows, dim=1)


def _measured(layers: Sequence[Numbers]) -> Tensor:
    """Return the same of statistics of photographs; a channel that they do not move has no share."""
    rows = []
    for values in layers:
        moves = varying(values)
        share = moves / (len(layers) * moves.sum())
        rows.append(np.stack((values[0], np.where(moves, values[1], 1.0), share)))
    return torch.from_numpy(np.concatenate(rows, axis=1)).float()
