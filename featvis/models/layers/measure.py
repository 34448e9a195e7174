"""What the layers of a network give: kind of unit, number, shape; measured by running it, not assumed."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from featvis.errors import ModelError
from featvis.models.layers.observe import Observation, observe

KINDS = {
    "map": "(B, C, H, W)",
    "map_last": "(B, H, W, C)",
    "tokens": "(B, T, C)",
    "signal": "(B, C, T)",
    "vector": "(B, C)",
    "video": "(B, C, T, H, W)",
    "video_last": "(B, T, H, W, C)",
}


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

    @property
    def is_clear(self) -> bool:
        """Whether the axis of the units is known."""
        return not self.kind.startswith("unclear")


def measure(
    module: nn.Module, channels: int, size: tuple[int, int], *, axes: dict[str, int], fixed: bool, run: Any
) -> dict[str, LayerInfo]:
    """Run the network on grey images and describe every layer that gives one tensor.

    Which axes are spatial is seen by running two canvases; where the network takes one size only (``fixed``),
    the modules that made the tensor tell (a Linear's units are on the last axis, a Conv2d's on axis 1).
    ``axes`` are the units' axis by layer name, as the user settled it.
    """
    first = observe(module, run, torch.full((2, channels, *size), 0.5))
    second: dict[str, Observation] = {}
    step = 0
    if not fixed:
        least = _step(first, size)
        # Strides are powers of two almost always; other factors are tried until all divide the growth.
        for factor in (1, 3, 5, 7):
            larger = (size[0] + least * factor, size[1] + 2 * least * factor)
            try:
                later = observe(module, run, torch.full((2, channels, *larger), 0.5))
            except Exception:
                break  # it takes this size only; the modules must tell
            exact = all(
                _divides(observation.shape, later[name].shape, least * factor)
                for name, observation in first.items()
                if name in later
            )
            if exact or not second:
                second, step = later, least * factor
            if exact:
                break
    prefix = _prefix_tokens(module)
    layers = {}
    for name, observation in first.items():
        kind, axis = _kind(name, observation, second.get(name), axes.get(name, axes.get("")))
        if not axis and _is_plain_video(run, observation, second.get(name)):
            kind, axis = "video", 1
        units = observation.shape[axis] if axis else 0
        stride = None
        if kind in ("map", "map_last") and (grown := second.get(name)) is not None:
            stride = _stride(observation.shape, grown.shape, step)
        layers[name] = LayerInfo(
            name=name,
            module=observation.module,
            kind=kind,
            axis=axis,
            units=units,
            shape=(1, *observation.shape[1:]),
            order=observation.order,
            calls=observation.calls,
            prefix=_prefix(kind, observation, prefix),
            stride=stride,
            depth=name.count("."),
        )
    return layers


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
        axis = settled % dims
        if axis == 0:
            raise ModelError(f"{name}: the units' axis cannot be 0, that is the batch; shape {shape}")
        return _name_of(dims, axis), axis
    if dims == 2:
        return "vector", 1
    if dims > 5:
        return f"unclear: {dims} axes; say which holds the units with --unit-axis", 0
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
    return (
        f"unclear: shape {(1, *shape[1:])} does not tell which axis holds the units; say so with --unit-axis",
        0,
    )


def _is_plain_video(run: Any, observation: Observation, larger: Observation | None) -> bool:
    """Whether a layer gives videos as its network takes them, ``(B, C, T, H, W)``: only H and W grow."""
    if larger is None or len(observation.shape) != 5 or run.form.axes != "(B, C, T, H, W)":
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
    """How many tokens stand before the patches': timm counts them; others are known by their parameters."""
    counted = getattr(module, "num_prefix_tokens", None)
    if counted is not None:
        return int(counted)
    names = ("class_token", "cls_token", "dist_token")
    return sum(isinstance(getattr(module, name, None), Tensor) for name in names)


def _prefix(kind: str, observation: Observation, prefix: int) -> int:
    # Pooled or class-only outputs have no patch tokens to tell apart.
    return prefix if kind == "tokens" and observation.shape[1] > prefix else 0


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
