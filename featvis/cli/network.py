"""The options by which a command names a network, and how it is loaded from them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from featvis.cli import options
from featvis.cli.checks import numbers_of
from featvis.cli.output import note, note_code
from featvis.errors import ModelError
from featvis.models.sources.register import forms, split_name

if TYPE_CHECKING:
    from featvis.models.handle import ModelHandle

_EMBEDDED = re.compile(r"[\w.-]+")


@dataclass
class Network:
    """The options of a network. What can be seen to be wrong without loading it raises ModelError."""

    model: options.Model = "efficientnet_lite0"
    weights: options.Weights = None
    mean: options.Mean = None
    std: options.Std = None
    unit_axis: options.UnitAxis = None
    device: options.Device = "auto"

    def __post_init__(self) -> None:
        if self.model is not None:
            prefix, name = split_name(self.model)
            if not name or not (prefix or _EMBEDDED.fullmatch(name)):
                raise ModelError(f"--model {self.model!r} is no network's name; write {forms()}")
        self._mean = None if self.mean is None else numbers_of("--mean", self.mean, float)
        self._std = None if self.std is None else numbers_of("--std", self.std, float)

    @property
    def is_named(self) -> bool:
        """Whether any option but the device was given."""
        return (self.model, self.weights, self.mean, self.std, self.unit_axis) != (None,) * 5

    def load(self, name: str | None = None) -> ModelHandle:
        """Load the network, or one of another name with the same options; print its notes."""
        source = str(name or self.model)
        note_code(source)
        from featvis.models.load import load_model

        handle = load_model(
            source,
            weights=self.weights,
            mean=self._mean,
            std=self._std,
            unit_axis=self.unit_axis,
            device=self.device,
        )
        for line in handle.notes:
            note(line)
        return handle


@dataclass
class NetworkOfFile(Network):
    """The network of one picture."""

    model: options.ModelOfFile = None


@dataclass
class NetworkOfFolder(Network):
    """The network of a folder's pictures."""

    model: options.ModelOfFolder = None


@dataclass
class UntrainedNetwork(Network):
    """A network whose weights do not matter, named as the command's argument."""

    model: options.ModelArgument = "efficientnet_lite0"
    weights: options.WeightsOrNone = "none"
    device: options.Device = "cpu"
