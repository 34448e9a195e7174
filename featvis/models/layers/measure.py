"""What the layers of a network give: kind of unit, number, shape; measured by running it, not assumed."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from featvis.errors import ModelError
from featvis.models.layers.answer import is_folded, modules_of, tensors_of
from featvis.models.layers.chance import chance_now
from featvis.models.layers.observe import Observation, Run, observe
from featvis.models.layers.returned import Output, output_of

_OFTEN = 16
"""How often a network that draws random numbers is run: few units may well drop the same of them twice."""
KINDS = {
    "map": "(B, C, H, W)",
    "map_last": "(B, H, W, C)",
    "tokens": "(B, T, C)",
    "signal": "(B, C, T)",
    "vector": "(B, C)",
    "video": "(B, C, T, H, W)",
    "video_last": "(B, T, H, W, C)",
}


WHICH_AXIS = "which axis holds the units"
"""What a kind ends with that its user can settle."""


@dataclass(frozen=True)
class LayerInfo:
    """One layer as a run through the network showed it."""

    name: str
    module: str
    """The class of the module, for instance ``Conv2d``."""
    kind: str
    """``map``, ``map_last``, ``tokens``, ``signal``, ``vector``, ``video``, ``video_last``, or ``unclear: …``
    with the reason."""
    axis: int
    """The axis of the units; 0 where it is unclear."""
    units: int
    shape: tuple[int, ...]
    """Of the output for a batch of one, at the canvas asked for."""
    order: int
    """When it finished, counted over the run: the smaller, the earlier."""
    calls: int = 1
    """How often it runs in one pass; the last call is the one that is read."""
    prefix: int = 0
    """How many leading tokens are no positions (class and register tokens)."""
    labels: tuple[str, ...] = ()
    receptive_field: tuple[int, int] | None = None
    """(height, width) in pixels; None where it was not measured or exceeds the canvas."""
    stride: tuple[int, int] | None = None
    """Pixels from one position to the next, (rows, columns)."""
    depth: int = 0
    grid: tuple[int, int] | None = None
    """Of tokens, the rows and columns of the patches that they stand for, where that is known. Of a signal's
    layers, whose canvas is one row, one row of so many steps in time."""
    fault: str = ""
    """Why its units cannot be climbed, though their axis is clear; empty if they can."""
    mixes: bool = False
    """Whether what it gives for an image depends on the others of the batch."""
    passes: bool = False
    """Whether it hands on what it is given, as an Identity does, or a Dropout that is at rest."""
    range: float | None = None
    """How far its units' values lie apart for noise and for grey, root mean square; where each gives one."""

    @property
    def is_one_each(self) -> bool:
        """Whether each unit gives one number: ``(B, units)``, or a map of one position."""
        one_place = self.kind in ("map", "map_last") and math.prod(self.shape) == self.units
        return len(self.shape) == 2 or one_place

    @property
    def is_clear(self) -> bool:
        """Whether the axis of the units is known."""
        return not self.kind.startswith("unclear")


@dataclass(frozen=True)
class Measured:
    """What a network's layers were found to be."""

    layers: dict[str, LayerInfo]
    others: dict[str, LayerInfo]
    """Further names: a module's second name, and ``NAME#1`` for an earlier call of one that runs twice."""
    output: Output
    unread: dict[str, str]
    """Why the modules that ran besides are no layers, in words."""


