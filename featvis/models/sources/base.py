"""What a source of networks is, and what it returns."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from featvis.errors import ModelError, WeightsError


@dataclass(frozen=True)
class Loaded:
    """A network and what its weights' own metadata say of it."""

    module: nn.Module
    mean: Sequence[float] | None = None
    std: Sequence[float] | None = None
    input_size: int | tuple[int, int] | None = None
    interpolation: str = "bilinear"
    labels: Any = ()
    """Names of the classes, as :func:`featvis.load_model` takes them."""
    notes: tuple[str, ...] = ()
    signal: bool = False
    """Whether it takes signals ``(B, C, T)`` or ``(B, T)``."""
    sample_rate: float | None = None
    """Of signals that can be heard, samples a second."""
    frames: int | None = None
    """How many frames it takes, if it takes videos or volumes."""
    forward: Callable[[nn.Module, Any], Any] | None = None
    """How it is run on images, where not as ``module(images)``."""
    channel_order: str = "rgb"
    range: float | None = None
    """Of the images that ``mean`` and ``std`` are stated for: 1, or 255."""
    unit_axis: int | dict[str, int] | None = None
    missing: tuple[str, ...] = ()
    """Names of parameters that have no weights."""
    classes: int | None = None
    """How many classes it was built for, if it can be built for another number."""
    handle: Any = field(default=None, compare=False)
    """The handle that a user's function returned."""


class ModelSource(ABC):
    """A place that networks come from; entered by :func:`featvis.models.sources.register.source`."""

    def names(self) -> list[str]:
        """Return the names that can be loaded; none where they cannot be listed."""
        return []

    @abstractmethod
    def load(self, name: str, pretrained: bool) -> Loaded:
        """Build the network of this name, without its prefix; with random weights if not ``pretrained``.

        Where these are random, nothing is downloaded.
        """

    def load_for(self, name: str, classes: int | None, channels: int | None) -> Loaded | None:
        """Build it with random weights for so many classes and channels, None: its own; None if it cannot."""
        return None

    def has_weights(self, name: str) -> bool:
        """Whether the pretrained weights are on this machine, so that loading them downloads nothing."""
        return False


def refusal(name: str, pretrained: bool, error: Exception) -> ModelError:
    """Say why a package did not build a network, or did not get its weights."""
    reason = " ".join(str(error).split())[:120]
    if not pretrained:
        return ModelError(f"{name} could not be built: {reason}")
    how = "downloaded" if isinstance(error, OSError) else "read"
    problem = f"the weights of {name} could not be {how} ({reason}); give"
    return WeightsError(
        f"{problem} weights=FILE, or weights='none' for random ones",
        typed=f"{problem} --weights FILE, or --weights none for random ones",
    )
