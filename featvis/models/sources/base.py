"""What a source of networks is, and what it returns."""

from __future__ import annotations

from abc import ABC, abstractmethod
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


class ModelSource(ABC):
    """A place that networks come from; entered by :func:`featvis.models.sources.register.source`."""

    def names(self) -> list[str]:
        """Return the names that can be loaded; none where they cannot be listed."""
        return []

    @abstractmethod
    def load(self, name: str, pretrained: bool) -> Loaded:
        """Build a network.

        Args:
            name: what follows the prefix and its colon.
            pretrained: whether with its weights; if not, they are random, drawn from torch's generator.

        Raises:
            ModelError: no such network, or it cannot be built.
            WeightsError: its weights cannot be read.
        """
