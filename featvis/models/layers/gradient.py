"""Whether a gradient of what a layer gives reaches the image."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from featvis.models.reason import reason_of

Size = tuple[int, int]


def lacks_gradient(
    activations: Callable[[Tensor], Mapping[str, Tensor]], channels: int, size: Size, device: torch.device
) -> tuple[str, Tensor | None]:
    """Return why no gradient of a layer reaches the image, empty if one does; and that gradient.

    A gradient that is exactly zero, though the layer tells one image from another, is none: it rounds. One
    of a layer that gives the same for both is a dead unit's, which may be woken.
    """
    generator = torch.Generator().manual_seed(0)
    images = torch.rand((2, 1, channels, *size), generator=generator).to(device)
    with torch.inference_mode(False), torch.enable_grad():
        leaf = images[0].clone().requires_grad_()
        given = activations(leaf)
        for name, values in given.items():
            if not values.requires_grad:
                return f"no gradient reaches the image from layer {name!r}", None
        weights = [torch.rand(values.shape, generator=generator).to(values) for values in given.values()]
        sums = [(values * one).sum() for values, one in zip(given.values(), weights, strict=True)]
        total = torch.stack(sums).sum()
        try:
            (slope,) = torch.autograd.grad(total, leaf, allow_unused=True)
        except Exception as error:
            return f"no gradient reaches the image from layer {', '.join(given)} ({reason_of(error)})", None
        if slope is None:
            return f"no gradient reaches the image from layer {', '.join(given)}", None
        if bool(slope.any()):  # one that is not a number is told of elsewhere
            return "", slope
        with torch.no_grad():
            other = activations(images[1])
        for name, values in given.items():
            if not torch.equal(other[name], values.detach()):
                why = f"no gradient reaches the image from layer {name!r}, though it changes with the image"
                return why, None
    return "", None
