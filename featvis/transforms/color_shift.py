"""Ghiasi's ColorShift: each channel moved and stretched by chance."""

from __future__ import annotations

import torch
from torch import Tensor

from featvis.spec.options import PositiveSchedule
from featvis.spec.register import part
from featvis.transforms.base import Size, Transform, between
from featvis.transforms.color_jitter import MOST_CHANNELS, check_channels


@part("color_shift")
class ColorShift(Transform):
    """Shift and stretch each channel by chance (Ghiasi et al. 2022; Plug-In Inversion, 2022).

    (images - m) / s, with m uniform on ±``mean`` and log s uniform on ±``log_sd`` for each channel; both are
    1 in What do vision transformers learn? (Ghiasi et al. 2022) and may be [start, end] over the run.

    >>> import featvis as fv
    >>> fv.ColorShift(mean=[1, 0.2]).mean
    (1.0, 0.2)
    """

    numbers = 2 * MOST_CHANNELS

    mean: PositiveSchedule = (1.0, 1.0)
    log_sd: PositiveSchedule = (1.0, 1.0)

    def prepare(self, uniform: Tensor, progress: Tensor, canvas: Size, shown_size: Size) -> Tensor:
        """Return ``(lanes, steps, 8)``: four means, four standard deviations."""
        even = 2 * uniform - 1
        means = even[..., :MOST_CHANNELS] * between(self.mean, progress)[:, None]
        deviations = (even[..., MOST_CHANNELS:] * between(self.log_sd, progress)[:, None]).exp()
        return torch.cat((means, deviations), dim=-1)

    def apply(self, images: Tensor, values: Tensor, field: Tensor | None, shown_size: Size) -> Tensor:
        """Move and stretch each channel."""
        channels = images.shape[1]
        check_channels("color_shift", channels)
        means = values[:, :channels, None, None]
        deviations = values[:, MOST_CHANNELS : MOST_CHANNELS + channels, None, None]
        return (images - means) / deviations
