"""Norm ball: images never leave a ball round the start image."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from featvis.images.wrapper import Around
from featvis.spec.options import AtLeastOne, Inner, Positive, Size
from featvis.spec.register import part


@part("norm_ball")
class NormBallImage(Around):
    """Images that never leave a ball around the start image.

    x₀ + P(x - x₀), x the inner space's images, x₀ the start image or mid-grey, by ``norm``:

    - ``l2``: P(d) = d · min(1, r / ‖d‖₂), over all values of a picture: the nearest point of the ball. On
      the border the gradient has no part along d, so that a step goes round and not out.
    - ``linf``: P(d) = r · tanh(d / r), value by value: a projection would have no gradient outside.

    Both are done for each picture alone, wherever it is decoded: in every step and in what is saved.
    The inner space and the optimizer's state go on undisturbed. In 8 bits a value is within half a level
    of the ball's.

    Options: ``inner``, the space within; ``norm``; ``radius`` r in units of the image's range (8 levels are
    8 / 255).
    Parameters: ``inner.…`` and ``around``.

    >>> import featvis as fv
    >>> space, photo = fv.NormBallImage(size=(24, 32), norm="linf", radius=8 / 255), torch.rand(3, 24, 32)
    >>> start = {name: value[None] for name, value in space.begin(photo, torch.Generator()).items()}
    >>> bool(((space.decode(start) - photo).abs() <= 8 / 255).all())
    True
    """

    size: Size | None = None
    channels: AtLeastOne = 3
    inner: Inner = "fourier"
    norm: Literal["l2", "linf"] = "l2"
    radius: Positive = 5.0

    def near(self, images: Tensor, around: Tensor) -> Tensor:  # noqa: D102
        away = images - around
        if self.norm == "linf":
            return around + self.radius * torch.tanh(away / self.radius)
        # The clamp keeps the root's slope finite where there is no distance.
        length = away.square().flatten(1).sum(1).clamp(min=self.radius**2).sqrt()
        return around + away * (self.radius / length)[:, None, None, None]
