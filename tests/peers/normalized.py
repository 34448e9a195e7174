"""The network as its peers get it: featvis' own module behind its own preprocessing."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from featvis.models.handle import ModelHandle


class Normalized(nn.Module):
    """The network that featvis holds, with its preprocessing in front: the peers know one or none."""

    def __init__(self, model: ModelHandle) -> None:
        super().__init__()
        self.network = model.module
        shape = (1, -1, 1, 1)
        self.register_buffer("mean", torch.tensor(model.mean, device=model.device).reshape(shape))
        self.register_buffer("std", torch.tensor(model.std, device=model.device).reshape(shape))

    def forward(self, images: Tensor) -> Tensor:
        """Images ``(B, C, H, W)`` in [0, 1]."""
        return self.network((images - self.mean) / self.std)
