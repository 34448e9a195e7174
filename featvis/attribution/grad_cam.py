"""Grad-CAM: a layer's units weighted by how much the score rises with their mean."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from featvis.attribution.register import Outcome, method
from featvis.attribution.scoring import Score
from featvis.errors import TargetError
from featvis.models.layers.measure import LayerInfo
from featvis.models.layers.network import NetworkAt


def cam_layer(network: NetworkAt, layers: tuple[str, ...], wanted: str | None = None) -> LayerInfo:
    """Return the layer that Grad-CAM reads for a target that reads ``layers``.

    By default the target's own, if it is a map; else the last convolution's map before it, read behind the
    normalization and activation that keep its shape (behind the block, in a network of blocks).
    """
    target = max((network.find(name) for name in layers), key=lambda info: info.order)
    if wanted is not None:
        info = network.layer(wanted)
        if not _is_map(info):
            raise TargetError(f"grad-cam: {wanted!r} gives no map of several positions, but {info.shape}")
        if info.order > target.order:
            raise TargetError(f"grad-cam: {wanted!r} runs after {target.name!r}, which it would explain")
        return info
    if _is_map(target):
        return target
    before = [info for info in network.layers.values() if info.order < target.order and _is_map(info)]
    if not before:
        raise TargetError(f"grad-cam: no layer before {target.name!r} gives a map of several positions")
    convolutions = [info for info in before if "conv" in info.module.lower()]
    last = max(convolutions or before, key=lambda info: info.order)
    alike = [info for info in before if info.order >= last.order and info.shape == last.shape]
    return max(alike, key=lambda info: info.order)


@method("grad-cam", about="a layer's units, weighed by how the score rises with them")
def grad_cam(score: Score, image: Tensor, *, layer: str | None = None) -> Outcome:
    """Return relu(Σ_c w_c a_c), w_c the mean over the map of ∂score/∂a_c (Selvaraju et al. 2017), enlarged.

    A score that reads one position of this very layer weighs its unit alone, so the map is then that unit's.
    A place of the canvas has the largest of a video's frames, of a signal's frequencies.
    """
    assert layer is not None
    size = (image.shape[2], image.shape[3])
    axis = score.model.at(size).layer(layer).axis
    watched = image.detach().requires_grad_()
    activations = score.tap(watched)
    read = activations[layer]
    (gradient,) = torch.autograd.grad(score.objective(activations, watched).sum(), read)
    read, gradient = read.detach().movedim(axis, 1).float(), gradient.movedim(axis, 1).float()
    places = tuple(range(2, read.dim()))
    weighed = (gradient.mean(places, keepdim=True) * read).sum(1, keepdim=True).clamp(min=0)
    sides = weighed.shape[-2:]
    if size[0] == 1:  # a signal's; in a network of images (T, 1) time goes down
        sides = torch.Size((1, sides[0] if weighed.dim() == 4 and sides[1] == 1 else sides[1]))
    maps = weighed.reshape(1, -1, *sides)
    values = functional.interpolate(maps, size, mode="bilinear", align_corners=False)[0].amax(0)
    return Outcome(values, {"layer": layer})


def _is_map(info: LayerInfo) -> bool:
    """Whether a layer gives several positions of the canvas, in a map, in frames or in time."""
    in_time = info.kind == "signal" and info.grid is not None
    if info.kind not in ("map", "map_last", "video", "video_last") and not in_time:
        return False
    return math.prod(info.shape) > info.units
