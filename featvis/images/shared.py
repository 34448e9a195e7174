"""Shared: pictures that have small images in common, so that what they show lies in the same place."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from featvis.errors import RecipeError
from featvis.images.base import ImageSpace, Parameters
from featvis.images.color import color_matrix
from featvis.images.levels import raise_level, resizing
from featvis.images.wrapper import INNER, Wrapper, prefixed, unprefixed
from featvis.spec.options import AtLeastOne, Inner, Positive, Size
from featvis.spec.register import part
from featvis.squash import squash

EDGE = 1e-6
"""The inner images are kept so far from 0 and 1 before the logit: far below an 8-bit level."""


@part("shared")
class SharedImage(Wrapper):
    """Pictures that have small images in common and so are aligned (Lucid; Mordvintsev et al. 2018).

    sigmoid(logit(x) + C · Σ up(S)), x each picture's own image, every S a small image of all.

    The pictures of a set are then aligned: a shared image moves by the sum of what the pictures want of it.
    (n, d) in ``scales`` is a shared image with a side of 1/d of the canvas; of n > 1 images that are shared,
    each picture has its mixture, linear along the lanes (Lucid's "aligned interpolation"). Pictures of this
    space are rendered together: all targets and seeds of one call are a set, of its own name.

    Options: ``inner``, of what is a picture's own; ``scales``; ``deviation`` of the shared images' start;
    ``decorrelate`` their colours.
    Parameters: ``inner.…``, and ``shared0`` …, ``(B, n, C, h, w)``. Every lane has a copy, and all copies get
    the same gradient; what is shown is their mean.

    >>> import featvis as fv
    >>> space = fv.SharedImage(size=(24, 32), inner="pixel", scales=[[1, 4], [2, 8]])
    >>> [tuple(value.shape) for value in space.draw(torch.Generator()).values()]
    [(3, 24, 32), (1, 3, 6, 8), (2, 3, 3, 4)]
    """

    coupled = True

    size: Size | None = None
    channels: AtLeastOne = 3
    inner: Inner = "fourier"
    scales: tuple[tuple[AtLeastOne, AtLeastOne], ...] = ((1, 2), (1, 4), (1, 8), (2, 8), (1, 16), (2, 16))
    deviation: Positive = 0.01
    decorrelate: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.scales:
            raise RecipeError("shared: scales names at least one (number, divisor), for instance [[1, 4]]")
        if isinstance(self.within, Wrapper):
            name = self.within.part_name
            hint = "once is enough" if name == "shared" else f"put it into that: {name} with inner shared"
            raise RecipeError(f"shared: what is shared would go past {name!r}; {hint}")

    def _shapes(self) -> list[tuple[int, ...]]:
        """The shape of one picture's copy of each shared image."""
        return [
            (number, self.channels, *(max(1, round(side / divisor)) for side in self.canvas))
            for number, divisor in self.scales
        ]

    def draw(self, generator: torch.Generator, spread: float = 1.0) -> Parameters:  # noqa: D102
        own = prefixed(self.within.draw(generator, spread), INNER)
        deviation = self.deviation * spread
        return own | {
            f"shared{place}": torch.randn(shape, generator=generator) * deviation
            for place, shape in enumerate(self._shapes())
        }

    def begin(self, image: Tensor, generator: torch.Generator) -> Parameters:
        """Put the image into what is the picture's own; nothing is shared yet."""
        own = prefixed(self.within.begin(image, generator), INNER)
        return own | {f"shared{place}": torch.zeros(shape) for place, shape in enumerate(self._shapes())}

    def grow(self, parameters: Parameters, larger: ImageSpace) -> Parameters:  # noqa: D102
        assert isinstance(larger, SharedImage)
        grown = prefixed(self.within.grow(unprefixed(parameters, INNER), larger.within), INNER)
        for place, (_, _, height, width) in enumerate(larger._shapes()):
            grown[f"shared{place}"] = raise_level(parameters[f"shared{place}"], (height, width), "bilinear")
        return grown

    def decode(self, parameters: Parameters) -> Tensor:  # noqa: D102
        own = torch.logit(self.within.decode(unprefixed(parameters, INNER)), eps=EDGE)
        shared = torch.zeros_like(own)
        for place in range(len(self.scales)):
            value: Tensor = _InCommon.apply(parameters[f"shared{place}"])
            raised = raise_level(value, self.canvas, "bilinear")
            along = resizing(len(own), len(value), "bilinear", own.device)
            shared = shared + torch.tensordot(along, raised, 1)
        matrix = color_matrix(self.channels, self.decorrelate, own.device)
        if matrix is not None:
            shared = torch.matmul(matrix, shared.flatten(2)).view(shared.shape)
        return squash(own + shared)


class _InCommon(torch.autograd.Function):
    """The mean of the lanes' copies; each copy gets the whole gradient, so that all move alike."""

    @staticmethod
    def forward(ctx: Any, copies: Tensor) -> Tensor:
        ctx.lanes = copies.shape[0]
        return copies.mean(0)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return gradients[0].expand(ctx.lanes, *gradients[0].shape).contiguous()
