"""Receptive fields, measured by letting not-a-number spread."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from featvis.models.layers.measure import LayerInfo
from featvis.models.layers.observe import observe

Look = Callable[[str, Tensor], None]
Show = Callable[[Tensor, Look], object]
"""Runs the network on images and hands on what each layer gives, by its name."""

_AT_ONCE = 4


def receptive_fields(
    layers: dict[str, LayerInfo], module: nn.Module, channels: int, size: tuple[int, int], run: Any
) -> dict[str, LayerInfo]:
    """Measure the receptive field of every map.

    Summed over the pixels of one stride, the numbers of rows and columns that a pixel reaches are its height
    and width. One that reaches the border of the map from the middle pixel exceeds the canvas and stays None.
    """
    maps = {
        name: layer for name, layer in layers.items() if layer.kind in ("map", "map_last") and layer.stride
    }
    if not maps:
        return layers
    period = min(max(max(layer.stride or (1, 1)) for layer in maps.values()), 64)
    # The block of pixels lies in the middle, at multiples of the stride.
    top, left = (side // 2 // period * period for side in size)
    rows, columns = (
        [slice(pixel, pixel + 1) for pixel in (min(first + n, side - 1) for n in range(period))]
        for first, side in ((top, size[0]), (left, size[1]))
    )
    pixels = list(zip(rows, columns, strict=True))
    reached = spread(
        lambda images, look: observe(module, run, images, look), maps, pixels, channels=channels, canvas=size
    )
    measured = dict(layers)
    for name, sides in reached.items():
        lines = [side[:stride] for side, stride in zip(sides, maps[name].stride or (), strict=True)]
        if lines[0].any() and not any(line[:, [0, -1]].any() for line in lines):
            field = (int(lines[0].sum()), int(lines[1].sum()))
            measured[name] = replace(maps[name], receptive_field=field)
    return measured


def spread(
    show: Show,
    layers: Mapping[str, LayerInfo],
    blocks: Sequence[tuple[slice, slice]],
    *,
    channels: int,
    canvas: tuple[int, int],
) -> dict[str, tuple[Tensor, Tensor]]:
    """Find which rows and which columns of the layers' grids each block of pixels, (rows, columns), reaches.

    Pixels that are not a number make NaN of exactly the positions that depend on them, through convolutions,
    ReLUs and poolings alike. Two tensors for each layer with a grid: (blocks, rows) and (blocks, columns).
    """
    batches = []
    for start in range(0, len(blocks), _AT_ONCE):
        chosen = blocks[start : start + _AT_ONCE]
        images = torch.full((len(chosen), channels, *canvas), 0.5)
        for image, (rows, columns) in zip(images, chosen, strict=True):
            image[:, rows, columns] = torch.nan
        batches.append(_spread_once(show, layers, images))
    return {
        name: (
            torch.cat([reached[name][0] for reached in batches]),
            torch.cat([reached[name][1] for reached in batches]),
        )
        for name in layers
        if all(name in reached for reached in batches)
    }


def _spread_once(
    show: Show, layers: Mapping[str, LayerInfo], images: Tensor
) -> dict[str, tuple[Tensor, Tensor]]:
    reached = {}

    def look(name: str, output: Tensor) -> None:
        layer = layers.get(name)
        if layer is None or output.shape[0] != len(images) or output.dim() != len(layer.shape):
            return
        grid = grid_of(layer, tuple(output.shape), (images.shape[2], images.shape[3]))
        if grid is not None:
            places = output.isnan().any(layer.axis).flatten(1)[:, layer.prefix :].reshape(-1, *grid)
            reached[name] = (places.any(2).cpu(), places.any(1).cpu())

    # cuDNN's fast algorithms spread NaN over whole tiles.
    with torch.no_grad(), torch.backends.cudnn.flags(enabled=False):
        show(images, look)
    return reached


def grid_of(layer: LayerInfo, shape: tuple[int, ...], canvas: tuple[int, int]) -> tuple[int, int] | None:
    """Return a layer's rows and columns (of tokens: square patches), or None where they are not known."""
    if layer.kind in ("map", "map_last"):
        rows, columns = (n for axis, n in enumerate(shape) if axis not in (0, layer.axis))
        return rows, columns
    if layer.kind != "tokens":
        return None
    tokens = shape[1] - layer.prefix
    height, width = canvas
    for patch in range(1, min(canvas) + 1):
        if height % patch == 0 and width % patch == 0 and height // patch * (width // patch) == tokens:
            return height // patch, width // patch
    return None
