"""An edge detector: a map that knows nothing of the network, to be seen beside those that should."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

GREY = (0.299, 0.587, 0.114)


def grey(image: Tensor) -> Tensor:
    """Return the luma ``(H, W)`` of an image ``(C, H, W)``."""
    if image.shape[0] != 3:
        return image.mean(0)
    return torch.einsum("c,chw->hw", torch.tensor(GREY, dtype=image.dtype, device=image.device), image)


def edges(image: Tensor) -> Tensor:
    """Return Sobel's gradient magnitude ``(H, W)`` of an image ``(C, H, W)``."""
    kernel = torch.tensor([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]], dtype=image.dtype, device=image.device) / 8
    padded = functional.pad(grey(image)[None, None], (1, 1, 1, 1), mode="replicate")
    gradients = functional.conv2d(padded, torch.stack([kernel, kernel.T])[:, None])
    return gradients.square().sum(1).sqrt()[0]
