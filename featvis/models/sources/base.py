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
        """Build the network that ``name`` names behind the prefix; with random weights if not ``pretrained``.

        A ModelError says that there is none or that it cannot be built, a WeightsError that weights are
        missing.
        """
