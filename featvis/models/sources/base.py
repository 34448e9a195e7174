"""What a source of networks returns."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn


@dataclass(frozen=True)
class Loaded:
    """A network and what its weights' own metadata say of it."""

    module: nn.Module
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    input_size: tuple[int, int] | None = None
    interpolation: str = "bilinear"
    labels: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    signal: bool = False
    """Whether it takes signals ``(B, C, T)``."""
