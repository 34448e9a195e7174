"""What a source of networks is, and what it returns."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import nn

from featvis.errors import ModelError, WeightsError


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
    """Whether it takes signals ``(B, C, T)`` or ``(B, T)``."""
    sample_rate: float | None = None
    """Of signals that can be heard, samples a second."""
    frames: int | None = None
    """How many frames it takes, if it takes videos or volumes."""


class ModelSource(ABC):
    """A place that networks come from; entered by :func:`featvis.models.sources.register.source`."""

    def names(self) -> list[str]:
        """Return the names that can be loaded; none where they cannot be listed."""
        return []

    @abstractmethod
    def load(self, name: str, pretrained: bool) -> Loaded:
        """Build the network of this name, without its prefix; with random weights if not ``pretrained``."""


def refusal(name: str, pretrained: bool, error: Exception) -> ModelError:
    """Say why a package did not build a network, or did not get its weights."""
    reason = " ".join(str(error).split())[:120]
    if not pretrained:
        return ModelError(f"{name} could not be built: {reason}")
    how = "downloaded" if isinstance(error, OSError) else "read"
    return WeightsError(
        f"the weights of {name} could not be {how} ({reason}); "
        "give --weights FILE, or --weights none for random ones"
    )