def measure(
    module: nn.Module, channels: int, size: tuple[int, int], *, axes: dict[str, int], run: Any
) -> Measured:
    """Run the network on a grey image and a random one and describe every layer that gives one tensor.

    Which axes are spatial is seen by running two canvases; where the network takes one size only, the modules
    that made the tensor tell (a Linear's units are on the last axis, a Conv2d's on axis 1). A run of the
    random image alone shows chance and mixing. ``axes`` are the units' axis by layer name, as the user
    settled it.
    """
    images = torch.full((2, channels, *size), 0.5)
    images[1] = torch.rand((channels, *size), generator=torch.Generator().manual_seed(0))
    observed = observe(module, run, images)
    if is_folded(observed.returned, 2):
        raise Folded
    first, second, step = observed.layers, Run(), 0
    least = _step(first, size)
    # Strides are powers of two almost always; other factors are tried until all divide the growth.
    tokens = max((one.shape[1] for one in first.values() if len(one.shape) == 3), default=0)
    for factor in (1, 3, 5, 7):
        larger = (size[0] + least * factor, size[1] + 2 * least * factor)
        if tokens * larger[0] * larger[1] > _MOST_TOKENS * size[0] * size[1]:
            break
        try:
            later = observe(module, run, torch.full((2, channels, *larger), 0.5))
        except Exception:
            break  # it takes this size only; the modules must tell
        exact = all(
            _divides(observation.shape, later.layers[name].shape, least * factor)
            for name, observation in first.items()
            if name in later.layers
        )
        if exact or not second.layers:
            second, step = later, least * factor
        if exact:
            break
    told = _prefix_tokens(module)
    patches = _Patches(first, second.layers)
    faults, mixing = _faults(module, run, images, observed)
    layers: dict[str, LayerInfo] = {}
    others: dict[str, LayerInfo] = {}
    backwards = sorted(first, key=lambda name: -first[name].order)

    def again(_: Any) -> Any:
        return run(images.requires_grad_())

    output = output_of(observed, backwards, again, module)
    if output.own and observed.own is not None:
        first[output.own] = observed.own
        if second.own is not None:
            second.layers[output.own] = second.own
    for found, grown, into in ((first, second.layers, layers), (observed.earlier, second.earlier, others)):
        for name, observation in found.items():
            kind, axis = _kind(name, observation, grown.get(name), _settled(name, observation, axes))
            if not axis and _is_plain_video(run, observation, grown.get(name)):
                kind, axis = "video", 1
            stride = None
            if kind in ("map", "map_last") and (larger_one := grown.get(name)) is not None:
                stride = _stride(observation.shape, larger_one.shape, step)
            prefix, grid = 0, None
            if kind == "tokens":
                prefix, grid = patches.of(observation, grown.get(name), told)
            if grid is None and size[0] == 1:
                grid = _steps_in_time(kind, observation, grown.get(name), prefix)
            into[name] = LayerInfo(
                name=name,
                module=observation.module,
                kind=kind,
                axis=axis,
                units=observation.shape[axis] if axis else 0,
                shape=(1, *observation.shape[1:]),
                order=observation.order,
                calls=observation.calls,
                prefix=prefix,
                stride=stride,
                depth=name.count("."),
                grid=grid,
                fault=faults.get(name.partition("#")[0] if name not in first else name, ""),
                mixes=name in mixing,
                range=_range(observed.single.get(name)),
                passes=observation.passes,
            )
    canonical = {id(inner): name for name, inner in module.named_modules()}
    for name, inner in module.named_modules(remove_duplicate=False):
        own = layers.get(canonical[id(inner)])
        if own is not None and name not in layers:
            others[name] = replace(own, name=name, depth=name.count("."))
    unread = {
        name: observed.unread[canonical[id(inner)]]
        for name, inner in module.named_modules(remove_duplicate=False)
        if canonical[id(inner)] in observed.unread
    }
    return Measured(layers, others, output, unread)


class Folded(Exception):
    """The network took parts of images for images of their own."""


def _faults(
    module: nn.Module, run: Any, images: Tensor, observed: Run
) -> tuple[dict[str, str], frozenset[str]]:
    """Find the layers that are random, not finite, or mix the pictures of a batch.

    Returns:
        By layer why it cannot be climbed, and the layers that mix.
    """
    beside = _answers(observed.returned, 2)
    finite = bool(beside) and all(bool(leaf.isfinite().all()) for leaf in beside)
    alone: list[Tensor] = []
    refused, before = "", chance_now()
    try:
        with torch.no_grad():
            alone = _answers(run(images[1:]), 1)
    except Exception as error:
        refused = " ".join(str(error).split())[:200] or type(error).__name__
    drew = chance_now() != before
    if finite and not refused and not drew and len(alone) == len(beside):
        pairs = [(one[0], two[1]) for one, two in zip(alone, beside, strict=True)]
        if all(one.shape == two.shape and _alike(one, two) for one, two in pairs):
            return {}, frozenset()
    return _faults_by_layer(module, run, images, refused, times=_OFTEN if drew else 2)


