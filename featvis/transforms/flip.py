"""Mirror images by chance."""

from __future__ import annotations

import torch
from torch import Tensor

from featvis.spec.options import FractionSchedule
from featvis.spec.register import part
from featvis.transforms.base import Size, Transform, between


@part("flip")
class Flip(Transform):
    """Mirror left and right with probability ``horizontal``, top and bottom with probability ``vertical``.

    Both may be [start, end] over the run.

    >>> import featvis as fv
    >>> images = torch.arange(3.0).expand(1, 1, 2, 3)
    >>> fv.Flip().apply(images, torch.tensor([[1.0, 0.0]]), None, (2, 3))[0, 0, 0].tolist()
    [2.0, 1.0, 0.0]
    """

    numbers = 2

    horizontal: FractionSchedule = (0.5, 0.5)
    vertical: FractionSchedule = (0.0, 0.0)

    def prepare(self, uniform: Tensor, progress: Tensor, canvas: Size, shown_size: Size) -> Tensor:
        """Return ``(lanes, steps, 2)``: 1 where columns, rows are mirrored, else 0."""
        chances = (between(self.horizontal, progress), between(self.vertical, progress))
        return (uniform < torch.stack(chances, dim=-1)).float()

    def apply(self, images: Tensor, values: Tensor, field: Tensor | None, shown_size: Size) -> Tensor:
        """Mirror the pictures whose lot it is."""
        lots = values[:, :, None, None, None] > 0.5
        images = torch.where(lots[:, 0], images.flip(3), images)
        return torch.where(lots[:, 1], images.flip(2), images)
