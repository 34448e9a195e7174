"""A network run as it stands: its preprocessing, and none of the engine's shortcuts."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from featvis.models.borrow.loan import own_types
from featvis.models.form import IMAGES, Form


def original_of(module: nn.Module) -> nn.Module:
    """Return the network inside a compiled one: compiling it anew for each shape costs more than it wins."""
    inner = getattr(module, "_orig_mod", None)
    return original_of(inner) if isinstance(inner, nn.Module) else module


def is_compiled(module: nn.Module) -> bool:
    """Whether a network, or a part of it, is compiled."""
    parts = [*module.modules()]
    return any("_orig_mod" in part._modules or part._compiled_call_impl is not None for part in parts)


def as_written(module: nn.Module) -> AbstractContextManager[object]:
    """Run the compiled parts of a network as they were written."""
    return torch.compiler.set_stance("force_eager") if is_compiled(module) else nullcontext()


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

    def __call__(self, images: Tensor, *, channels_last: bool = False) -> Any:
        """Return whatever the network returns for images on the CPU, perhaps in the engine's layout."""
        mean = torch.tensor(self.mean)[:, None, None]
        std = torch.tensor(self.std)[:, None, None]
        shown = self.form.shown((images - mean) / std)
        if channels_last and self.form == IMAGES:
            shown = shown.contiguous(memory_format=torch.channels_last)
        return self.run(shown)

    def run(self, shown: Tensor) -> Any:
        """Return whatever the network returns for what it takes."""
        with own_types(self.device.type), as_written(self.module):
            return self.module(shown.to(device=self.device, dtype=self.dtype))

    def numbers(self, images: Tensor, *, channels_last: bool = False) -> Tensor:
        """Return every number that the network returns, in a row."""
        leaves = tree_leaves(self(images, channels_last=channels_last))
        held = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
        real = [torch.view_as_real(leaf.resolve_conj()) if leaf.is_complex() else leaf for leaf in held]
        numbers = [leaf.flatten().float() for leaf in real]
        return torch.cat(numbers) if numbers else images.new_zeros(0)
