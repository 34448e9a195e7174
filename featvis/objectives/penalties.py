"""Penalties on the images themselves, whatever the network: subtract them, or list them in a recipe.

Those of distances are means over pixels and channels, so that a weight means the same at every canvas.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional

from featvis.objectives.base import Objective, number
from featvis.objectives.shown import Activations
from featvis.spec import register
from featvis.spec.options import AtLeastOne, AtLeastTwo, Positive
from featvis.spec.register import part


class Penalty(Objective):
    """A measure of the images that reads no layer; its description is its name with its options."""

    def describe(self) -> str:  # noqa: D102
        name, *options = register.describe(self).values()
        return f"{name}({', '.join(number(value) for value in options)})"


@part("total_variation")
class TotalVariation(Penalty):
    """How much neighbouring pixels differ, mean |Δ rows| + mean |Δ columns|."""

    def score(self, activations: Activations, images: Tensor) -> Tensor:  # noqa: D102
        rows = (images[:, :, 1:] - images[:, :, :-1]).abs().flatten(1)
        columns = (images[:, :, :, 1:] - images[:, :, :, :-1]).abs().flatten(1)
        total = images.new_zeros(images.shape[0])
        # A canvas one pixel wide has no neighbours along that axis.
        for differences in (rows, columns):
            if differences.shape[1]:
                total = total + differences.mean(1)
        return total


@part("l1")
class L1(Penalty):
    """Distance from mid-grey, the mean |x - .5| of each image."""

    def score(self, activations: Activations, images: Tensor) -> Tensor:  # noqa: D102
        return (images - 0.5).abs().flatten(1).mean(1)


@part("l2")
class L2(Penalty):
    """Distance from mid-grey, √(1e-6 + mean (x - .5)²) of each image."""

    def score(self, activations: Activations, images: Tensor) -> Tensor:  # noqa: D102
        return ((images - 0.5).square().flatten(1).mean(1) + 1e-6).sqrt()


@part("lp")
class Lp(Penalty):
    """Distance from mid-grey that weighs far pixels more: ½ (1e-6 + mean |2(x - .5)|ᵖ)^(1/p) of each image.

    ``p`` is 6 in Mahendran and Vedaldi 2015.
    """

    p: AtLeastTwo = 6

    def score(self, activations: Activations, images: Tensor) -> Tensor:  # noqa: D102
        # The distance is at most .5: its powers are taken of twice it, for .5⁶ is little beside 1e-6.
        powers = (2 * (images - 0.5)).abs() ** self.p
        return (powers.flatten(1).mean(1) + 1e-6) ** (1 / self.p) / 2


@part("linf")
class LInf(Penalty):
    """Distance from mid-grey of the pixel that is farthest from it: max |x - .5| of each image."""

    def score(self, activations: Activations, images: Tensor) -> Tensor:  # noqa: D102
        return (images - 0.5).abs().flatten(1).amax(1)


@part("contrast")
class Contrast(Penalty):
    """How far an image's contrast c exceeds a photograph's: max(0, c / ``limit`` - 1).

    c = √(1e-6 + mean (x - m)²) over pixels and channels, m the channel's own mean over the image: the root
    mean square contrast. Ascent drives pixels to black and white; a picture below the limit is left alone.
    """

    limit: Positive = 0.2
    """In units of the image's range; photographs of everyday things have .1 to .3."""

    def score(self, activations: Activations, images: Tensor) -> Tensor:  # noqa: D102
        # Two sums: torch.var over the pixels of a channels_last tensor is many times slower.
        mean, square = images.mean((2, 3)), images.square().mean((2, 3))
        spread = (square - mean.square()).clamp(min=0).mean(1)
        return ((spread + 1e-6).sqrt() / self.limit - 1).clamp(min=0)


