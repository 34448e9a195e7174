"""A random crop, resized to what the network is shown."""

from __future__ import annotations

import torch
from torch import Tensor

from featvis.errors import CanvasError
from featvis.spec.options import Count, ShareRange
from featvis.spec.register import part
from featvis.transforms.base import Size, Transform, drawn, least_of
from featvis.transforms.resample import averaged, resample


@part("crop")
class Crop(Transform):
    """Show the network a box of the canvas, anywhere inside, resized bilinearly.

    The box has the shape of what is seen. Its side is ``side`` times that of the largest such box: a number,
    a range [least, greatest], or [[least, greatest], [least, greatest]] over the run. With ``pixels`` above 0
    its shorter edge is so many pixels of the canvas instead.

    Raises:
        CanvasError: ``pixels`` is more than the canvas holds; found when a run is planned.

    >>> import featvis as fv
    >>> fv.Crop(pixels=40).check((24, 32), (16, 16))
    Traceback (most recent call last):
    featvis.errors.CanvasError: crop: a box of 40 pixels does not fit the canvas 24x32; at most 24
    """

    numbers = 3
    resizes = True

    side: ShareRange = ((0.5, 1.0), (0.5, 1.0))
    pixels: Count = 0

    def check(self, canvas: Size, shown_size: Size) -> None:  # noqa: D102
        edge = min(largest_box(canvas, shown_size))
        if self.pixels > edge:
            problem = f"a box of {self.pixels} pixels does not fit the canvas {canvas[0]}x{canvas[1]}"
            raise CanvasError(f"crop: {problem}; at most {int(edge)}")

    def prepare(self, uniform: Tensor, progress: Tensor, canvas: Size, shown_size: Size) -> Tensor:
        """Return affine maps ``(lanes, steps, 6)`` as ``grid_sample`` wants them (columns first)."""
        draw = uniform.double()
        side = drawn(self.side, progress.double(), draw[..., 0])
        if self.pixels:
            self.check(canvas, shown_size)
            side = torch.full_like(side, self.pixels / min(largest_box(canvas, shown_size)))
        return box_maps(side, draw[..., 1], draw[..., 2], canvas, shown_size)

    def apply(self, images: Tensor, values: Tensor, field: Tensor | None, shown_size: Size) -> Tensor:
        """Resample ``images`` to ``(B, C, *shown_size)``."""
        least = least_of(self.side)
        if self.pixels:
            least = self.pixels / min(largest_box((images.shape[2], images.shape[3]), shown_size))
        return resample(averaged(images, least, shown_size), values, shown_size, "edge")


def largest_box(canvas: Size, shown_size: Size) -> tuple[float, float]:
    """Return (height, width) of the largest box of the shape of ``shown_size`` inside ``canvas``.

    >>> largest_box((100, 200), (50, 50))
    (100.0, 100.0)
    """
    scale = min(canvas[0] / shown_size[0], canvas[1] / shown_size[1])
    return shown_size[0] * scale, shown_size[1] * scale


def box_maps(side: Tensor, down: Tensor, right: Tensor, canvas: Size, shown_size: Size) -> Tensor:
    """Return the affine maps ``(…, 6)`` of boxes in the canvas, ``side`` a share of the largest one's.

    ``down`` and ``right`` say where among the places inside: 0 at the top or left, 1 at the other end.
    """
    box = largest_box(canvas, shown_size)
    height, width = (side * edge / whole for edge, whole in zip(box, canvas, strict=True))
    nothing = torch.zeros_like(side)
    maps = (width, nothing, (2 * right - 1) * (1 - width), nothing, height, (2 * down - 1) * (1 - height))
    return torch.stack(maps, dim=-1).float()