def _faults_by_layer(
    module: nn.Module, run: Any, images: Tensor, refused: str, times: int
) -> tuple[dict[str, str], frozenset[str]]:
    shown: list[dict[str, Tensor]] = []
    order: dict[str, int] = {}
    for batch in (*[images] * times, images[1:]):
        shown.append({})
        try:
            observe(module, run, batch, partial(_summarize, order, shown[-1], len(batch)))
        except Exception:
            if not (refused and len(batch) == 1):  # what it gives before it refuses an image that is alone
                raise
    twice, *again, single = shown
    faults: dict[str, str] = {}
    mixing: set[str] = set()
    modules = modules_of(module)

    def differs(name: str) -> bool:
        return not all(_alike(twice[name], other.get(name)) for other in again)

    chance = next((name for name in order if name in twice and differs(name)), "")
    for name in order:
        values = twice.get(name)
        if values is None:
            continue
        if not bool(values.isfinite().all()):
            source = next(
                (
                    key
                    for key, weights in modules[name].named_parameters()
                    if not bool(weights.isfinite().all())
                ),
                "",
            )
            why = f" ({name}.{source} holds some)" if source else ""
            faults[name] = f"gives numbers that are not finite{why}; choose a layer before it"
        elif differs(name):
            faults[name] = (
                f"gives another answer each time for one image: something up to {chance!r} "
                f"({type(modules[chance]).__name__}) is random in eval mode; choose a layer before it, or "
                "switch it off"
            )
        elif refused and name not in single:
            faults[name] = f"needs more than one image at a time ({refused}); choose a layer before it"
        elif not _alike(values, single.get(name)):
            mixing.add(name)
    return faults, frozenset(mixing)


def _summarize(
    order: dict[str, int], given: dict[str, Tensor], count: int, name: str, output: Tensor
) -> None:
    order.setdefault(name, len(order))
    if output.shape[0] == count:
        values = output[-1].double()
        given[name] = torch.stack([values.sum(), values.abs().sum(), values.square().sum().sqrt()])


def _range(given: Tensor | None) -> float | None:
    """Return how far what a layer gave for two images lies apart; None if that is no number."""
    if given is None or len(given) != 2:
        return None
    apart = float((given[0].double() - given[1].double()).square().mean().sqrt())
    return apart if math.isfinite(apart) else None


def _answers(returned: Any, images: int) -> list[Tensor]:
    return [
        leaf.detach()
        for leaf in tensors_of(returned)
        if leaf.is_floating_point() and leaf.dim() and leaf.shape[0] == images
    ]


def _alike(one: Tensor, other: Tensor | None) -> bool:
    """Whether two answers are the same but for rounding."""
    if other is None:
        return True
    one, other = one.double(), other.double()
    near = max(1e-3, 8 * 2**-8 if one.dtype in (torch.float16, torch.bfloat16) else 0.0)
    scale = max(float(one.abs().max()), float(other.abs().max())) if one.numel() else 0.0
    return bool(((one - other).abs() <= near * scale).all())


@dataclass(frozen=True)
class _Base:
    """Positions that tokens may stand for: a map's, or the first tokens' own."""

    positions: int
    grid: tuple[int, int] | None
    order: int
    more: int | None
    """How many there are on the larger canvas."""


