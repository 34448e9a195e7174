"""Which classes activations speak for: gradient times activation, of every class at once."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn.attention import SDPBackend, sdpa_kernel

from featvis.errors import NetworkError
from featvis.explore.sample import Sample, Shown, Stream
from featvis.models.handle import ModelHandle
from featvis.photographs.batches import Levels
from featvis.photographs.framing import Frame, Size
from featvis.spec.same import SameByValue

Groups = Sequence[NDArray[np.int64]]
"""Of each cell the numbers of some of a sample's positions."""


@dataclass(frozen=True, eq=False)
class Speech(SameByValue):
    """What groups of positions contribute to each class, the mean over a group's positions."""

    layer: str
    """The layer whose units are the classes."""
    labels: tuple[str, ...]
    values: NDArray[np.float32]
    """``(groups, classes)``."""
    linear: bool | None
    """Whether the gradient was the same for all photographs, so that the figures are exact; None where
    there were not two to compare."""


def class_layer(model: ModelHandle, layer: str) -> str | None:
    """Return the layer that gives the classes' logits, None where none does or it runs before ``layer``."""
    network = model.at(model.input_size)
    last = network.logits_of(network.output_layer) or network.output_layer
    info = network.layer(last)
    is_one = info.is_one_each and info.units > 1 and not network.gives_probabilities(last)
    return last if is_one and info.order > network.layer(layer).order else None


def find_speech(
    stream: Stream,
    sample: Sample,
    groups: Groups,
    say: Callable[[str], None] | None = None,
) -> Speech | None:
    """Say what the mean position of each group contributes to every class.

    A position contributes the gradient of the class's logit with respect to the layer's activation there,
    times the activation; that is exact where the rest of the network is linear, and the first-order part
    elsewhere. All classes come at once: the Jacobian times the activations of a group's positions in one
    photograph, by forward-mode differentiation of what follows the layer.

    Args:
        stream: the photographs as the network is shown them.
        sample: the positions, on these photographs.
        groups: of each cell some of its positions.
        say: is told how far it is.

    Returns:
        The contributions, or None if the network gives no classes after the layer, or cannot be
        differentiated so.
    """
    last = class_layer(stream.model, stream.layer)
    if last is None:
        return None
    info = stream.model.layer(last)
    asked: dict[tuple[int, int], dict[int, list[int]]] = {}
    for group, members in enumerate(groups):
        for member in members.tolist():
            key = (int(sample.owners[member]), int(sample.scales[member]))
            asked.setdefault(key, {}).setdefault(group, []).append(member)
    sums = np.zeros((len(groups), info.units))
    gauge, told = _Gauge(), 0
    with _Pushing(stream, last) as push:
        for shown, levels in stream.canvases(sorted({number for number, _ in asked})):
            for one, level in zip(shown, levels, strict=False):  # beyond the last are copies
                wanted = asked.get((one.number, one.scale))
                if wanted is None:
                    continue

                def masks(grid: Size, one: Shown = one, wanted: Wanted = wanted) -> Tensor:
                    return _masks(sample.middles, one.frame, wanted, grid)

                try:
                    spoken, probed = push(level, masks)
                except (RuntimeError, NotImplementedError, NetworkError) as error:
                    if say is not None:
                        say(f"{stream.model.name}: no classes, since it has no forward derivative ({error})")
                    return None
                gauge.look(probed, level.shape)
                for group, row in zip(wanted, spoken, strict=True):
                    sums[group] += row
            if say is not None and stream.photographs // 20 > told:
                told = stream.photographs // 20
                say(f"classes: {stream.photographs:,} photographs")
    counts = np.array([max(1, len(members)) for members in groups])
    labels = info.labels or tuple(f"class {number}" for number in range(info.units))
    return Speech(last, labels, (sums / counts[:, None]).astype(np.float32), gauge.linear)


Wanted = dict[int, list[int]]
"""Of one photograph the positions of each group, by the group's number."""


def _masks(middles: NDArray[np.float64], frame: Frame, wanted: Wanted, grid: Size) -> Tensor:
    """Return for each group which positions of a map are its own, ``(groups, rows · columns)``."""
    rows, columns = grid
    masks = torch.zeros(len(wanted), rows * columns)
    for mask, members in zip(masks, wanted.values(), strict=True):
        at = middles[members]
        down = np.floor((at[:, 0] - frame.top) / frame.height * rows).astype(np.int64)
        across = np.floor((at[:, 1] - frame.left) / frame.width * columns).astype(np.int64)
        mask[torch.from_numpy(down * columns + across)] = 1
    return masks


