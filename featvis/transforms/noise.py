"""Gaussian pixel noise whose strength may fall over the run."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from featvis.spec.options import Positive, PositiveSchedule
from featvis.spec.register import part
from featvis.transforms.base import Size, Transform, between


@part("noise")
class Noise(Transform):
    """Add normal noise of standard deviation ``sd`` (in units of the image's range) to what is seen.

    Falling from strong to weak it makes early steps see large shapes only, so that whole objects
    come before their detail (measured in this project). With ``power`` p the way from start
    to end is (1 - t)^p, t from 0 to 1 over the run: above 1 the noise falls early, and more steps are
    left for detail. Each picture has one field of noise, rolled by a drawn amount along both axes and
    given a drawn sign at every step.

    >>> import featvis as fv
    >>> noise, size = fv.Noise(sd=[0.5, 0.1]), (16, 16)
    >>> values = noise.prepare(torch.rand(1, 3, 3), torch.linspace(0, 1, 3), size, size)
    >>> [round(strength, 3) for strength in values[0, :, 2].abs().tolist()]
    [0.5, 0.3, 0.1]
    """

    numbers = 3

    sd: PositiveSchedule = (0.1, 0.1)
    power: Positive = 1.0

    def prepare(self, uniform: Tensor, progress: Tensor, canvas: Size, shown_size: Size) -> Tensor:
        """Return ``(lanes, steps, 3)``: rows and columns to roll by, signed standard deviation."""
        rows = (uniform[..., 0] * shown_size[0]).floor().clamp(max=shown_size[0] - 1)
        columns = (uniform[..., 1] * shown_size[1]).floor().clamp(max=shown_size[1] - 1)
        sign = torch.where(uniform[..., 2] < 0.5, -1.0, 1.0)
        gone = 1 - (1 - progress) ** self.power
        return torch.stack((rows, columns, sign * between(self.sd, gone)), dim=-1)

    def draw_field(self, generator: torch.Generator, channels: int, shown_size: Size) -> Tensor:
        """Draw one picture's noise ``(C, H, W)``, standard normal."""
        return torch.randn((channels, *shown_size), generator=generator)

    def keep_fields(self, fields: Tensor) -> Tensor:
        """On a CPU, tile each field twice both ways: a rolled field is then a window of it."""
        return fields.repeat(1, 1, 2, 2) if fields.device.type == "cpu" else fields

    def apply(self, images: Tensor, values: Tensor, field: Tensor | None, shown_size: Size) -> Tensor:
        """Add each picture's rolled field."""
        assert field is not None
        if images.device.type == "cpu":
            shown: Tensor = _WithWindow.apply(images, field, values)
            return shown
        return images + _rolled(field, values)


def _rolled(field: Tensor, values: Tensor) -> Tensor:
    """Return each picture's field ``(B, C, H, W)`` rolled and scaled by ``values``, read on the device."""
    lanes, channels, height, width = field.shape
    device = field.device
    rows = (torch.arange(height, device=device) + values[:, :1].long()) % height
    columns = (torch.arange(width, device=device) + values[:, 1:2].long()) % width
    lane = torch.arange(lanes, device=device)[:, None, None, None]
    channel = torch.arange(channels, device=device)[None, :, None, None]
    rolled = field[lane, channel, rows[:, None, :, None], columns[:, None, None, :]]
    return rolled * values[:, 2, None, None, None]


class _WithWindow(torch.autograd.Function):
    """Adds a window of each picture's tiled field ``(B, C, 2 H, 2 W)``: the same sum as with :func:`_rolled`.

    On a CPU in a fraction of the time; a GPU would have to wait for the amounts.
    """

    @staticmethod
    def forward(ctx: Any, images: Tensor, field: Tensor, values: Tensor) -> Tensor:
        height, width = images.shape[2:]
        shown = torch.empty_like(images)
        for lane, (row, column, strength) in enumerate(values.tolist()):
            window = field[lane, :, int(row) : int(row) + height, int(column) : int(column) + width]
            torch.add(images[lane], window, alpha=strength, out=shown[lane])
        return shown

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return gradients[0], None, None
