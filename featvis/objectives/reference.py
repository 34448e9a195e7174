"""Objectives that compare with a photograph: its activations are constants."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from featvis.errors import TargetError
from featvis.models.layers.measure import LayerInfo
from featvis.models.layers.network import NetworkAt
from featvis.models.photograph import Photograph, read_photograph, with_channels
from featvis.objectives.base import Objective, copy_with
from featvis.objectives.shown import Activations, under_reference


class Compared(Objective):
    """An objective of what layers give for the image and for a photograph.

    The photograph's activations are computed once, when the objective is bound. Where a run moves its images
    by transforms, they are computed at each step, of the photograph under the same draw, without gradient.
    """

    moves = True
    """Whether the photograph goes through the transforms beside the image."""

    def __init__(self, layers: Sequence[str], photograph: Tensor) -> None:
        self.layers = tuple(layers)
        self.photograph = photograph
        self._read: Mapping[str, Tensor] = {}
        self._infos: Mapping[str, LayerInfo] = {}

    @abstractmethod
    def compare(self, own: Tensor, reference: Tensor, layer: LayerInfo) -> Tensor:
        """Return one layer's score ``(B,)``; its activations are ``(B, …)`` and ``(B or 1, …)``."""

    def bind(self, network: NetworkAt) -> Objective:  # noqa: D102
        infos = {name: network.layer(name) for name in self.layers}
        what = f"{type(self).__name__.lower()}: a photograph"
        photograph = with_channels(self.photograph, network.channels, what)
        read = network.read(self.layers, fitted(photograph, network.size))
        seen = copy_with(self, photograph=photograph)
        return copy_with(
            seen,
            _read={name: activation.float() for name, activation in read.items()},
            _infos=infos,
            references={seen._digest: photograph} if self.moves else {},
        )

    def score(self, activations: Activations, images: Tensor) -> Tensor:  # noqa: D102
        self._bound(self._read or None)
        total = images.new_zeros(images.shape[0])
        for name in self.layers:
            reference = activations.get(under_reference(self._digest, name), self._read[name])
            total = total + self.compare(activations[name].float(), reference.float(), self._infos[name])
        return total

    def describe(self) -> str:  # noqa: D102
        return f"{type(self).__name__.lower()}({', '.join(self.layers)}, {self._digest})"

    @property
    def _digest(self) -> str:
        shape = "x".join(map(str, self.photograph.shape[1:]))
        values = self.photograph.cpu().contiguous().numpy().tobytes()
        return hashlib.sha256(shape.encode() + values).hexdigest()[:12]


class References:
    """The photographs that a run's objective compares with, on the canvas, once for each lane."""

    def __init__(
        self, bound: Objective, canvas: tuple[int, int], lanes: int, device: torch.device, *, moved: bool
    ) -> None:
        """Lay them out; none where no transform moves the images, for what was read once is right then."""
        references = bound.references if moved else {}
        self._shown = {
            digest: fitted(photograph, canvas).to(device).expand(lanes, -1, -1, -1)
            for digest, photograph in references.items()
        }

    def read(
        self, activations: Callable[[Tensor], Activations], chain: Callable[[Tensor], Tensor]
    ) -> dict[str, Tensor]:
        """Return what layers give for the photographs under the draw of a step, without gradients."""
        read = {}
        with torch.no_grad():
            for digest, shown in self._shown.items():
                for layer, activation in activations(chain(shown)).items():
                    read[under_reference(digest, layer)] = activation
        return read


def check_photograph(
    what: str, photograph: Photograph, layers: str | Sequence[str]
) -> tuple[Tensor, tuple[str, ...]]:
    """Return a photograph as ``(1, C, H, W)`` in [0, 1] and the layers as names."""
    names = (layers,) if isinstance(layers, str) or not isinstance(layers, Iterable) else tuple(layers)
    if not names:
        raise TargetError(f"{what}: name at least one layer")
    if not all(isinstance(name, str) for name in names):
        came = type(names[0]).__name__
        raise TargetError(f"{what}: the layers' names come first: fv.{what}(layers, photograph), got {came}")
    return read_photograph(photograph, what=f"{what}: a photograph")[None].clone(), names


def fitted(photograph: Tensor, size: tuple[int, int]) -> Tensor:
    """Bring a photograph ``(1, C, H, W)`` to a canvas: bicubic, antialiased, its aspect not kept."""
    if tuple(photograph.shape[2:]) == tuple(size):
        return photograph
    return functional.interpolate(photograph, size, mode="bicubic", antialias=True).clamp(0, 1)
