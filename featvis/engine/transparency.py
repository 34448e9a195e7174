"""How much each pixel mattered to a run: the score's gradients by the pixels, summed over the steps."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from featvis.images.base import Parameters

FULL = 80.0
"""The percentile of a picture's gathered gradients from which on it is opaque (Horama, xplique)."""


class PixelGradients:
    """The sum over a run of |dL/dimage|, ``(lanes, H, W)``, its mean over the channels (Fel et al. 2023).

    L is what is climbed, transforms and penalties included. It is read off the backward pass that the run
    takes anyway, on the device, without a copy of the run.
    """

    def __init__(self) -> None:
        self.sums: Tensor | None = None

    def begin(self, lanes: int, canvas: tuple[int, int], device: torch.device) -> None:
        """Make room for images of a canvas, (height, width); what smaller ones gathered keeps its sum."""
        before = self.sums
        self.sums = torch.zeros((lanes, *canvas), device=device)
        if before is not None:
            share = before.shape[1] * before.shape[2] / (canvas[0] * canvas[1])
            resized = functional.interpolate(before[:, None], canvas, mode="bilinear", align_corners=False)
            self.sums += resized[:, 0] * share

    def watched(self, decode: Callable[[Parameters], Tensor]) -> Callable[[Parameters], Tensor]:
        """Return ``decode``, whose images' gradients are added when the backward pass comes to them."""

        def decode_and_watch(parameters: Parameters) -> Tensor:
            images = decode(parameters)
            if images.requires_grad:
                images.register_hook(self.add)  # type: ignore[no-untyped-call]
            return images

        return decode_and_watch

    def add(self, gradients: Tensor) -> None:
        """Gather the gradients of one step, ``(lanes, C, H, W)``."""
        assert self.sums is not None
        self.sums.add_(gradients.detach().abs().mean(1))

    def forget(self, lane: int) -> None:
        """Begin anew in a lane: it has another picture."""
        if self.sums is not None:
            self.sums[lane] = 0.0

    @property
    def levels(self) -> NDArray[np.uint8]:
        """How opaque each pixel of each lane is, ``(lanes, H, W)``."""
        assert self.sums is not None
        return np.stack([to_opacity(gathered) for gathered in self.sums.cpu().numpy()])


def to_opacity(gathered: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return 8-bit opacities ``(H, W)``: in proportion to what was gathered, full from a percentile on.

    >>> to_opacity(np.array([[0.0, 1.0, 2.0, 4.0, 4.0, 9.0]], np.float32)).tolist()
    [[0, 64, 128, 255, 255, 255]]
    """
    full = float(np.percentile(gathered, FULL))
    full = full if full > 0 else float(gathered.max())
    if full <= 0:
        return np.zeros(gathered.shape, np.uint8)
    levels: NDArray[np.uint8] = np.rint(np.clip(gathered / full, 0, 1) * 255).astype(np.uint8)
    return levels
