"""The transforms of a run in their order, with every picture's draws ready."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from featvis import draws
from featvis.transforms.background import Background
from featvis.transforms.base import Size, Transform
from featvis.transforms.warp import Warp


def with_background(transforms: Sequence[Transform], backdrop: tuple[float, float] | None) -> list[Transform]:
    """Put random backgrounds of this deviation and exponent before a run's transforms; None for no alpha."""
    return [*transforms] if backdrop is None else [Background(*backdrop), *transforms]


def check_transforms(transforms: Sequence[Transform], canvas: Size, shown_size: Size) -> None:
    """Raise CanvasError for a transform that cannot change what it is given, before a run."""
    for transform, (before, after) in zip(transforms, sizes_of(transforms, canvas, shown_size), strict=True):
        transform.check(before, after)


def sizes_of(transforms: Sequence[Transform], canvas: Size, shown_size: Size) -> list[tuple[Size, Size]]:
    """Return (height, width) before and after each transform: the shown size from the first that resizes on.

    Where none resizes and the sizes differ, a plain resample goes before them all.
    """
    sizes = []
    if not any(transform.resizes for transform in transforms):
        canvas = shown_size
    for transform in transforms:
        after = shown_size if transform.resizes else canvas
        sizes.append((canvas, after))
        canvas = after
    return sizes


class Chain:
    """Transforms applied one after another; call it with images ``(B, C, H, W)`` and a step's number."""

    def __init__(
        self,
        transforms: Sequence[Transform],
        streams: Sequence[Callable[[str], torch.Generator]],
        *,
        steps: int,
        channels: int,
        canvas: Size,
        shown_size: Size,
        device: torch.device,
    ) -> None:
        """Draw everything that the run will need; ``streams`` give each lane's generator for a purpose."""
        self.shown_size = shown_size
        self.transforms = list(transforms)
        if canvas != shown_size and not any(transform.resizes for transform in self.transforms):
            self.transforms.insert(0, Warp())
        self._steps, self._channels, self._canvas, self._device = steps, channels, canvas, device
        self._lanes = len(streams)
        self.copies = math.prod(transform.copies() for transform in self.transforms)
        """How many images of each picture the network is shown; copy k of lane b is number k * lanes + b."""
        self._values, self._fields = self._draw(streams)

    def score(
        self,
        objective: Callable[[Mapping[str, Tensor], Tensor], Tensor],
        activations: Mapping[str, Tensor],
        images: Tensor,
    ) -> Tensor:
        """Return each picture's score ``(B,)``: the mean over what the network saw of it.

        ``activations`` are of all copies, ``copies * B``; ``images`` ``(B, C, H, W)`` before the transforms.
        """
        if self.copies == 1:
            return objective(activations, images)
        parts = {name: values.chunk(self.copies) for name, values in activations.items()}
        copies = [{name: part[copy] for name, part in parts.items()} for copy in range(self.copies)]
        return torch.stack([objective(copy, images) for copy in copies]).mean(0)

    def redraw(self, lane: int, stream: Callable[[str], torch.Generator]) -> None:
        """Give a lane to another picture, with that picture's own draws."""
        values, fields = self._draw([stream])
        # The copies of a picture lie a whole batch of lanes apart.
        for values_of_all, new in zip(self._values, values, strict=True):
            values_of_all[lane :: self._lanes] = new
        for field, drawn in zip(self._fields, fields, strict=True):
            if field is not None and drawn is not None:
                field[lane :: self._lanes] = drawn

    def _draw(
        self, streams: Sequence[Callable[[str], torch.Generator]]
    ) -> tuple[list[Tensor], list[Tensor | None]]:
        """Each transform's values ``(lanes, steps, m)`` and fields."""
        steps, device = self._steps, self._device
        progress = torch.linspace(0, 1, steps) if steps > 1 else torch.zeros(1)
        every_value: list[Tensor] = []
        every_field: list[Tensor | None] = []
        sizes = sizes_of(self.transforms, self._canvas, self.shown_size)
        for place, (transform, (before, after)) in enumerate(zip(self.transforms, sizes, strict=True)):
            if (count := transform.copies()) > 1:
                copies = [f"{place}.{copy}" for copy in range(count)]
                streams = [_of_copy(stream, copy) for copy in copies for stream in streams]
            purpose, count = f"{place} {transform.part_name}", transform.numbers
            numbers = torch.stack([draws.uniform(stream(purpose), steps, count) for stream in streams])
            every_value.append(transform.prepare(numbers, progress, before, after).to(device))
            own = [stream(purpose + " field") for stream in streams]
            fields = [transform.draw_field(generator, self._channels, after) for generator in own]
            drawn = [field for field in fields if field is not None]
            every_field.append(transform.keep_fields(torch.stack(drawn).to(device)) if drawn else None)
        return every_value, every_field

    def __call__(self, images: Tensor, step: int | Tensor) -> Tensor:
        """Return the images that the network is shown at this step, ``(copies * B, C, *shown_size)``.

        ``step`` is a number, or a tensor on the device, ``(1,)`` or one for each lane, which is read there.
        """
        for transform, values, field in zip(self.transforms, self._values, self._fields, strict=True):
            size = self.shown_size if transform.resizes else (images.shape[2], images.shape[3])
            if transform.copies() > 1:
                images = images.repeat(transform.copies(), 1, 1, 1)
            now = values[:, step] if isinstance(step, int) else _at(values, step)
            images = transform.apply(images, now, field, size)
        return images


def _of_copy(stream: Callable[[str], torch.Generator], copy: str) -> Callable[[str], torch.Generator]:
    return lambda purpose: stream(f"copy {copy} {purpose}")


def _at(values: Tensor, steps: Tensor) -> Tensor:
    """Return each lane's values ``(lanes, m)`` at its own step."""
    lanes, _, numbers = values.shape
    if steps.numel() > 1:
        steps = steps.repeat(lanes // steps.numel())
    return values.gather(1, steps.view(-1, 1, 1).expand(lanes, 1, numbers)).squeeze(1)
