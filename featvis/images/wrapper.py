"""What surrounds or constrains another image space, whichever that is."""

from __future__ import annotations

import copy
from abc import abstractmethod
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor
from torch.nn import functional

from featvis.errors import RecipeError
from featvis.images.base import ImageSpace, Parameters
from featvis.spec import register

_Self = TypeVar("_Self", bound="Wrapper")

_HANDED_ON = ("fits", "starts_grey", "true_gradient", "any_size", "usual_rate", "smallest", "replayable")
"""What a wrapper says of itself as the inner space does."""

INNER = "inner."  # Before the names of the inner space's parameters


class Wrapper(ImageSpace):
    """An image space made of another one, ``inner``: its name, its table, or an image space.

    Wrappers nest. Each hands on canvas and channels, so that those of ``inner`` need not be given.
    """

    inner: Any
    prefixes: ClassVar[tuple[str, ...]] = (INNER,)
    """Before the names of the inner space's parameters, for each space that is made of it."""

    def __post_init__(self) -> None:
        self._set_within(self._built(self.channels))

    def _built(self, channels: int) -> ImageSpace:
        if isinstance(self.inner, ImageSpace):
            spec = register.describe(self.inner)
        elif hasattr(self.inner, "part_name"):
            raise RecipeError(f"{self.part_name}: inner is an image space, got {self.inner!r}")
        else:
            spec = {"name": self.inner} if isinstance(self.inner, str) else dict(self.inner)
        made: ImageSpace = register.make("images", spec, size=self.size, channels=channels)
        return made

    def _set_within(self, space: ImageSpace) -> None:
        object.__setattr__(self, "within", space)
        for flag in _HANDED_ON:
            object.__setattr__(self, flag, getattr(space, flag))
        held = frozenset(prefix + name for prefix in self.prefixes for name in space.held)
        object.__setattr__(self, "held", held)
        # What it adds itself cannot make pictures independent of each other again.
        object.__setattr__(self, "coupled", type(self).coupled or space.coupled)

    within: ImageSpace  # The inner space, on this canvas

    def fit(self, image: Tensor) -> Parameters:  # noqa: D102
        return self.begin(image, torch.Generator().manual_seed(0))

    def resized(self: _Self, size: tuple[int, int]) -> _Self:  # noqa: D102
        if size == self.size:
            return self
        changed = copy.copy(self)
        object.__setattr__(changed, "size", size)
        changed.__post_init__()
        return changed

    @property
    def image_channels(self) -> int:  # noqa: D102
        return self.within.image_channels

    @property
    def backdrop(self) -> tuple[float, float] | None:  # noqa: D102
        return self.within.backdrop


class Around(Wrapper):
    """A wrapper that keeps images near one of their own: the start image, or mid-grey without one.

    Parameters: the inner space's as ``inner.NAME``, and ``around``, ``(B, C, H, W)``, which is held.
    """

    def draw(self, generator: torch.Generator, spread: float = 1.0) -> Parameters:  # noqa: D102
        gray = torch.full((self.image_channels, *self.canvas), 0.5)
        return self._with(self.within.draw(generator, spread), gray)

    def begin(self, image: Tensor, generator: torch.Generator) -> Parameters:
        """Keep near ``image``; an inner space that cannot show it starts as it always does."""
        image = self.check_image(image)
        inner = self.within
        fitted = inner.begin(image, generator) if inner.fits else inner.draw(generator)
        return self._with(fitted, image)

    def grow(self, parameters: Parameters, larger: ImageSpace) -> Parameters:  # noqa: D102
        inner = larger.within if isinstance(larger, Around) else larger
        grown = self.within.grow(unprefixed(parameters, INNER), inner)
        around, canvas = parameters["around"], larger.canvas
        around = functional.interpolate(around, canvas, mode="bilinear", align_corners=False)
        return self._with(grown, around)

    def decode(self, parameters: Parameters) -> Tensor:  # noqa: D102
        around = hold(parameters["around"])
        return self.near(self.within.decode(unprefixed(parameters, INNER)), around)

    @abstractmethod
    def near(self, images: Tensor, around: Tensor) -> Tensor:
        """Return ``images`` brought to where they may be; ``around`` is given back bit for bit."""

    def _set_within(self, space: ImageSpace) -> None:
        super()._set_within(space)
        object.__setattr__(self, "fits", True)
        object.__setattr__(self, "held", self.held | {"around"})
        object.__setattr__(self, "any_size", False)  # what it keeps near has one size

    def _with(self, inner: Parameters, around: Tensor) -> Parameters:
        return {**prefixed(inner, INNER), "around": around}


def prefixed(parameters: Parameters, prefix: str) -> Parameters:
    """Return parameters with ``prefix`` before their names."""
    return {prefix + name: value for name, value in parameters.items()}


def unprefixed(parameters: Parameters, prefix: str) -> Parameters:
    """Return those parameters whose names begin with ``prefix``, without it."""
    return {name.removeprefix(prefix): value for name, value in parameters.items() if name.startswith(prefix)}


def hold(value: Tensor) -> Tensor:
    """Return ``value`` with a gradient of zero: every optimizer then leaves it bit for bit as it is."""
    held: Tensor = _Held.apply(value)
    return held


class _Held(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return torch.zeros_like(gradients[0])
