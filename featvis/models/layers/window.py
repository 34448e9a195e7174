"""The part of a canvas that one position of a map sees: all that the network must be shown for a neuron."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from featvis.models.layers.measure import LayerInfo

Size = tuple[int, int]
Tapped = Callable[[Size], AbstractContextManager[Callable[[Tensor], Any]]]

WORTH = 0.7
"""A window of more than this share of the canvas saves too little to be worth another shape."""
TRIALS = 4


@dataclass(frozen=True)
class Window:
    """A part of the canvas, and where the position lies on the map of that part alone."""

    top: int
    left: int
    size: Size
    position: tuple[int, int]

    def of(self, images: Tensor) -> Tensor:
        """Return the window of ``images`` ``(B, C, H, W)``."""
        height, width = self.size
        return images[:, :, self.top : self.top + height, self.left : self.left + width]


def find_window(
    layer: LayerInfo, position: tuple[int, int], size: Size, channels: int, tap: Tapped, device: torch.device
) -> Window | None:
    """Measure which pixels a position depends on; None if they are most of the canvas or cannot be cut out.

    Where gradients of random images reach, widened by two positions; a window is trusted only if the position
    gives the same activations and gradients for it as for the whole canvas. ``tap`` borrows the network for a
    canvas and gives a function from images to the layer's activation.
    """
    if layer.kind != "map" or layer.stride is None:
        return None
    generator = torch.Generator().manual_seed(0)
    images = torch.rand((TRIALS, channels, *size), generator=generator).to(device)
    values, gradients = _look(images, position, tap, size)
    reached = gradients.abs().amax((0, 1)) > 0
    spans = []
    for axis, (side, stride) in enumerate(zip(size, layer.stride, strict=True)):
        touched = reached.any(1 - axis).nonzero().flatten()
        if not len(touched):
            return None
        # Whole positions, so that every stride within falls on the same pixels.
        first = max(0, int(touched[0]) // stride - 2) * stride
        last = min(side, (int(touched[-1]) // stride + 3) * stride)
        spans.append((first, last))
    (top, bottom), (left, right) = spans
    height, width = bottom - top, right - left
    if height * width > WORTH * size[0] * size[1]:
        return None
    within = (position[0] - top // layer.stride[0], position[1] - left // layer.stride[1])
    window = Window(top, left, (height, width), within)
    try:
        part, own = _look(window.of(images).contiguous(), within, tap, window.size)
    except Exception:  # whatever a network says of a canvas that it does not take
        return None
    near = 1e-3 * float(values.abs().max())
    if part.shape != values.shape or not torch.allclose(part, values, rtol=1e-3, atol=near):
        return None
    whole = window.of(gradients)
    return window if float((own - whole).norm()) <= 1e-2 * float(whole.norm()) else None


def _look(images: Tensor, position: tuple[int, int], tap: Tapped, size: Size) -> tuple[Tensor, Tensor]:
    """The layer's activations at a position, and the gradient of their sum of squares."""
    leaf = images.detach().requires_grad_()
    with tap(size) as activation:
        values = activation(leaf)[:, :, position[0], position[1]].float()
        (gradients,) = torch.autograd.grad(values.square().sum() + values.sum(), leaf)
    return values.detach(), gradients