class _Pushing:
    """Pushes parts of a layer's activation through what follows it, to the classes.

    The photograph runs up to the layer once; from there on a batch runs, a copy for each part, each with the
    part as the tangent of its activation.
    """

    def __init__(self, stream: Stream, last: str) -> None:
        self._stream, self._last = stream, last
        self._open = ExitStack()
        self._masks: Callable[[Size], Tensor] | None = None
        self._canvas: Size = (0, 0)
        self._seen = 0

    def __enter__(self) -> _Pushing:
        model, layer = self._stream.model, self._stream.layer
        self._tap = self._open.enter_context(model.tap([layer, self._last], cheaper=False))
        # The fused kernels of attention have no forward derivative.
        self._open.enter_context(sdpa_kernel(SDPBackend.MATH))
        self._open.enter_context(torch.no_grad())
        self._open.enter_context(warnings.catch_warnings())
        warnings.filterwarnings("ignore", category=FutureWarning)  # torch's own, of its decompositions
        modules = dict(model.module.named_modules(remove_duplicate=False))
        base = layer if layer in modules else layer.rpartition("#")[0]
        self._calls = model.layer(layer).calls
        handle = modules[base].register_forward_hook(self._inject)
        self._open.callback(handle.remove)
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def __call__(
        self, level: Levels, masks: Callable[[Size], Tensor]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return what each part contributes to each class, and what a fixed probe does."""
        images = torch.from_numpy(level)[None].float().to(self._stream.model.device) / 255
        self._masks, self._canvas, self._seen = masks, (level.shape[1], level.shape[2]), 0
        with forward_ad.dual_level():
            logits = self._tap(images)[self._last]
            tangent = forward_ad.unpack_dual(logits.flatten(1)).tangent  # type: ignore[no-untyped-call]
            spoken = torch.zeros_like(logits.flatten(1)) if tangent is None else tangent
        found: NDArray[np.float64] = spoken.double().cpu().numpy()
        return found[:-1], found[-1]

    def _inject(self, _: nn.Module, __: Any, output: Any) -> Any:
        self._seen += 1
        if self._seen != self._calls or self._masks is None:
            return None
        held = output[0] if isinstance(output, tuple | list) else output
        rows, columns = self._stream.maps(held, self._canvas).shape[2:]
        masks = self._masks((rows, columns))
        parts = [held * self._as_laid(mask, (rows, columns)).to(held) for mask in masks]
        probe = torch.linspace(0, 7, held.numel()).cos().reshape(held.shape).to(held)
        tangents = torch.cat([*parts, probe])
        # In memory as the network lays it out: what follows may write in place.
        copies = torch.cat([held] * len(tangents))
        tangents = torch.empty_like(copies).copy_(tangents)
        dual = forward_ad.make_dual(copies, tangents)  # type: ignore[no-untyped-call]
        return type(output)((dual, *output[1:])) if isinstance(output, tuple | list) else dual

    def _as_laid(self, mask: Tensor, grid: Size) -> Tensor:
        """Return a mask of positions so that it multiplies the layer's activation as it is laid out."""
        info = self._stream.info
        if info.kind == "map":
            return mask.reshape(1, 1, *grid)
        if info.kind == "map_last":
            return mask.reshape(1, *grid, 1)
        return torch.cat([torch.zeros(info.prefix), mask])[None, :, None]


class _Gauge:
    """Compares what one perturbation of the layer does to the classes in several photographs."""

    def __init__(self) -> None:
        self._first: dict[tuple[int, ...], NDArray[np.float64]] = {}
        self._compared, self._same = 0, True

    def look(self, answer: NDArray[np.float64], shape: tuple[int, ...]) -> None:
        before = self._first.setdefault(shape, answer)
        if before is not answer:
            self._compared += 1
            near = 1e-5 * float(np.abs(before).max())
            self._same &= bool(np.allclose(before, answer, rtol=1e-3, atol=near))

    @property
    def linear(self) -> bool | None:
        return self._same if self._compared else None
