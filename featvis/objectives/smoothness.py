"""Penalties that compare an image with its own blur: fine detail, and detail at the border."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from featvis.objectives.base import Objective
from featvis.objectives.shown import Activations
from featvis.spec.options import AtLeastOne
from featvis.spec.register import part


@part("blur")
class Blur(Objective):
    """Fine detail, to be subtracted, which is a blur at each step: ½ mean (x - blur₃(x))², blur₃ a constant.

    Lucid's blur-each-step; the kernel's edge is .5, its centre 1, normalised.
    """

    def score(self, activations: Activations, images: Tensor) -> Tensor:  # noqa: D102
        return (images - blurred(images, 3).detach()).square().flatten(1).mean(1) / 2

    def describe(self) -> str:  # noqa: D102
        return "blur()"


@part("boundary")
class Boundary(Objective):
    """Detail and contrast at the border of the canvas: mean (x - blur₅(x))² + .8 (x - .5)² there.

    Lucid's boundary complexity (Activation Atlas, Carter et al. 2019), blur₅ a constant.
    ``width`` is the border's in pixels; at most what leaves a pixel of the inside.
    """

    width: AtLeastOne = 20

    def score(self, activations: Activations, images: Tensor) -> Tensor:  # noqa: D102
        height, width = images.shape[2:]
        border = torch.ones((height, width), device=images.device)
        rows, columns = (min(self.width, max(0, (side - 1) // 2)) for side in (height, width))
        border[rows : height - rows, columns : width - columns] = 0
        rough = (images - blurred(images, 5).detach()).square() + 0.8 * (images - 0.5).square()
        # A canvas of one or two pixels has no inside and no border.
        share = border.sum().clamp(min=1) * images.shape[1]
        return (rough * border).flatten(1).sum(1) / share

    def describe(self) -> str:  # noqa: D102
        return f"boundary({self.width})"


def blurred(images: Tensor, width: int) -> Tensor:
    """Blur images by a kernel of ``width`` pixels, .5 but for 1 in the middle, normalised; edges repeated."""
    channels = images.shape[1]
    kernel = torch.full((width, width), 0.5, device=images.device)
    kernel[width // 2, width // 2] = 1
    weight = (kernel / kernel.sum()).expand(channels, 1, width, width).to(images.dtype)
    padded = functional.pad(images, (width // 2,) * 4, mode="replicate")
    return functional.conv2d(padded, weight, groups=channels)


def blur() -> Objective:
    """Fine detail of the images, to be subtracted (Lucid's blur at each step).

    >>> import featvis as fv, torch
    >>> fv.blur().score({}, torch.zeros(1, 3, 8, 8))
    tensor([0.])
    """
    return Blur()


def boundary(width: int = 20) -> Objective:
    """Detail at the images' border, to be subtracted (Lucid's boundary complexity).

    Args:
        width: of the border in pixels, from 1 up.

    Raises:
        RecipeError: a width below 1.

    >>> import featvis as fv, torch
    >>> fv.boundary(2).score({}, torch.zeros(1, 3, 8, 8))
    tensor([0.2000])
    """
    return Boundary(width=width)  # type: ignore[call-arg]
