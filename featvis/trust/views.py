"""Views of a picture: how often, and at which sizes, a judge looks at it before it names a class."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from featvis.errors import UserError
from featvis.models.handle import ModelHandle
from featvis.trust.judging import Shown, class_layer, fit, image_of, read_classes
from featvis.trust.known import known_judge

PLAIN, EIGHT = 1, 8
_SCALES = (1.0, 256 / 227, 288 / 227)
"""The sides that a picture is shown at, over the judge's own: of SqueezeNet 227, 256 and 288 pixels."""
_CROP = 0.875


def views_of(judge: ModelHandle, asked: int | None = None) -> int:
    """Return how many views a judge has of each picture: those asked for, else what is known to suit it.

    A small network of another family, SqueezeNet, is asked eight times; whoever is not known, once.
    """
    if asked is not None:
        if asked not in (PLAIN, EIGHT):
            raise UserError(f"a judge has 1 view of a picture or 8, got {asked}")
        return asked
    known = known_judge(judge)
    return PLAIN if known is None else known.views


def logits(pictures: Sequence[Shown], judge: ModelHandle, views: int = PLAIN) -> Tensor:
    """Return a judge's logits ``(N, classes)`` for pictures.

    Of eight views their softmax is averaged: the whole picture at three sizes, the judge's own, 1.13 and
    1.27 times it, and the middle seven eighths of it at the judge's own, each also mirrored. What is returned
    has that mean as its softmax and, as its level, the mean of the views' own ``logsumexp``: for one view it
    is the logits themselves. A judge that takes one size is shown four views, two of them mirrored.
    """
    if views == PLAIN:
        class_layer(judge)
        return read_classes(fit(pictures, judge), judge)
    total, level, count = None, torch.zeros(len(pictures), 1, dtype=torch.float64), 0
    for images in _eight(pictures, judge):
        said = read_classes(images, judge).double()
        total = said.softmax(1) if total is None else total + said.softmax(1)
        level += said.logsumexp(1, keepdim=True)
        count += 1
    assert total is not None
    return ((total / count).log() + level / count).float()


def _eight(pictures: Sequence[Shown], judge: ModelHandle) -> Iterator[Tensor]:
    class_layer(judge)
    if judge.signal or judge.frames is not None:
        raise UserError(f"{judge.name} takes no images; it has 1 view of what it is shown")
    height, width = judge.input_size
    scales = _SCALES[:1] if judge.takes_one_size else _SCALES
    for scale in scales:
        images = fit(pictures, judge, (round(height * scale), round(width * scale)))
        yield from (images, images.flip(3))
    images = fit([_middle(image_of(picture)) for picture in pictures], judge)
    yield from (images, images.flip(3))


def _middle(image: Tensor) -> Tensor:
    height, width = (max(1, round(side * _CROP)) for side in image.shape[1:])
    top, left = (image.shape[1] - height) // 2, (image.shape[2] - width) // 2
    return image[:, top : top + height, left : left + width]