@part("local_contrast")
class LocalContrast(Penalty):
    """How far contrasts c within an image's blocks exceed a photograph's: mean of max(0, c / ``limit`` - 1).

    c = √(1e-6 + var(g)) of each block of ``size`` x ``size`` pixels, g the mean of the channels; blocks lie
    half a block apart. Ascent puts its contrast into glowing outlines and leaves the rest grey: of blocks of
    16 pixels one in twenty has more than .21 in photographs of 224, more than .25 in pictures. Held to less,
    contrast goes into larger shapes, which :class:`Contrast` leaves free.
    """

    limit: Positive = 0.2
    """In units of the image's range."""
    size: AtLeastTwo = 16

    def score(self, activations: Activations, images: Tensor) -> Tensor:  # noqa: D102
        gray = images.mean(1, keepdim=True)
        height, width = (min(self.size, side) for side in gray.shape[2:])
        apart = max(1, height // 2), max(1, width // 2)
        mean, square = (functional.avg_pool2d(one, (height, width), apart) for one in (gray, gray.square()))
        contrasts = ((square - mean.square()).clamp(min=0) + 1e-6).sqrt()
        return (contrasts / self.limit - 1).clamp(min=0).mean((1, 2, 3))


@part("colorfulness")
class Colorfulness(Penalty):
    """How far an image's colours c exceed a photograph's: max(0, c / ``limit`` - 1).

    c = √(1e-6 + var(r - g) + var(½(r + g) - b)) + .3 √(1e-6 + mean(r - g)² + mean(½(r + g) - b)²) over the
    pixels (Hasler and Süsstrunk 2003). Ascent paints what it finds in every colour at once. Where an image
    has fewer than three channels there is no colour; those after the third are left out.
    """

    limit: Positive = 0.16
    """In units of the image's range; photographs of everyday things have .06 to .28, .16 in the mean."""

    def score(self, activations: Activations, images: Tensor) -> Tensor:  # noqa: D102
        if images.shape[1] < 3:
            return images.new_zeros(images.shape[0])
        red, green, blue = images[:, 0], images[:, 1], images[:, 2]
        apart = torch.stack([red - green, (red + green) / 2 - blue], 1)
        mean = apart.mean((2, 3))
        spread = (apart.square().mean((2, 3)) - mean.square()).clamp(min=0).sum(1)
        colors = (spread + 1e-6).sqrt() + 0.3 * (mean.square().sum(1) + 1e-6).sqrt()
        return (colors / self.limit - 1).clamp(min=0)


@part("alpha")
class Opacity(Penalty):
    """How opaque an image of the space ``alpha`` is: the mean of its last channel.

    Subtracted, and not a factor of the score: a factor 1 - mean α would reward opacity where the score
    is negative. Of each picture alone: a mean over a batch would couple its pictures.
    """

    def score(self, activations: Activations, images: Tensor) -> Tensor:  # noqa: D102
        return images[:, -1].flatten(1).mean(1)


@part("blur")
class Blur(Penalty):
    """Fine detail, to be subtracted, which is a blur at each step: ½ mean (x - blur₃(x))², blur₃ a constant.

    Lucid's blur-each-step; the kernel's edge is .5, its centre 1, normalised.
    """

    def score(self, activations: Activations, images: Tensor) -> Tensor:  # noqa: D102
        return (images - blurred(images, 3).detach()).square().flatten(1).mean(1) / 2


@part("boundary")
class Boundary(Penalty):
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


def total_variation() -> Objective:
    """Total variation of the images, to be subtracted: mean |Δ rows| + mean |Δ columns|.

    >>> import featvis as fv, torch
    >>> fv.total_variation().score({}, torch.ones(1, 3, 8, 8))
    tensor([0.])
    """
    return TotalVariation()


def l1() -> Objective:
    """Mean distance of the images from mid-grey, to be subtracted.

    >>> import featvis as fv, torch
    >>> fv.l1().score({}, torch.ones(1, 3, 8, 8))
    tensor([0.5000])
    """
    return L1()


def l2() -> Objective:
    """Root mean square distance of the images from mid-grey, to be subtracted.

    >>> import featvis as fv, torch
    >>> fv.l2().score({}, torch.ones(1, 3, 8, 8))
    tensor([0.5000])
    """
    return L2()


def lp(p: int = 6) -> Objective:
    """Lᵖ distance of the images from mid-grey, a mean over pixels and channels, to be subtracted.

    Args:
        p: from 2 up (Mahendran and Vedaldi 2015 take 6).

    Raises:
        RecipeError: a smaller p.

    >>> import featvis as fv, torch
    >>> fv.lp(4).score({}, torch.ones(1, 3, 8, 8))
    tensor([0.5000])
    """
    return Lp(p=p)  # type: ignore[call-arg]


def linf() -> Objective:
    """Distance of the pixel that is farthest from mid-grey, to be subtracted.

    >>> import featvis as fv, torch
    >>> fv.linf().score({}, torch.ones(1, 3, 8, 8))
    tensor([0.5000])
    """
    return LInf()


def contrast(limit: float = 0.2) -> Objective:
    """Contrast c beyond ``limit``, to be subtracted: max(0, c / limit - 1).

    Args:
        limit: above 0; the root mean square deviation from each channel's mean, of images in [0, 1].

    Raises:
        RecipeError: a limit that is not above 0.

    >>> import featvis as fv, torch
    >>> fv.contrast(0.2).score({}, torch.rand(1, 3, 8, 8)) > 0
    tensor([True])
    """
    return Contrast(limit=limit)  # type: ignore[call-arg]


def local_contrast(limit: float = 0.2, size: int = 16) -> Objective:
    """Contrasts within blocks beyond ``limit``, to be subtracted: the mean of max(0, c / limit - 1).

    Args:
        limit: above 0; the root mean square deviation of a block's grey values, of images in [0, 1].
        size: of a block's sides, in pixels, at least 2; at most the image's.

    Raises:
        RecipeError: a limit that is not above 0, a size below 2.

    >>> import featvis as fv, torch
    >>> fv.local_contrast(0.1).score({}, torch.rand(1, 3, 24, 33)) > 0
    tensor([True])
    """
    return LocalContrast(limit=limit, size=size)  # type: ignore[call-arg]


def colorfulness(limit: float = 0.16) -> Objective:
    """Colourfulness c (Hasler and Süsstrunk 2003) beyond ``limit``, to be subtracted: max(0, c / limit - 1).

    Args:
        limit: above 0; photographs of everyday things have .06 to .28.

    Raises:
        RecipeError: a limit that is not above 0.

    >>> import featvis as fv, torch
    >>> fv.colorfulness().score({}, torch.rand(1, 1, 8, 8).expand(1, 3, 8, 8))
    tensor([0.])
    """
    return Colorfulness(limit=limit)  # type: ignore[call-arg]


@lru_cache(maxsize=16)
def _kernel(width: int, device: torch.device) -> Tensor:
    """Made once: written anew at each step, its middle would be copied to the device each time."""
    with torch.inference_mode(False):  # it is kept, and a later run climbs through it
        kernel = torch.full((width, width), 0.5)
        kernel[width // 2, width // 2] = 1
        return (kernel / kernel.sum()).to(device)


def blurred(images: Tensor, width: int) -> Tensor:
    """Blur images by a kernel of ``width`` pixels, .5 but for 1 in the middle, normalised; edges repeated."""
    channels = images.shape[1]
    weight = _kernel(width, images.device).expand(channels, 1, width, width).to(images.dtype)
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
