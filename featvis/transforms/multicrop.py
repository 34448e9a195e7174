"""Several box crops of each picture at every step, as MACO takes them."""

from __future__ import annotations

import torch
from torch import Tensor

from featvis.spec.options import AtLeastOne, PositiveSchedule, ShareRange
from featvis.spec.register import part
from featvis.transforms.base import Size, Transform, between, drawn, least_of
from featvis.transforms.crop import box_maps, largest_box
from featvis.transforms.resample import averaged, resample


@part("multicrop")
class MultiCrop(Transform):
    """Show the network ``crops`` boxes of each picture at every step, and climb the mean score over them.

    MACO (Fel et al. 2023). That mean is what a picture's ``trace`` tells; its ``score`` is, as always, the
    saved picture's own, of the whole canvas without crops, so that the two are not to be compared. The side
    of a box is uniform within ``side``, a share of the largest box of the shape that is seen: a number, a
    range, or [[least, greatest], [least, greatest]] over the run. Its centre is normal about the canvas'
    middle, with a standard deviation of ``center_sd`` canvases (a number, or [start, end] over the run), and
    moved so that the box lies inside. What follows in the list draws for each crop anew.

    >>> import featvis as fv
    >>> fv.MultiCrop(crops=8).copies()
    8
    """

    numbers = 3
    resizes = True

    crops: AtLeastOne = 4
    side: ShareRange = ((0.2, 0.25), (0.2, 0.25))
    center_sd: PositiveSchedule = (0.15, 0.15)

    def copies(self) -> int:
        """Return the number of crops."""
        return self.crops

    def prepare(self, uniform: Tensor, progress: Tensor, canvas: Size, shown_size: Size) -> Tensor:
        """Return affine maps ``(lanes, steps, 6)`` as ``grid_sample`` wants them (columns first)."""
        draw = uniform.double()
        side = drawn(self.side, progress.double(), draw[..., 0])
        deviation = between(self.center_sd, progress.double())
        places = []
        for axis, edge in enumerate(largest_box(canvas, shown_size)):
            center = 0.5 + deviation * torch.special.ndtri(draw[..., 1 + axis].clamp(1e-9, 1 - 1e-9))
            free = 1 - side * edge / canvas[axis]
            # From the box' own first row to where that lies among the places inside; a full box has one.
            places.append(((center - (1 - free) / 2) / free.clamp(min=1e-12)).clamp(0, 1))
        return box_maps(side, places[0], places[1], canvas, shown_size)

    def apply(self, images: Tensor, values: Tensor, field: Tensor | None, shown_size: Size) -> Tensor:
        """Resample ``images``, one for each crop, to ``(B, C, *shown_size)``."""
        return resample(averaged(images, least_of(self.side), shown_size), values, shown_size, "edge")
