"""Circuits: how strongly units of earlier layers feed a unit, and where, as small signed kernels.

Cammarata et al. 2020, "Thread: Circuits"; Voss et al. 2021, "Visualizing Weights". Where the path from a
layer to the unit is linear (convolutions, BatchNorm, average pools, upsampling), the kernels are the expanded
weights: the weights of the one convolution that the path amounts to. Where it is not, they are attributions:
activation times gradient, around the place where the unit answers most. Which of the two is measured.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from featvis.attribution.colours import balance
from featvis.attribution.result import png
from featvis.errors import RecipeError, TargetError, count_of
from featvis.models.borrow.loan import with_gradients
from featvis.models.borrow.tap import Tap
from featvis.models.handle import ModelHandle
from featvis.models.layers.measure import LayerInfo
from featvis.models.photograph import Photograph, Photographs, read_photograph, settle
from featvis.objectives.reference import fitted
from featvis.objectives.unit import check_position
from featvis.photographs.canvases import Canvases
from featvis.results.sheets import make_sheet
from featvis.run.render import render
from featvis.spec.same import SameByValue
from featvis.spec.target import Target, expand, parse_vectors

_KINDS = ("map", "map_last", "vector")
_NEAR = 1e-3
"""How far from a sum of answers the answer to a sum may be, over the largest of them, in a linear path."""
_CELL = 56


@dataclass(frozen=True, repr=False, eq=False)
class CircuitPath(SameByValue):
    """How a layer feeds the unit: one kernel for each of its units."""

    layer: str
    read: str
    """The layer whose activations the kernels are on: ``layer``, or the activation that follows it."""
    is_linear: bool
    """Whether the kernels are expanded weights; else they are attributions."""
    shown: str
    """In words what attributions are averaged over; empty for weights."""
    kernels: NDArray[np.float32]
    """``(units, rows, columns)``."""

    @property
    def way(self) -> str:
        """What the kernels are, in words."""
        if self.is_linear:
            return "expanded weights: the path is linear"
        return f"attribution (activation times gradient) over {self.shown}: the path is not linear"

    @property
    def scale(self) -> float:
        """The value that is shown at full strength: the largest of all kernels."""
        return float(np.abs(self.kernels).max()) or 1.0

    def strongest(self, count: int = 6) -> list[tuple[int, float]]:
        """Return the units that feed most, with their kernel's sum; the largest sum of magnitudes first."""
        sizes = np.abs(self.kernels).sum((1, 2), dtype=np.float64)
        order = np.argsort(-sizes, kind="stable")[:count]
        return [
            (int(unit), float(self.kernels[unit].sum(dtype=np.float64))) for unit in order if sizes[unit] > 0
        ]

    def image(self, unit: int, side: int = _CELL) -> Image.Image:
        """Return a unit's kernel: blue below and red above zero, at the scale of all of them."""
        shares = (self.kernels[unit] / self.scale).clip(-1, 1)
        levels = balance()[(shares * 255).round().astype(int) + 255]
        made = Image.fromarray(np.ascontiguousarray(levels))
        times = max(1, side // max(made.size))
        return made.resize((made.width * times, made.height * times), Image.Resampling.NEAREST)


@dataclass(frozen=True, repr=False, eq=False)
class Circuit(SameByValue):
    """What feeds a unit, layer by layer; from :func:`featvis.circuit`.

    >>> kernels = np.zeros((2, 1, 3), np.float32)
    >>> kernels[1] = 0.5
    >>> path = CircuitPath("conv1", "relu1", True, "", kernels)
    >>> Circuit("mine", "conv2", 7, paths=(path,)), path.scale
    (Circuit('conv2:7' from conv1 (weights: 1 +1.5)), 0.5)
    """

    model: str
    layer: str
    unit: int
    label: str = ""
    paths: tuple[CircuitPath, ...] = field(default=())
    """Of each layer that was asked for or found, the nearest first."""

    @property
    def target(self) -> str:
        """The unit's address."""
        return f"{self.layer}:{self.unit}"

    def __repr__(self) -> str:
        told = []
        for path in self.paths:
            units = ", ".join(f"{unit} {total:+.3g}" for unit, total in path.strongest(3))
            told.append(f"{path.layer} ({'weights' if path.is_linear else 'attribution'}: {units})")
        return f"Circuit({self.target!r} from {'; '.join(told) or 'nothing'})"

    def _repr_png_(self) -> bytes:
        return png(self.sheet())

    def sheet(self, count: int = 6) -> Image.Image:
        """Return the kernels of each layer's strongest units, a row for each layer."""
        tiles, captions = [], []
        for path in self.paths:
            strongest = path.strongest(count)
            for unit, total in strongest:
                tiles.append(path.image(unit))
                captions.append((f"{path.layer}:{unit}", f"{total:+.3g}"))
            for _ in range(count - len(strongest)):
                tiles.append(Image.new("RGB", (1, 1), "white"))
                captions.append(("", ""))
        return make_sheet(tiles, captions, count, title=f"{self.model}  {self.target}")

    def to_json(self, count: int = 6) -> dict[str, Any]:
        """Return the strongest units of each layer with their kernels, ready for JSON."""
        return {
            **{name: getattr(self, name) for name in ("model", "target", "label")},
            "paths": [
                {
                    **{name: getattr(path, name) for name in ("layer", "read", "way", "scale")},
                    "units": [
                        {
                            "unit": unit,
                            "sum": float(f"{total:.6g}"),
                            "kernel": [
                                [float(f"{one:.6g}") for one in row] for row in path.kernels[unit].tolist()
                            ],
                        }
                        for unit, total in path.strongest(count)
                    ],
                }
                for path in self.paths
            ],
        }


@with_gradients
def circuit(
    model: ModelHandle,
    target: str | Target,
    sources: Sequence[str] | str = (),
    *,
    depth: int = 2,
    photographs: Photographs | None = None,
    picture: Photograph | None = None,
    size: int | tuple[int, int] | None = None,
) -> Circuit:
    """Find what feeds a unit: for each unit of earlier layers a kernel, of weights or of attribution.

    Whether a path is linear is measured: an answer to a sum is then the sum of the answers. Its kernels are
    the expanded weights, at the middle of the map. Else they are activation times gradient around the place
    where the unit answers most, averaged over photographs.

    Args:
        model: from :func:`featvis.load_model`.
        target: the unit of a map or of a vector, ``features.7:12`` or ``classifier:tabby``.
        sources: the layers whose units may feed it. By default the ``depth`` layers with weights before it,
            of its own depth of names where there are any; of each what its activation function gives.
        depth: how many layers back.
        photographs: for paths that are not linear: a folder, or a list of files, PIL images, or tensors or
            arrays ``(C, H, W)`` in [0, 1]; by default the unit's own picture.
        picture: that picture, in any of these forms; without it one is rendered by the recipe ``fast``.
        size: the canvas, by default the network's own.

    Raises:
        CanvasError: a photograph with other channels, or values beyond [0, 1].
        TargetError: no such layer or unit, several units, or a layer that gives neither map nor vector, or
            does not lead to the unit.

    >>> import featvis as fv, torch
    >>> layers = torch.nn.Conv2d(3, 4, 3), torch.nn.AvgPool2d(2), torch.nn.Conv2d(4, 2, 3)
    >>> network = torch.nn.Sequential(*layers)
    >>> model = fv.load_model(network, mean=(0.5,) * 3, std=(0.5,) * 3, input_size=16)
    >>> found = fv.circuit(model, "2:1")
    >>> [(path.layer, path.is_linear, path.kernels.shape) for path in found.paths]
    [('0', True, (4, 6, 6))]
    """
    if isinstance(depth, bool) or depth < 1:
        raise RecipeError(f"depth counts layers back, at least 1, got {depth}")
    canvas = model.input_size if size is None else (size, size) if isinstance(size, int) else size
    info, unit = find_unit(model, target, canvas)
    named = [sources] if isinstance(sources, str) else list(sources)
    wanted = [(name, name) for name in named] or _before(model, info, canvas, depth)
    photographs = None if photographs is None else settle(photographs)
    images: list[Tensor] | None = None
    shown = "its own picture"
    paths = []
    for layer, read in wanted:
        path = _Path(model, model.at(canvas).layer(read), info, unit, canvas)
        with path.opened():
            if not path.leads():
                if named:
                    raise TargetError(f"{layer!r} does not lead to {info.name}:{unit}")
                continue
            linear = path.is_linear()
            if linear:
                kernels = path.weights()
            else:
                if images is None and photographs is None:
                    images = [_picture_of(model, Target(info.name, unit), canvas, picture)]
                if photographs is not None:
                    canvases = Canvases(model, photographs, size=canvas)
                    kernels = path.attribution(image for batch in canvases for image in batch)
                    shown = count_of(canvases.shown, "photograph")
                else:
                    kernels = path.attribution(iter(images or ()))
        paths.append(CircuitPath(layer, read, linear, "" if linear else shown, kernels.numpy()))
    label = info.labels[unit] if info.labels else ""
    return Circuit(model.name, info.name, unit, label, tuple(paths))


def _picture_of(
    model: ModelHandle, target: Target, canvas: tuple[int, int], picture: Photograph | None
) -> Tensor:
    if picture is not None:
        return fitted(read_photograph(picture, model.channels, what="a picture")[None], canvas)[0]
    return render(model, target, recipe="fast", size=canvas, lanes=1, progress=False)[0].image


def find_unit(model: ModelHandle, target: str | Target, canvas: tuple[int, int]) -> tuple[LayerInfo, int]:
    """Return the layer and the number of the one unit that a target names, or raise a TargetError."""
    network = model.at(canvas)
    if isinstance(target, str):
        if parse_vectors(target) is not None:
            raise TargetError(f"{target!r} is a direction; a circuit is of a unit")
        request = network.request(target)
        info = network.layer(request.layer)
        targets = expand(request, info.units, info.labels)
        if len(targets) != 1:
            raise TargetError(
                f"{target!r} names {len(targets)} units; a circuit is of one, for instance {targets[0]}"
            )
        target = targets[0]
    info = network.layer(target.layer)
    _check_kind(info)
    if target.position is not None:
        raise TargetError(f"{target}: a circuit is of a unit at no certain place; leave out the position")
    return info, target.unit


def _check_kind(info: LayerInfo) -> None:
    if info.kind not in _KINDS:
        raise TargetError(
            f"circuits are of layers that give a map or a vector; {info.name!r} gives {info.shape}"
        )
    if info.calls != 1 or "#" in info.name:
        raise TargetError(
            f"{info.name!r} runs {info.calls} times in a pass; circuits are of layers that run once"
        )


def _before(
    model: ModelHandle, target: LayerInfo, canvas: tuple[int, int], depth: int
) -> list[tuple[str, str]]:
    """Return the nearest layers with weights before one, and of each the activation that follows it."""
    modules = dict(model.module.named_modules())
    layers = sorted(model.at(canvas).layers.values(), key=lambda layer: -layer.order)
    found = [
        layer
        for layer in layers
        if layer.order < target.order
        and layer.kind in _KINDS
        and layer.calls == 1
        and not layer.fault
        and not (layer.name + ".").startswith(target.name + ".")
        and not (target.name + ".").startswith(layer.name + ".")
        and any(weight.dim() > 1 for weight in modules[layer.name].parameters())
    ]
    alike = [layer for layer in found if layer.depth == target.depth]
    leaves = [layer for layer in found if not any(True for _ in modules[layer.name].children())]
    chosen = (alike if alike else leaves)[:depth]
    readers = _readers(model, canvas)
    return [
        (layer.name, _activation_of(layer.name, readers, modules, target, model.at(canvas).layers))
        for layer in chosen
    ]


def _readers(model: ModelHandle, canvas: tuple[int, int]) -> dict[str, str]:
    """Return the norms and activation functions that read a layer's very output, by that layer."""
    made: dict[int, tuple[str, Any]] = {}
    readers: dict[str, str] = {}

    def after(name: str) -> Any:
        return lambda _m, _i, output: made.update({id(output): (name, output)})

    def before(name: str) -> Any:
        def hook(_: nn.Module, inputs: Any) -> None:
            producer = made.get(id(inputs[0])) if inputs else None
            if producer is not None:
                readers.setdefault(producer[0], name)

        return hook

    with ExitStack() as hooks:
        for name, module in model.module.named_modules():
            if _follows(module):
                hooks.callback(module.register_forward_pre_hook(before(name)).remove)
            if name:
                hooks.callback(module.register_forward_hook(after(name)).remove)
        model.run_once(torch.full((1, model.channels, *canvas), 0.5))
    return readers


def _follows(module: nn.Module) -> bool:
    """Whether a module gives of each unit a function of it alone: a norm, an activation, a dropout."""
    kinds = (nn.modules.batchnorm._BatchNorm, nn.Identity, nn.modules.dropout._DropoutNd)
    own = type(module).__module__ == "torch.nn.modules.activation" and not isinstance(
        module, nn.MultiheadAttention
    )
    return isinstance(module, kinds) or (
        own and not isinstance(module, nn.Softmax | nn.LogSoftmax | nn.Softmax2d)
    )


def _activation_of(
    layer: str,
    readers: dict[str, str],
    modules: dict[str, nn.Module],
    target: LayerInfo,
    layers: dict[str, LayerInfo],
) -> str:
    name, last = layer, layer
    while (name := readers.get(name, "")) in layers and layers[name].order < target.order:
        inside = (name + ".").startswith(target.name + ".")
        if inside or layers[name].calls != 1 or layers[name].shape != layers[layer].shape:
            break
        last = name
    return last


class _Path:
    """The part of a network from one layer to a unit of a later one."""

    def __init__(
        self, model: ModelHandle, source: LayerInfo, target: LayerInfo, unit: int, canvas: tuple[int, int]
    ) -> None:
        _check_kind(source)
        if source.order > target.order or source.name == target.name:
            raise TargetError(f"{source.name!r} runs after {target.name!r}, so its units do not feed it")
        self._model, self._source, self._target = model, source, target
        self._unit, self._canvas = unit, canvas
        self._tap: Tap | None = None
        self._place = check_position(target, (-1, -1)) if target.kind != "vector" else None

    @contextmanager
    def opened(self) -> Iterator[None]:
        """Borrow the network."""
        layers = [self._source.name, self._target.name]
        with self._model.tap(layers, size=self._canvas, cheaper=False) as self._tap:
            grey = torch.full((1, self._model.channels, *self._canvas), 0.5, device=self._model.device)
            self._grey = grey
            chance = torch.Generator().manual_seed(0)
            noise = torch.rand(grey.shape, generator=chance).to(grey.device)
            with torch.no_grad():
                usual = self._read(noise)[self._source.name]
            spread = float(usual.std()) if usual.numel() > 1 else 0.0
            scale = 3 * spread if math.isfinite(spread) and spread > 0 else 1.0
            self._random = [
                (scale * torch.randn(usual.shape, generator=chance)).to(usual.device, usual.dtype)
                for _ in range(3)
            ]
            yield

    def leads(self) -> bool:
        """Whether anything that the layer gives changes the unit."""
        with torch.no_grad():
            zero = self._answer(torch.zeros_like(self._random[0]))
            return any(not torch.equal(self._answer(one), zero) for one in self._random)

    def is_linear(self) -> bool:
        """Whether the unit's answer to a sum is the sum of its answers, at every position."""
        one, other, _ = self._random
        with torch.no_grad():
            zero = self._answer(torch.zeros_like(one))
            apart = self._answer(one) + self._answer(other) - self._answer(one + other) - zero
            most = max(float((self._answer(given) - zero).abs().max()) for given in (one, other))
        return float(apart.abs().max()) <= _NEAR * most

    def weights(self) -> Tensor:
        """Return the kernels ``(units, rows, columns)`` of a linear path."""
        slope = self._slopes()[0]
        return _cut(slope, _box([slope]))

    def attribution(self, images: Iterator[Tensor]) -> Tensor:
        """Return activation times gradient, around where each image's answer is largest, averaged."""
        box = _box(self._slopes())
        total, count = None, 0
        for image in images:
            read = self._read(image[None].to(self._model.device))
            answers = self._of_unit(read[self._target.name])[0]
            place, at = None, box
            if self._place is not None:
                place, at = self._best_place(answers.detach(), box)
            answer = answers if place is None else answers[place]
            (slope,) = torch.autograd.grad(answer, read[self._source.name])
            parts = self._units_first(read[self._source.name].detach() * slope)
            cut = _cut(parts, at)
            total, count = cut if total is None else total + cut, count + 1
        assert total is not None
        return (total / count).float()

    def _best_place(self, answers: Tensor, box: _Box) -> tuple[tuple[int, int], _Box]:
        """Return where the unit answers most among places whose whole window is seen, and that window."""
        assert self._place is not None
        strides = self._strides()
        rows, columns = (
            [
                place
                for place in range(length)
                if low + (place - middle) * stride >= 0 and high + (place - middle) * stride <= most
            ]
            for length, middle, stride, (low, high), most in zip(
                answers.shape, self._place, strides, box, self._grid(), strict=True
            )
        )
        if not rows or not columns:
            rows, columns = list(range(answers.shape[0])), list(range(answers.shape[1]))
        inner = answers[rows][:, columns]
        best = divmod(int(inner.argmax()), inner.shape[1])
        place = (rows[best[0]], columns[best[1]])
        moved = [
            (low + (at - middle) * stride, high + (at - middle) * stride)
            for at, middle, stride, (low, high) in zip(place, self._place, strides, box, strict=True)
        ]
        return place, (moved[0], moved[1])

    def _strides(self) -> tuple[int, int]:
        """Return how many of the layer's positions lie between two of the unit's."""
        fine, coarse = self._source.stride, self._target.stride
        if fine is not None and coarse is not None:
            return max(1, coarse[0] // fine[0]), max(1, coarse[1] // fine[1])
        own, theirs = self._grid(), self._sides(self._target)
        return max(1, round(own[0] / theirs[0])), max(1, round(own[1] / theirs[1]))

    def _grid(self) -> tuple[int, int]:
        return (1, 1) if self._source.kind == "vector" else self._sides(self._source)

    @staticmethod
    def _sides(info: LayerInfo) -> tuple[int, int]:
        rows, columns = (side for axis, side in enumerate(info.shape) if axis not in (0, info.axis))
        return rows, columns

    def _slopes(self) -> list[Tensor]:
        """Return the unit's slopes by the layer ``(units, rows, columns)`` at the middle, at random."""
        slopes = []
        for given in self._random:
            watched = given.clone().requires_grad_()
            answers = self._answer(watched)[0]
            answer = answers if self._place is None else answers[self._place]
            (slope,) = torch.autograd.grad(answer, watched)
            slopes.append(self._units_first(slope))
        return slopes

    def _units_first(self, given: Tensor) -> Tensor:
        moved = given.movedim(self._source.axis, 1)[0].float().cpu()
        return moved[:, None, None] if moved.dim() == 1 else moved

    def _of_unit(self, given: Tensor) -> Tensor:
        chosen: Tensor = given.movedim(self._target.axis, 1)[:, self._unit].float()
        return chosen

    def _read(self, images: Tensor) -> dict[str, Tensor]:
        assert self._tap is not None
        return self._tap(images.requires_grad_() if torch.is_grad_enabled() else images)

    def _answer(self, given: Tensor) -> Tensor:
        """Return the unit's answers where the layer gives this, whatever it is shown."""

        def instead(_: nn.Module, __: Any, output: Any) -> Any:
            return type(output)((given, *output[1:])) if isinstance(output, tuple | list) else given

        module = self._model.module.get_submodule(self._source.name)
        hook = module.register_forward_hook(instead)
        try:
            return self._of_unit(self._read(self._grey.detach())[self._target.name])
        finally:
            hook.remove()


_Box = tuple[tuple[int, int], tuple[int, int]]
"""The first row and the one after the last, and so of columns."""


def _box(slopes: Sequence[Tensor]) -> _Box:
    """Return the rows and columns in which any unit has a slope."""
    felt = torch.stack([slope.ne(0).any(0) for slope in slopes]).any(0)
    rows, columns = felt.any(1).nonzero()[:, 0], felt.any(0).nonzero()[:, 0]
    if not len(rows):
        return (0, felt.shape[0]), (0, felt.shape[1])
    return (int(rows[0]), int(rows[-1]) + 1), (int(columns[0]), int(columns[-1]) + 1)


def _cut(given: Tensor, box: _Box) -> Tensor:
    """Return a part of a map, with zeros where it lies outside."""
    (top, bottom), (left, right) = box
    pads = (max(0, -left), max(0, right - given.shape[2]), max(0, -top), max(0, bottom - given.shape[1]))
    padded = functional.pad(given, pads)
    return padded[:, top + pads[2] : bottom + pads[2], left + pads[0] : right + pads[0]]
