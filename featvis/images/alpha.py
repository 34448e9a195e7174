"""Alpha: how opaque each pixel is, optimized with its colour."""

from __future__ import annotations

import torch
from torch import Tensor

from featvis.errors import RecipeError
from featvis.images.base import ImageSpace, Parameters
from featvis.images.wrapper import Wrapper, prefixed, unprefixed
from featvis.spec.options import AtLeastOne, Inner, NonNegative, Positive, Size
from featvis.spec.register import part


@part("alpha")
class AlphaImage(Wrapper):
    """Images whose opacity α is a channel of its own, optimized over random backgrounds (Lucid).

    The network is shown α · x + (1 - α) · background; the background is a smooth random one,
    another at every step of every picture (:class:`featvis.transforms.background.Background`). What does
    not matter to the unit is better left transparent only if opacity costs: subtract the penalty
    ``alpha``, the mean of α. Scores of finished pictures are those over mid-grey.

    Options: ``inner``, the space of the colours (three channels or the network's) and, with one channel, of
    α; ``background_deviation``, how strong the backgrounds are before their sigmoid;
    ``background_exponent``, by which power of the frequency their waves fall.
    Parameters: ``color.…`` and ``alpha.…``, each the inner space's.

    >>> import featvis as fv
    >>> space = fv.AlphaImage(size=(24, 32), inner="pixel")
    >>> space.image_channels, sorted(space.draw(torch.Generator()))
    (4, ['alpha.pixels', 'color.pixels'])
    """

    prefixes = ("color.", "alpha.")

    size: Size | None = None
    channels: AtLeastOne = 3
    inner: Inner = "fourier"
    background_deviation: NonNegative = 1.0
    background_exponent: Positive = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.within.backdrop is not None:
            raise RecipeError("alpha: the inner image space has an alpha channel already")
        object.__setattr__(self, "_alpha", self._built(1))

    @property
    def _opacity(self) -> ImageSpace:
        """The space of alpha."""
        made: ImageSpace = self.__dict__["_alpha"]
        return made

    @property
    def image_channels(self) -> int:
        """The network's and α."""
        return self.channels + 1

    @property
    def backdrop(self) -> tuple[float, float] | None:
        """Deviation and exponent of the backgrounds."""
        return self.background_deviation, self.background_exponent

    def draw(self, generator: torch.Generator, spread: float = 1.0) -> Parameters:  # noqa: D102
        return _both(self.within.draw(generator, spread), self._opacity.draw(generator, spread))

    def begin(self, image: Tensor, generator: torch.Generator) -> Parameters:
        """Start from an image with alpha, or from one without, then half transparent."""
        if image.shape[0] == self.channels and image.dim() == 3:
            image = torch.cat([image, torch.full_like(image[:1], 0.5)])
        image = self.check_image(image)
        color = self.within.begin(image[:-1], generator)
        return _both(color, self._opacity.begin(image[-1:], generator))

    def grow(self, parameters: Parameters, larger: ImageSpace) -> Parameters:  # noqa: D102
        assert isinstance(larger, AlphaImage)
        color = self.within.grow(unprefixed(parameters, "color."), larger.within)
        return _both(color, self._opacity.grow(unprefixed(parameters, "alpha."), larger._opacity))

    def decode(self, parameters: Parameters) -> Tensor:  # noqa: D102
        color = self.within.decode(unprefixed(parameters, "color."))
        return torch.cat([color, self._opacity.decode(unprefixed(parameters, "alpha."))], 1)


def _both(color: Parameters, alpha: Parameters) -> Parameters:
    return {**prefixed(color, "color."), **prefixed(alpha, "alpha.")}