class _Patches:
    """How many of a layer's tokens are patches of the image: counted, by the maps that they were made of."""

    def __init__(self, first: dict[str, Observation], grown: dict[str, Observation]) -> None:
        self._bases: list[_Base] = []
        self._lengths: set[int] = set()
        for name, observation in sorted(first.items(), key=lambda item: item[1].order):
            shape, order = observation.shape, observation.order
            larger = grown[name].shape if name in grown else None
            if shape[0] != 2:
                continue
            if len(shape) == 4:
                for rows, columns, more in _sides(shape, larger):
                    self._bases.append(_Base(rows * columns, (rows, columns), order, more))
            elif len(shape) == 3:
                more = larger[1] if larger is not None and len(larger) == 3 else None
                if not self._lengths and (more is None or more > shape[1]):
                    self._bases.append(_Base(shape[1], None, order, more))
                self._lengths.add(shape[1])

    def of(
        self, tokens: Observation, larger: Observation | None, told: int
    ) -> tuple[int, tuple[int, int] | None]:
        """Return how many tokens stand before a layer's patches, and the patches' grid where it is known.

        ``told`` is what the network itself says, which is taken where nothing can be counted.
        """
        count = tokens.shape[1]
        more = larger.shape[1] if larger is not None and len(larger.shape) == 3 else None
        fitting = [
            (base.grid is None, count - base.positions, base.grid)
            for base in self._bases
            if base.order <= tokens.order
            and base.positions >= 4
            and 0 <= count - base.positions <= _MOST_EXTRA
            and (more is None or (base.more is not None and more - base.more == count - base.positions))
        ]
        if fitting:
            _, extra, grid = min(fitting, key=lambda fit: fit[:2])
            if extra or grid is not None or count + told in self._lengths:
                return extra, grid
        return (told if count > told else 0), None


_MOST_TOKENS = 3000
"""Attention takes memory by the square of their number."""
_MOST_EXTRA = 20
"""Class, distillation and register tokens are few."""


def _sides(shape: tuple[int, ...], larger: tuple[int, ...] | None) -> list[tuple[int, int, int | None]]:
    """Return a map's rows and columns, whichever axis holds its units, and their product when larger."""
    found = []
    for rows, columns in ((2, 3), (1, 2)):
        more = None
        if larger is not None and len(larger) == 4:
            still = 1 if (rows, columns) == (2, 3) else 3
            if shape[still] != larger[still]:
                continue
            more = larger[rows] * larger[columns]
        found.append((shape[rows], shape[columns], more))
    return found


def _step(observations: dict[str, Observation], size: tuple[int, int]) -> int:
    """How much larger the second canvas is: a multiple of every stride, so that strides divide out."""
    smallest = min(
        (
            min(observation.shape[-2:])
            for observation in observations.values()
            if len(observation.shape) in (4, 5) and min(observation.shape[-2:]) > 1
        ),
        default=1,
    )
    step = 32
    while step < min(size) / max(smallest, 1) and step < 128:
        step *= 2
    return step


def _grown(small: tuple[int, ...], large: tuple[int, ...]) -> list[int]:
    """How many positions more the larger canvas has, along the axes that grew, in their order."""
    if len(small) != 4 or len(large) != 4 or small[0] != 2 or large[0] != 2:
        return []
    return [after - before for before, after in zip(small[1:], large[1:], strict=True) if after > before]


def _divides(small: tuple[int, ...], large: tuple[int, ...], step: int) -> bool:
    grown = _grown(small, large)
    return len(grown) != 2 or (step % grown[0] == 0 and 2 * step % grown[1] == 0) or grown[0] > step


