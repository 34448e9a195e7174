"""Zoom, rotation, shift and crop as one affine map and one resample for each picture."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from featvis.spec.options import FractionSchedule, PositiveSchedule, Range
from featvis.spec.register import part
from featvis.transforms.base import Size, Transform, between, drawn, least_of
from featvis.transforms.resample import averaged, resample


@part("warp")
class Warp(Transform):
    """Look at a random window of the canvas: one bilinear resample whatever the number of changes.

    The window's side is ``scale`` times the canvas' (less than 1 magnifies), turned by up to
    ``degrees`` either way, moved by up to ``jitter`` pixels plus ``shift`` times the side along each
    axis; ``crop`` lets a small window wander over the canvas (0: around the middle, 1: anywhere inside).
    All are uniform, symmetric about zero. ``pad`` says what lies beyond the border: the canvas mirrored
    (``reflect``), its last pixel (``edge``) or mid-grey (``gray``). The amounts of
    ``degrees``, ``jitter``, ``shift`` and ``crop`` may be [start, end] over the run; ``scale`` is a range
    [least, greatest], over the run [[least, greatest], [least, greatest]]. Lucid's pad, jitter, random
    scale and random rotate are this one transform.

    >>> import featvis as fv
    >>> warp = fv.Warp(scale=[0.8, 1.2], degrees=10, jitter=[8, 0])
    >>> warp.scale, warp.jitter
    (((0.8, 1.2), (0.8, 1.2)), (8.0, 0.0))
    """

    numbers = 6
    resizes = True

    scale: Range = ((1.0, 1.0), (1.0, 1.0))
    degrees: PositiveSchedule = (0.0, 0.0)
    jitter: PositiveSchedule = (0.0, 0.0)
    shift: PositiveSchedule = (0.0, 0.0)
    crop: FractionSchedule = (0.0, 0.0)
    pad: Literal["reflect", "edge", "gray"] = "reflect"

    def prepare(self, uniform: Tensor, progress: Tensor, canvas: Size, shown_size: Size) -> Tensor:
        """Return affine matrices ``(lanes, steps, 6)`` as ``grid_sample`` wants them (columns first)."""
        height, width = canvas
        draw = uniform.double()
        even = 2 * draw - 1  # on [-1, 1), mean 0
        scale = drawn(self.scale, progress.double(), draw[..., 0])
        angle = even[..., 1] * between(self.degrees, progress.double()) * (math.pi / 180)
        reach = between(self.jitter, progress.double())
        share = between(self.shift, progress.double())
        free = between(self.crop, progress.double()) * (1 - scale).clamp(min=0) / 2
        down = even[..., 2] * (reach + share * height) + even[..., 4] * free * height
        right = even[..., 3] * (reach + share * width) + even[..., 5] * free * width
        # The window has the shape of what is seen, and at scale 1 just holds the whole canvas.
        window_height = max(height, width * shown_size[0] / shown_size[1])
        window_width = max(width, height * shown_size[1] / shown_size[0])
        cosine, sine = scale * angle.cos(), scale * angle.sin()
        first = (cosine * (window_width / width), -sine * (window_height / width), 2 * right / width)
        second = (sine * (window_width / height), cosine * (window_height / height), 2 * down / height)
        return torch.stack((*first, *second), dim=-1).float()

    def apply(self, images: Tensor, values: Tensor, field: Tensor | None, shown_size: Size) -> Tensor:
        """Resample ``images`` to ``(B, C, *shown_size)``."""
        images = averaged(images, least_of(self.scale), shown_size)
        return resample(images, values, shown_size, self.pad)
