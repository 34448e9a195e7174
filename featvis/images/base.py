"""What every image space is: parameters without bounds, decoded into images in [0, 1]."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import torch
from torch import Tensor

from featvis.errors import CanvasError

_Space = TypeVar("_Space", bound="ImageSpace")

Parameters = dict[str, Tensor]
"""The learnable tensors of a batch of images, each with the lanes as its first axis."""


class ImageSpace(ABC):
    """A learnable parameterization of images ``(B, C, H, W)``, float in [0, 1].

    A space holds no parameters itself: :meth:`draw` and :meth:`fit` make those of one picture
    (without the batch axis), :meth:`decode` turns a batch of them into images. One of your own defines these
    three and is entered by :func:`featvis.part`.

    Args:
        size: (height, width) in pixels, or one number for a square; a run sets it to the recipe's.
        channels: of the images; a run sets it to the network's.

    Raises:
        RecipeError: an option is unknown, of the wrong type or out of range; when the space is made.

    >>> import featvis as fv
    >>> space = fv.PixelImage(size=(24, 32))
    >>> parameters = {name: value[None] for name, value in space.draw(torch.Generator()).items()}
    >>> space.decode(parameters).shape
    torch.Size([1, 3, 24, 32])
    """

    if TYPE_CHECKING:  # what a part takes is checked by `featvis.part`: type checkers cannot know it

        def __init__(self, **options: Any) -> None: ...

    size: tuple[int, int] | None
    channels: int
    part_name: ClassVar[str]
    fits: ClassVar[bool] = True
    """Whether :meth:`fit` reproduces any image; a space that cannot says so here."""
    starts_grey: ClassVar[bool] = True
    """Whether a start is near a uniform grey, and farther from it with a larger spread."""
    true_gradient: ClassVar[bool] = True
    """Whether parameters get the derivative of the images; a space that filters it says so here."""
    any_size: ClassVar[bool] = False
    """Whether the same parameters are an image at every size."""
    usual_rate: ClassVar[float] = 0.02
    """A learning rate of Adam that suits it."""
    smallest: ClassVar[int] = 1
    """The least that the longer side of a canvas may be."""
    coupled: ClassVar[bool] = False
    """Whether a picture depends on its batch-mates (by design, as in shared)."""
    replayable: ClassVar[bool] = True
    """Whether a GPU may record a step of it; one that waits for the device says here that it may not."""
    held: frozenset[str] = frozenset()
    """Names of parameters that are kept with the picture but not learned: their gradient is zero."""

    @property
    def image_channels(self) -> int:
        """How many channels its images have: the network's, and one more with alpha."""
        return self.channels

    @property
    def backdrop(self) -> tuple[float, float] | None:
        """Deviation and exponent of the random backgrounds that its last channel, alpha, lets through."""
        return None

    @property
    def canvas(self) -> tuple[int, int]:
        """(height, width) of the images."""
        if self.size is None:
            raise CanvasError(f"{type(self).__name__} has no size yet; give size=(height, width)")
        return self.size

    def resized(self: _Space, size: tuple[int, int]) -> _Space:
        """Return this space with another canvas, (height, width)."""
        if size == self.size:
            return self
        changed = copy.copy(self)
        object.__setattr__(changed, "size", size)
        return changed

    def grow(self, parameters: Parameters, larger: ImageSpace) -> Parameters:
        """Return a batch's parameters that show the same on ``larger``'s canvas; CanvasError if it cannot."""
        raise CanvasError(f"the image space {self.part_name!r} cannot grow its canvas; leave out stages")

    @abstractmethod
    def draw(self, generator: torch.Generator, spread: float = 1.0) -> Parameters:
        """Draw the parameters of one picture's start, near a uniform grey.

        Args:
            generator: the picture's own chance, on the CPU.
            spread: how many times wider than usual; later attempts at a dead unit start wider.
        """

    def fit(self, image: Tensor) -> Parameters:
        """Return the parameters whose image is ``image`` ``(C, H, W)``, to within half an 8-bit level.

        Raises:
            CanvasError: the image is of another size or range, or this space cannot show any image.
        """
        raise CanvasError(f"the image space {self.part_name!r} cannot start from an image")

    def begin(self, image: Tensor, generator: torch.Generator) -> Parameters:
        """As :meth:`fit`, with the picture's own chance for what the image does not settle."""
        return self.fit(image)

    @abstractmethod
    def decode(self, parameters: Parameters) -> Tensor:
        """Return the images ``(B, C, H, W)`` in [0, 1]; differentiable in every parameter."""

    def check_image(self, image: Tensor) -> Tensor:
        """Return ``image`` as float, or raise :class:`CanvasError` if it does not fit the canvas."""
        expected = (self.image_channels, *self.canvas)
        if tuple(image.shape) != expected:
            raise CanvasError(f"a start image of shape {expected} is expected, got {tuple(image.shape)}")
        if not torch.is_floating_point(image):
            raise CanvasError(f"a start image is float in [0, 1], got {image.dtype}")
        if not bool(((image >= 0) & (image <= 1)).all()):
            raise CanvasError("a start image has values in [0, 1]; this one goes beyond")
        return image.float()
