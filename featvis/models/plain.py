"""A network run as it stands: its preprocessing, and none of the engine's shortcuts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from featvis.models.form import IMAGES, Form


class PlainRun:
    """Runs a whole network on images ``(B, C, H, W)`` in [0, 1]; who calls it has borrowed the network."""

    def __init__(
        self,
        module: nn.Module,
        mean: Sequence[float],
        std: Sequence[float],
        *,
        signal: bool = False,
        form: Form = IMAGES,
    ) -> None:
        """Run ``module`` on images less ``mean``, divided by ``std``, in a form of its own.

        Of a network of signals (``signal``) the canvas is one row.
        """
        self.module, self.signal, self.form = module, signal, form
        self.mean, self.std = tuple(mean), tuple(std)

    @property
    def channels(self) -> int:
        """How many channels its images have."""
        return len(self.mean)

    @property
    def device(self) -> torch.device:
        """Where its parameters are."""
        first = next(iter(self.module.parameters()), None)
        return first.device if first is not None else torch.device("cpu")

    @property
    def dtype(self) -> torch.dtype:
        """The type of its parameters."""
        first = next((p for p in self.module.parameters() if p.is_floating_point()), None)
        return first.dtype if first is not None else torch.float32

    def __call__(self, images: Tensor) -> Any:
        """Return whatever the network returns for images on the CPU."""
        mean = torch.tensor(self.mean)[:, None, None]
        std = torch.tensor(self.std)[:, None, None]
        return self.run(self.form.shown((images - mean) / std))

    def run(self, shown: Tensor) -> Any:
        """Return whatever the network returns for what it takes."""
        return self.module(shown.to(device=self.device, dtype=self.dtype))

    def numbers(self, images: Tensor) -> Tensor:
        """Return every number that the network returns, in a row."""
        leaves = tree_leaves(self(images))
        numbers = [leaf.flatten().float() for leaf in leaves if isinstance(leaf, Tensor)]
        return torch.cat(numbers) if numbers else images.new_zeros(0)

    def runs_at(self, size: tuple[int, int]) -> bool:
        """Whether the network runs on a canvas of this size."""
        try:
            with torch.no_grad():
                self(torch.full((1, self.channels, *size), 0.5))
        except Exception:
            return False
        return True
