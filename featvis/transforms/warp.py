"""Zoom, rotation, shift and crop as one affine map and one resample for each picture."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from featvis.options import Fraction, PositiveSchedule, Range
from featvis.parts import part
from featvis.transforms.base import Size, Transform, between
from featvis.transforms.resample import resample


@part("warp")
class Warp(Transform):
    """Look at a random window of the canvas: one bilinear resample whatever the number of changes.

    The window's side is ``scale`` times the canvas' (less than 1 magnifies), turned by up to
    ``degrees`` either way, moved by up to ``jitter`` pixels plus ``shift`` times the side along each
    axis; ``crop`` lets a small window wander over the canvas (0: around the middle, 1: anywhere inside).
    All are uniform, symmetric about zero. ``pad`` says what lies beyond the border. The amounts of
    ``degrees``, ``jitter`` and ``shift`` may be [start, end] over the run.
    """

    numbers = 6
    resizes = True

    scale: Range = (1.0, 1.0)
    degrees: PositiveSchedule = (0.0, 0.0)
    jitter: PositiveSchedule = (0.0, 0.0)
    shift: PositiveSchedule = (0.0, 0.0)
    crop: Fraction = 0.0
    pad: Literal["reflect", "edge", "gray"] = "reflect"

    def prepare(self, uniform: Tensor, progress: Tensor, canvas: Size, seen: Size) -> Tensor:
        """Return affine matrices ``(lanes, steps, 6)`` as ``grid_sample`` wants them (columns first)."""
        height, width = canvas
        draw = uniform.double()
        even = 2 * draw - 1  # on [-1, 1), mean 0
        least, greatest = min(self.scale), max(self.scale)
        scale = least + (greatest - least) * draw[..., 0]
        angle = even[..., 1] * between(self.degrees, progress.double()) * (math.pi / 180)
        reach = between(self.jitter, progress.double())
        share = between(self.shift, progress.double())
        free = self.crop * (1 - scale).clamp(min=0) / 2
        down = even[..., 2] * (reach + share * height) + even[..., 4] * free * height
        right = even[..., 3] * (reach + share * width) + even[..., 5] * free * width
        # The window has the shape of what is seen, and at scale 1 just holds the whole canvas.
        window_height = max(height, width * seen[0] / seen[1])
        window_width = max(width, height * seen[1] / seen[0])
        cosine, sine = scale * angle.cos(), scale * angle.sin()
        rows = (
            cosine * (window_width / width),
            -sine * (window_height / width),
            2 * right / width,
            sine * (window_width / height),
            cosine * (window_height / height),
            2 * down / height,
        )
        return torch.stack(rows, dim=-1).float()

    def apply(self, images: Tensor, values: Tensor, field: Tensor | None, seen: Size) -> Tensor:
        """Resample ``images`` to ``(B, C, *seen)``."""
        # Where even the smallest window is much larger than what is seen, detail would alias: average it.
        shrink = int(min(self.scale) * min(images.shape[2] / seen[0], images.shape[3] / seen[1]))
        if shrink >= 2:
            # Adaptive, so that a remainder of rows or columns is not cut off and nothing moves.
            whole = (images.shape[2] // shrink, images.shape[3] // shrink)
            images = functional.adaptive_avg_pool2d(images, whole)
        return resample(images, values, seen, self.pad)
