"""What the layers of a network give: kind of unit, number, shape; measured by running it, not assumed."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from featvis.errors import ModelError

KINDS = {
    "map": "(B, C, H, W)",
    "map_last": "(B, H, W, C)",
    "tokens": "(B, T, C)",
    "signal": "(B, C, T)",
    "vector": "(B, C)",
}


@dataclass(frozen=True)
class LayerInfo:
    """One layer as a run through the network showed it."""

    name: str
    module: str
    """The class of the module, for instance ``Conv2d``."""
    kind: str
    """``map``, ``map_last``, ``tokens``, ``signal``, ``vector``, or ``unclear: …`` with the reason."""
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
    module: nn.Module,
    channels: int,
    size: tuple[int, int],
    *,
    axes: dict[str, int],
    fixed: bool,
    run: Any,
) -> dict[str, LayerInfo]:
    """Run the network on grey images and describe every layer that gives one tensor.

    Which axes are spatial is seen by running two canvases; where the network takes one size only, the
    modules that made the tensor tell (a Linear's units are on the last axis, a Conv2d's on axis 1).

    Args:
        module: the network, in eval mode.
        channels: of its input.
        size: the canvas, (height, width).
        axes: the units' axis by layer name, as its user settled it.
        fixed: whether the network takes this size only.
        run: a function that runs the network on images, whatever its preprocessing.

    Raises:
        ModelError: an axis was settled that cannot be.
        Exception: whatever the network raises at this canvas.
    """
    first = _observe(module, run, torch.full((2, channels, *size), 0.5))
    second: dict[str, _Seen] = {}
    step = 0
    if not fixed:
        least = _step(first, size)
        # Strides are powers of two almost always; other factors are tried until all divide the growth.
        for factor in (1, 3, 5, 7):
            larger = (size[0] + least * factor, size[1] + 2 * least * factor)
            try:
                found = _observe(module, run, torch.full((2, channels, *larger), 0.5))
            except Exception:
                break  # it takes this size only; the modules must tell
            exact = all(
                _divides(one.shape, found[name].shape, least * factor)
                for name, one in first.items()
                if name in found
            )
            if exact or not second:
                second, step = found, least * factor
            if exact:
                break
    prefix = _prefix_tokens(module)
    layers = {}
    for name, seen in first.items():
        kind, axis = _kind(name, seen, second.get(name), axes.get(name, axes.get("")))
        units = seen.shape[axis] if axis else 0
        stride = None
        if kind in ("map", "map_last") and (later := second.get(name)) is not None:
            stride = _stride(seen.shape, later.shape, step)
        layers[name] = LayerInfo(
            name=name,
            module=seen.module,
            kind=kind,
            axis=axis,
            units=units,
            shape=(1, *seen.shape[1:]),
            order=seen.order,
            calls=seen.calls,
            prefix=_prefix(kind, seen, prefix),
            stride=stride,
            depth=name.count("."),
        )
    return layers


def receptive_fields(
    layers: dict[str, LayerInfo], module: nn.Module, channels: int, size: tuple[int, int], run: Any
) -> dict[str, LayerInfo]:
    """Measure the receptive field of every map by letting not-a-number spread from single pixels.

    A pixel set to NaN makes NaN of exactly the positions that depend on it, through convolutions,
    ReLUs and poolings alike. Summed over the pixels of one stride, the numbers of rows and columns
    it reaches are the receptive field's height and width. A field that reaches the border of the
    map from the middle pixel is larger than the canvas and stays None.
    """
    maps = {
        name: layer for name, layer in layers.items() if layer.kind in ("map", "map_last") and layer.stride
    }
    if not maps:
        return layers
    period = min(max(max(layer.stride or (1, 1)) for layer in maps.values()), 64)
    rows = dict.fromkeys(maps, 0)
    columns = dict.fromkeys(maps, 0)
    whole = dict.fromkeys(maps, False)
    # The block of pixels lies in the middle, at multiples of the stride.
    top = (size[0] // 2 // period) * period
    left = (size[1] // 2 // period) * period

    for start in range(0, period, 4):
        offsets = range(start, min(start + 4, period))
        images = torch.full((len(offsets), channels, *size), 0.5)
        for place, offset in enumerate(offsets):
            images[place, :, min(top + offset, size[0] - 1), min(left + offset, size[1] - 1)] = torch.nan

        def look(name: str, output: Tensor, offsets: range = offsets) -> None:
            if name not in maps or output.shape[0] != len(offsets):
                return
            layer = maps[name]
            reached = output.isnan().any(dim=layer.axis)  # (offsets, H, W)
            for place, offset in enumerate(offsets):
                assert layer.stride is not None
                counts_down, counts_across = (offset < stride for stride in layer.stride)
                down, across = reached[place].any(1), reached[place].any(0)
                whole[name] |= counts_down and bool(down[0] | down[-1])
                whole[name] |= counts_across and bool(across[0] | across[-1])
                rows[name] += int(down.sum()) * counts_down
                columns[name] += int(across.sum()) * counts_across

        _observe(module, run, images, look)
    return {
        name: replace(layer, receptive_field=(rows[name], columns[name]))
        if name in maps and not whole[name] and rows[name]
        else layer
        for name, layer in layers.items()
    }


@dataclass
class _Seen:
    """What one run showed of one module."""

    module: str
    shape: tuple[int, ...]
    order: int
    calls: int
    hint: int | None
    """The axis on which the module that made this tensor puts its units, if it tells."""


def _observe(module: nn.Module, run: Any, images: Tensor, look: Any = None) -> dict[str, _Seen]:
    seen: dict[str, _Seen] = {}
    made: dict[int, int] = {}  # axis told by the module that last gave a tensor of this many units
    clock = 0

    def note(name: str, one: nn.Module, output: Any) -> None:
        nonlocal clock
        clock += 1
        if isinstance(output, tuple | list) and output and isinstance(output[0], Tensor):
            output = output[0]
        if not isinstance(output, Tensor) or not output.is_floating_point() or output.dim() < 2:
            return
        hint = _hint(one, output)
        if hint is not None:
            made[output.shape[hint]] = hint
        else:
            hint = next((axis for n, axis in made.items() if output.shape[axis % output.dim()] == n), None)
        calls = seen[name].calls + 1 if name in seen else 1
        seen[name] = _Seen(type(one).__name__, tuple(output.shape), clock, calls, hint)
        if look is not None:
            look(name, output)

    handles = []
    for name, one in module.named_modules():
        if name:
            handles.append(one.register_forward_hook(lambda m, _, out, name=name: note(name, m, out)))
    try:
        with torch.no_grad():
            run(images)
    finally:
        for handle in handles:
            handle.remove()
    return seen


def _hint(module: nn.Module, output: Tensor) -> int | None:
    if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.modules.batchnorm._BatchNorm):
        return 1
    if isinstance(module, nn.Linear):
        return output.dim() - 1
    if isinstance(module, nn.LayerNorm) and len(module.normalized_shape) == 1:
        # A LayerNorm for (B, C, H, W) moves the axis by itself; its output's shape tells.
        n = module.normalized_shape[0]
        if output.shape[-1] == n and output.shape[1] != n:
            return output.dim() - 1
        if output.shape[1] == n and output.shape[-1] != n:
            return 1
    return None


def _step(seen: dict[str, _Seen], size: tuple[int, int]) -> int:
    """How much larger the second canvas is: a multiple of every stride, so that strides divide out."""
    smallest = min(
        (min(one.shape[2:]) for one in seen.values() if len(one.shape) == 4 and min(one.shape[2:]) > 1),
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


def _kind(name: str, seen: _Seen, larger: _Seen | None, settled: int | None) -> tuple[str, int]:
    shape = seen.shape
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
    if dims > 4:
        return f"unclear: {dims} axes; say which holds the units with --unit-axis", 0
    if larger is not None and larger.shape[0] == 2 and len(larger.shape) == dims:
        moved = [axis for axis in range(1, dims) if shape[axis] != larger.shape[axis]]
        still = [axis for axis in range(1, dims) if axis not in moved]
        if moved and len(still) == 1:
            return _name_of(dims, still[0]), still[0]
        if dims == 4 and not moved and shape[2] == shape[3] == 1:
            return "map", 1
    if seen.hint is not None:
        return _name_of(dims, seen.hint % dims), seen.hint % dims
    if dims == 4 and shape[2] == shape[3] == 1:
        return "map", 1
    if dims == 4 and larger is None and shape[2] == shape[3] != shape[1]:
        return "map", 1
    if dims == 4 and larger is None and shape[1] == shape[2] != shape[3]:
        return "map_last", 3
    return (
        f"unclear: shape {(1, *shape[1:])} does not tell which axis holds the units; say so with --unit-axis",
        0,
    )


def _name_of(dims: int, axis: int) -> str:
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


def _prefix(kind: str, seen: _Seen, prefix: int) -> int:
    # Pooled or class-only outputs have no patch tokens to tell apart.
    return prefix if kind == "tokens" and seen.shape[1] > prefix else 0


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
