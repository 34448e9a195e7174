"""Gaussian pixel noise whose strength may fall over the run."""

from __future__ import annotations

import torch
from torch import Tensor

from featvis.options import Positive, PositiveSchedule
from featvis.parts import part
from featvis.transforms.base import Size, Transform, between


@part("noise")
class Noise(Transform):
    """Add normal noise of standard deviation ``sd`` (in units of the image's range) to what is seen.

    Falling from strong to weak it makes early steps see large shapes only, so that whole objects
    come before their detail (FIELD 5.0: measured in this project). With ``power`` p the way from start
    to end is (1 - t)^p, t from 0 to 1 over the run: above 1 the noise falls early, and more steps are
    left for detail. Each picture has one field of noise, rolled by a drawn amount along both axes and
    given a drawn sign at every step.
    """

    numbers = 3

    sd: PositiveSchedule = (0.1, 0.1)
    power: Positive = 1.0

    def prepare(self, uniform: Tensor, progress: Tensor, canvas: Size, seen: Size) -> Tensor:
        """Return ``(lanes, steps, 3)``: rows and columns to roll by, signed standard deviation."""
        rows = (uniform[..., 0] * seen[0]).floor().clamp(max=seen[0] - 1)
        columns = (uniform[..., 1] * seen[1]).floor().clamp(max=seen[1] - 1)
        sign = torch.where(uniform[..., 2] < 0.5, -1.0, 1.0)
        gone = 1 - (1 - progress) ** self.power
        return torch.stack((rows, columns, sign * between(self.sd, gone)), dim=-1)

    def draw_field(self, generator: torch.Generator, channels: int, seen: Size) -> Tensor:
        """Draw one picture's noise ``(C, H, W)``, standard normal."""
        return torch.randn((channels, *seen), generator=generator)

    def apply(self, images: Tensor, values: Tensor, field: Tensor | None, seen: Size) -> Tensor:
        """Add each picture's rolled field."""
        assert field is not None
        return images + (_rolled if images.device.type == "cpu" else _rolled_by_index)(field, values)


def _rolled_by_index(field: Tensor, values: Tensor) -> Tensor:
    """Return each picture's field ``(B, C, H, W)`` rolled and scaled by ``values``, read on the device."""
    lanes, channels, height, width = field.shape
    device = field.device
    rows = (torch.arange(height, device=device) + values[:, :1].long()) % height
    columns = (torch.arange(width, device=device) + values[:, 1:2].long()) % width
    lane = torch.arange(lanes, device=device)[:, None, None, None]
    channel = torch.arange(channels, device=device)[None, :, None, None]
    return (
        field[lane, channel, rows[:, None, :, None], columns[:, None, None, :]]
        * values[:, 2, None, None, None]
    )


def _rolled(field: Tensor, values: Tensor) -> Tensor:
    """Do as :func:`_rolled_by_index`, in four blocks a picture.

    On a CPU that takes a fraction of the time; a GPU would have to wait for the amounts.
    """
    height, width = field.shape[2:]
    rolled = torch.empty_like(field)
    for lane, (row, column, strength) in enumerate(values.tolist()):
        down, right = height - int(row), width - int(column)
        for rows, to_rows in (
            (slice(int(row), None), slice(0, down)),
            (slice(0, int(row)), slice(down, None)),
        ):
            for columns, to_columns in (
                (slice(int(column), None), slice(0, right)),
                (slice(0, int(column)), slice(right, None)),
            ):
                part = field[lane, :, rows, columns]
                torch.mul(part, strength, out=rolled[lane, :, to_rows, to_columns])
    return rolled
