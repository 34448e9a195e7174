"""The form in which a network takes images, as they are, as signals or videos: found by trying."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves


@dataclass(frozen=True)
class Form:
    """How images ``(B, C, H, W)`` are handed to a network."""

    axes: str
    """What the network takes, in words."""
    frames: int | None = None
    """Of a video or volume, whose images have the channels of all frames, one frame after another."""

    def shown(self, images: Tensor) -> Tensor:
        """Return images as the network takes them."""
        # Of a canvas grown to see which axes move, a signal is the first row.
        if self.axes == "(B, C, T)":
            return images[:, :, 0]
        if self.axes == "(B, T)":
            return images[:, 0, 0]
        if self.frames is None:
            return images
        frames = images.reshape(len(images), self.frames, -1, *images.shape[2:])
        return frames if self.axes == "(B, T, C, H, W)" else frames.transpose(1, 2).contiguous()


IMAGES = Form("(B, C, H, W)")
FRAMES_TRIED = (16, 32, 8, 64, 24, 4, 12, 48, 2)
"""Numbers of frames that networks of videos are made for, the likeliest first."""


def forms_of(*, signal: bool, frames: int | None, channels: int) -> tuple[Form, ...]:
    """Return the forms that a network may take which takes signals, so many frames, or neither."""
    if signal:
        return (Form("(B, C, T)"), *((Form("(B, T)"),) if channels == 1 else ()))
    if frames is not None:
        return Form("(B, C, T, H, W)", frames), Form("(B, T, C, H, W)", frames)
    return (IMAGES,)


def find_form(
    forms: Sequence[Form], run: Callable[[Tensor], object], channels: int, size: tuple[int, int]
) -> Form | None:
    """Return the first form in which a network runs on a canvas, each image by itself; None if in none.

    Linear layers run on ``(B, C, T)`` as on ``(B, T)``: a form in which it gives a vector ``(B, units)`` goes
    before one in which it does not. ``run`` runs it on what it takes; ``channels`` are the images'.
    """
    images = torch.full((3, channels, *size), 0.5)
    running = []
    for form in forms:
        try:
            with torch.no_grad():
                returned = run(form.shown(images))
        except Exception:  # whatever a network says of what it does not take
            continue
        axes = [
            leaf.dim() for leaf in tree_leaves(returned) if isinstance(leaf, Tensor) and _is_of(leaf, images)
        ]
        if 2 in axes:
            return form
        running += [form] if axes else []
    return running[0] if running else None


def _is_of(answer: Tensor, images: Tensor) -> bool:
    return answer.dim() > 0 and answer.shape[0] == len(images)
