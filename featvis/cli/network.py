"""The options by which a command names a network, and how it is loaded from them."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from featvis.cli import options
from featvis.cli.checks import canvas_of, check_at_least, numbers_of
from featvis.cli.output import note, note_code
from featvis.errors import ModelError, RecipeError, WeightsError, unknown
from featvis.models.sources.register import forms, split_name, split_weights, would_download

if TYPE_CHECKING:
    from featvis.models.handle import ModelHandle

_EMBEDDED = re.compile(r"[\w.-]+")
_FILES = (".pt", ".pth", ".ckpt", ".bin", ".safetensors", ".tar", ".pkl", ".py")
"""How files end that people give as a network: weights, and code."""


@dataclass
class Network:
    """The options of a network. What can be seen to be wrong without loading it raises ModelError."""

    model: options.Model = "efficientnet_lite0"
    weights: options.Weights = None
    mean: options.Mean = None
    std: options.Std = None
    unit_axis: options.UnitAxis = None
    device: options.Device = "auto"
    input_size: options.InputSize = None
    labels: options.Labels = None
    channel_order: options.ChannelOrder = None
    range: options.Range = None
    sample_rate: options.SampleRate = None
    frames: options.Frames = None

    def __post_init__(self) -> None:
        if self.model is not None:
            prefix, name = split_name(self.model)
            if not prefix and (Path(name).suffix.lower() in _FILES or Path(name).is_file()):
                raise ModelError(_of_a_file(name))
            if not name or not (prefix or _EMBEDDED.fullmatch(name)):
                raise ModelError(f"--model {self.model!r} is no network's name; write {forms()}")
        self._mean = None if self.mean is None else numbers_of("--mean", self.mean, float)
        self._std = None if self.std is None else numbers_of("--std", self.std, float)
        self._labels = None
        if self.labels is not None:
            from featvis.models.labels import read_labels

            self._labels = read_labels(self.labels)
        if self.channel_order not in (None, "rgb", "bgr"):
            raise ModelError(unknown("channel order", str(self.channel_order), ("rgb", "bgr"), "rgb or bgr"))
        if self.range not in (None, 1, 255):
            raise ModelError(f"--range is 1 or 255 (images in 0 to 1, or in 0 to 255), got {self.range:g}")
        if self.sample_rate is not None and self.frames is not None:
            raise ModelError("a network takes signals or videos; give --sample-rate or --frames")
        check_at_least(1, sample_rate=self.sample_rate, frames=self.frames)
        canvas = canvas_of(self.input_size)
        # One side is also the length of a signal.
        self._canvas = canvas if canvas is None or "x" in str(self.input_size) else canvas[0]
        if self.weights not in (None, "none") and not split_weights(str(self.weights))[0].exists():
            raise WeightsError(f"no weights file {str(self.weights)!r}")

    @property
    def is_named(self) -> bool:
        """Whether any option but the device was given."""
        told = (self.model, self.weights, self.mean, self.std, self.unit_axis, self.input_size, self.labels)
        more = (self.channel_order, self.range, self.sample_rate, self.frames)
        return any(value is not None for value in (*told, *more))

    def check(self, addresses: Sequence[str] = (), layers: Sequence[str | None] = ()) -> None:
        """Raise the error that the network would, without loading it, if it is known what its layers are.

        Args:
            addresses: of units.
            layers: their names; None is none.
        """
        told = (self.labels, self.unit_axis)
        if self.model is None or self.weights not in (None, "none") or told != (None, None):
            return
        from featvis.models.known import find_known

        known = find_known(self.model)
        if known is not None:
            for address in addresses:
                known.check(address)
            for layer in layers:
                if layer is not None:
                    known.check_layer(layer)

    def load(self, name: str | None = None, *, download: bool = True) -> ModelHandle:
        """Load the network, or one of another name with the same options; print its notes.

        If not ``download``, weights that are not on this machine are random ones.
        """
        source = str(name or self.model)
        note_code(source)
        weights = self.weights
        if weights is None and not download and would_download(source):
            note(f"the weights of {source} are not on this machine; this is reckoned with random ones")
            weights = "none"
        from featvis.models.load import load_model

        handle = load_model(
            source,
            weights=weights,
            mean=self._mean,
            std=self._std,
            input_size=self._canvas,
            labels=self._labels,
            unit_axis=self.unit_axis,
            device=self.device,
            channel_order=self.channel_order,
            range=self.range,
            signal=None if self.sample_rate is None else True,
            sample_rate=self.sample_rate,
            frames=self.frames,
        )
        for line in handle.notes:
            if not line.startswith("file: ran the code"):  # as was said before it ran
                note(line)
        return handle


@dataclass
class NetworkOfFile(Network):
    """The network of one picture."""

    model: options.ModelOfFile = None


@dataclass
class NetworkOfTargets(Network):
    """The network of units, or of a gallery."""

    model: options.ModelOfTargets = None

    def usual(self) -> NetworkOfTargets:
        """Return it for units, whose network need not be named."""
        return replace(self, model=self.model or os.environ.get("FEATVIS_MODEL") or "efficientnet_lite0")


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


def _of_a_file(name: str) -> str:
    """Say how a network is named whose file was given."""
    if name.endswith(".py"):
        return (
            f"--model {name!r} is a Python file; name the function in it, too: --model file:{name}:FUNCTION"
        )
    return (
        f"--model {name!r} is a file of weights, no network: give --weights {name} and the network, "
        "for instance torchvision:resnet18, or file:net.py:make for one that make() in net.py returns"
    )


def judges_of(
    judges: Sequence[str] | None, weights: Sequence[str] | None, device: str
) -> list[Network] | None:
    """Return the judges as they were named, None where none was; ``weights`` are theirs, in their order."""
    names, files = list(judges or ()), list(weights or ())
    if files and len(files) != len(names):
        raise RecipeError(
            "--judge-weights is given once for each --judge, in their order; "
            f"got {len(files)} for {len(names)}"
        )
    if judges is None:
        return None
    return [
        Network(name, weights=files[place] if files else None, device=device)
        for place, name in enumerate(names)
    ]
