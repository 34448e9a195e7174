"""A penalty on contrast beyond that of photographs."""

from __future__ import annotations

from torch import Tensor

from featvis.objectives.base import Objective, number
from featvis.objectives.shown import Activations
from featvis.spec.options import Positive
from featvis.spec.register import make, part


@part("contrast")
class Contrast(Objective):
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

    def describe(self) -> str:  # noqa: D102
        return f"contrast({number(self.limit)})"


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
    made: Objective = make("objectives", {"name": "contrast", "limit": limit})
    return made
