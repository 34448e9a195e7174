"""Mask: only a region of the canvas is optimized; the rest is the start image, bit for bit."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from featvis.errors import CanvasError, RecipeError
from featvis.images.wrapper import Around
from featvis.spec.options import AtLeastOne, Fraction, Inner, Size
from featvis.spec.register import part


@part("mask")
class MaskedImage(Around):
    """A region is optimized, and all else stays the start image.

    m · x + (1 - m) · x₀, x the inner space's images. Outside, where m is 0, images are x₀ bit for bit;
    without a start image x₀ is mid-grey.

    Options: ``inner``, the space within; ``shape``, a ``box`` or the ``ellipse`` that touches it, of which
    a pixel is part if its centre is; ``box``, (top, left, bottom, right) as shares of the canvas;
    ``weights``, instead of both, rows of numbers m from 0 to 1, stretched over the canvas without
    interpolation.
    Parameters: ``inner.…`` and ``around``.

    >>> import featvis as fv
    >>> fv.MaskedImage(size=(4, 4), shape="ellipse", box=(0, 0, 1, 1)).region.sum(1).tolist()
    [2.0, 4.0, 4.0, 2.0]
    """

    size: Size | None = None
    channels: AtLeastOne = 3
    inner: Inner = "fourier"
    box: tuple[Fraction, Fraction, Fraction, Fraction] = (0.25, 0.25, 0.75, 0.75)
    shape: Literal["box", "ellipse"] = "box"
    weights: tuple[tuple[Fraction, ...], ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if len({len(row) for row in self.weights}) > 1 or (self.weights and not self.weights[0]):
            raise RecipeError("mask: weights are rows of equal length, each with at least one number")
        if self.size is not None and not bool(self.region.any()):
            raise CanvasError(f"mask: no pixel of a canvas of {self.size[0]}x{self.size[1]} is in the region")

    @property
    def region(self) -> Tensor:
        """m, ``(H, W)`` from 0 to 1."""
        return _region(self.canvas, self.box, self.shape, self.weights, torch.device("cpu"))

    def near(self, images: Tensor, around: Tensor) -> Tensor:  # noqa: D102
        region = _region(self.canvas, self.box, self.shape, self.weights, images.device)
        # lerp's own sum is exact at both ends.
        return torch.lerp(around, images, region.expand_as(images))


@lru_cache(maxsize=16)
def _region(
    canvas: tuple[int, int],
    box: tuple[float, float, float, float],
    shape: str,
    weights: tuple[tuple[float, ...], ...],
    device: torch.device,
) -> Tensor:
    with torch.inference_mode(False):  # it is kept, and a later run climbs through it
        if weights:
            table = torch.tensor(weights)[None, None]
            return functional.interpolate(table, canvas, mode="nearest-exact")[0, 0].to(device)
        rows, columns = ((torch.arange(side, dtype=torch.float64) + 0.5) / side for side in canvas)
        top, left, bottom, right = box
        if shape == "ellipse":
            down = (rows - (top + bottom) / 2) / max(abs(bottom - top) / 2, 1e-9)
            across = (columns - (left + right) / 2) / max(abs(right - left) / 2, 1e-9)
            inside = down[:, None] ** 2 + across[None] ** 2 <= 1
        else:
            down, across = (rows >= top) & (rows < bottom), (columns >= left) & (columns < right)
            inside = down[:, None] & across[None]
        return inside.float().to(device)
