"""Receptive fields, measured by letting not-a-number spread."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from featvis.models.layers.measure import LayerInfo
from featvis.models.layers.observe import observe


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

        observe(module, run, images, look)
    return {
        name: replace(layer, receptive_field=(rows[name], columns[name]))
        if name in maps and not whole[name] and rows[name]
        else layer
        for name, layer in layers.items()
    }