def _stride(small: tuple[int, ...], large: tuple[int, ...], step: int) -> tuple[int, int] | None:
    """Pixels from one position to the next, or None where the growth does not tell them."""
    grown = _grown(small, large)
    if len(grown) != 2 or step % grown[0] or 2 * step % grown[1]:
        return None
    return (step // grown[0], 2 * step // grown[1])


def _kind(
    name: str, observation: Observation, larger: Observation | None, settled: int | None
) -> tuple[str, int]:
    shape = observation.shape
    dims = len(shape)
    if shape[0] != 2:
        return "unclear: its first axis is not the batch (windows or heads are folded into it)", 0
    if settled is not None:
        return _name_of(dims, settled), settled
    if dims == 2:
        return "vector", 1
    if dims > 5:
        return f"unclear: of its {dims} axes it is not told {WHICH_AXIS}", 0
    moved: list[int] = []
    if larger is not None and larger.shape[0] == 2 and len(larger.shape) == dims:
        moved = [axis for axis in range(1, dims) if shape[axis] != larger.shape[axis]]
        still = [axis for axis in range(1, dims) if axis not in moved]
        if moved and len(still) == 1:
            return _name_of(dims, still[0]), still[0]
        if dims == 4 and not moved and shape[2] == shape[3] == 1:
            return "map", 1
    if observation.hint is not None:
        return _name_of(dims, observation.hint % dims), observation.hint % dims
    if dims == 5 and moved == [2, 3]:  # the frames stay as many as they are
        return _name_of(dims, 4), 4
    if dims in (4, 5) and set(shape[2:]) == {1}:
        return _name_of(dims, 1), 1
    if dims == 4 and larger is None and shape[2] == shape[3] != shape[1]:
        return "map", 1
    if dims == 4 and larger is None and shape[1] == shape[2] != shape[3]:
        return "map_last", 3
    return f"unclear: shape {(1, *shape[1:])} does not tell {WHICH_AXIS}", 0


def _settled(name: str, observation: Observation, axes: dict[str, int]) -> int | None:
    """Return the units' axis of a layer as its user settled it, counted from 0; None if nobody did.

    One that was given for every layer is of those that have it.
    """
    dims, shape = len(observation.shape), (1, *observation.shape[1:])
    axis = axes.get(name, axes.get(""))
    if axis is None:
        return None
    if axis == 0 or (axis == -dims and name in axes):
        raise ModelError(f"{name}: the units' axis cannot be 0, that is the batch; shape {shape}")
    if -dims < axis < dims:
        return axis % dims
    if name not in axes:
        return None
    last = f"1 to {dims - 1}" if dims > 2 else "1"
    raise ModelError(f"{name}: the units' axis is {last}, or counted from the end, not {axis}; shape {shape}")


def _steps_in_time(
    kind: str, observation: Observation, larger: Observation | None, prefix: int
) -> tuple[int, int] | None:
    """Return the one row of a signal's positions; tokens are such if there are more of a longer signal."""
    if kind == "signal":
        return 1, observation.shape[2]
    longer = larger is not None and len(larger.shape) == 3 and larger.shape[1] > observation.shape[1]
    return (1, observation.shape[1] - prefix) if kind == "tokens" and longer else None


def _is_plain_video(run: Any, observation: Observation, larger: Observation | None) -> bool:
    """Whether a layer gives videos as its network takes them, ``(B, C, T, H, W)``: only H and W grow."""
    form = getattr(run, "form", None)
    if larger is None or len(observation.shape) != 5 or form is None or form.axes != "(B, C, T, H, W)":
        return False
    small, large = observation.shape, larger.shape
    return small[0] == 2 and small[:3] == large[:3] and small[3] < large[3] and small[4] < large[4]


def _name_of(dims: int, axis: int) -> str:
    if dims == 5:
        return "video_last" if axis == 4 else "video"
    if dims == 4:
        return "map_last" if axis == 3 else "map"
    if dims == 3:
        return "tokens" if axis == 2 else "signal"
    return "vector"


def _prefix_tokens(module: nn.Module) -> int:
    """How many tokens stand before the patches, where no count of patches tells: by any part's own word."""
    for inner in module.modules():
        counted = getattr(inner, "num_prefix_tokens", None)
        if isinstance(counted, int):
            return counted
        names = ("class_token", "cls_token", "dist_token", "distillation_token")
        own = sum(isinstance(getattr(inner, name, None), Tensor) for name in names)
        if own:
            return own
    return 0


def next_canvas(works: Callable[[int], bool], side: int) -> int | None:
    """Return the smallest side above ``side`` for which ``works`` holds, or None if none was found.

    Networks ask for a least side or for a multiple of their patch, so multiples are tried first and
    the interval below the first that works is then halved.
    """
    tried = sorted(
        {math.ceil((side + 1) / unit) * unit for unit in (1, 2, 4, 7, 8, 14, 16, 32, 64, 128, 224)}
    )
    high = next((candidate for candidate in tried if works(candidate)), None)
    if high is None:
        return None
    low = side
    while low + 1 < high:
        middle = (low + high) // 2
        low, high = (low, middle) if works(middle) else (middle, high)
    return high
