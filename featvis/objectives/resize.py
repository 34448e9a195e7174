"""Resizing as two matrix products: smooth, antialiased, and with a gradient that is the same every time."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


class Resize:
    """Resizes images ``(B, C, H, W)`` to one size, bilinear with antialiasing.

    PyTorch's own backward pass adds in any order on a GPU; a product of matrices does not.
    """

    def __init__(self, size: tuple[int, int]) -> None:
        self.size = size
        self._matrices: dict[tuple[object, ...], tuple[Tensor, Tensor]] = {}

    def __call__(self, images: Tensor) -> Tensor:
        """Return the images at the size; images that have it are returned as they are."""
        height, width = images.shape[2], images.shape[3]
        if (height, width) == self.size:
            return images
        key = (height, width, images.dtype, images.device)
        if key not in self._matrices:
            sides = ((height, self.size[0]), (width, self.size[1]))
            rows, columns = (_matrix(*side).to(images.device, images.dtype) for side in sides)
            self._matrices[key] = (rows, columns.t().contiguous())
        rows, columns = self._matrices[key]
        return rows @ images @ columns


def _matrix(before: int, after: int) -> Tensor:
    """What each of ``after`` pixels takes of each of ``before``, ``(after, before)``."""
    pixels = torch.eye(before, dtype=torch.float64)[None, None]
    options = {"mode": "bilinear", "antialias": True, "align_corners": False}
    return functional.interpolate(pixels, (after, before), **options)[0, 0]  # type: ignore[arg-type]
