"""Tiles: the network sees one window of a canvas that is larger than it could be shown at once."""

from __future__ import annotations

import torch
from torch import Tensor

from featvis.spec.register import part
from featvis.transforms.base import Size, Transform


@part("tile")
class Tile(Transform):
    """Show the network a window of the canvas at its own resolution, from a drawn place.

    With a recipe's ``input_size`` below its ``size`` a step's memory is a tile's, however large the canvas.
    Tiles lie at any whole pixel, another place at every step of every picture, and go on at the opposite
    edge: there is no grid of tiles whose borders could show, and the finished picture itself can be laid
    side by side without a seam. Where the canvas is smaller than what is seen, it is repeated.

    >>> import featvis as fv
    >>> canvas = torch.arange(24.0).view(1, 1, 4, 6)
    >>> fv.Tile().apply(canvas, torch.tensor([[3.0, 5.0]]), None, (2, 2)).tolist()
    [[[[23.0, 18.0], [5.0, 0.0]]]]
    """

    numbers = 2
    resizes = True

    def prepare(self, uniform: Tensor, progress: Tensor, canvas: Size, shown_size: Size) -> Tensor:
        """Return the first row and column of every tile, ``(lanes, steps, 2)``."""
        sides = torch.tensor(canvas, dtype=uniform.dtype)
        return torch.minimum((uniform * sides).floor(), sides - 1)

    def apply(self, images: Tensor, values: Tensor, field: Tensor | None, shown_size: Size) -> Tensor:
        """Return the tiles ``(B, C, *shown_size)``; bit for bit the canvas' pixels."""
        lanes, channels, height, width = images.shape
        device = images.device
        rows = (values[:, :1].long() + torch.arange(shown_size[0], device=device)) % height
        columns = (values[:, 1:].long() + torch.arange(shown_size[1], device=device)) % width
        # Two gathers: their gradient adds nothing up where no pixel is seen twice, so no order matters.
        across = images.gather(3, columns[:, None, None, :].expand(lanes, channels, height, -1))
        return across.gather(2, rows[:, None, :, None].expand(lanes, channels, -1, shown_size[1]))
