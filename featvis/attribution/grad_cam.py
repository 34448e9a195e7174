"""Grad-CAM: a layer's units weighted by how much the score rises with their mean."""

from __future__ import annotations

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
    """
    assert layer is not None
    size = (image.shape[2], image.shape[3])
    axis = score.model.at(size).layer(layer).axis
    watched = image.detach().requires_grad_()
    activations = score.tap(watched)
    read = activations[layer]
    (gradient,) = torch.autograd.grad(score.objective(activations, watched).sum(), read)
    read, gradient = read.detach().movedim(axis, 1).float(), gradient.movedim(axis, 1).float()
    weighed = (gradient.mean((2, 3), keepdim=True) * read).sum(1, keepdim=True).clamp(min=0)
    values = functional.interpolate(weighed, size, mode="bilinear", align_corners=False)[0, 0]
    return Outcome(values, {"layer": layer})


def _is_map(info: LayerInfo) -> bool:
    if info.kind not in ("map", "map_last"):
        return False
    height, width = (n for axis, n in enumerate(info.shape) if axis not in (0, info.axis))
    return height * width > 1
