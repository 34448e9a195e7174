"""What a run ends with: 8-bit pictures scored as they are saved."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from featvis.models.handle import ModelHandle
from featvis.objectives.base import Objective
from featvis.objectives.shown import read
from featvis.spec.recipe import Recipe
from featvis.transforms.background import over
from featvis.transforms.base import Transform
from featvis.transforms.tile import Tile
from featvis.transforms.warp import Warp

TRACE = 64
"""The most scores of a run that a picture keeps."""


def trace_steps(steps: int) -> list[int]:
    """Return the steps whose scores a picture keeps: evenly spread, the first and the last among them.

    >>> trace_steps(4), len(trace_steps(500)), trace_steps(500)[-1]
    ([0, 1, 2, 3], 64, 499)
    """
    if steps <= TRACE:
        return list(range(steps))
    return [round(place * (steps - 1) / (TRACE - 1)) for place in range(TRACE)]


def score(
    model: ModelHandle,
    objective: Objective,
    levels: NDArray[np.uint8],
    recipe: Recipe,
    *,
    slopes: bool = True,
) -> tuple[list[float], list[float]]:
    """Score 8-bit pictures ``(lanes, C, H, W)`` as they are saved: no transforms, no penalties.

    Returns:
        The score of each, and the largest absolute derivative of it by any of its pixels; without ``slopes``
        0 for each.
    """
    images = (torch.from_numpy(levels).to(model.device).float() / 255).requires_grad_()
    seen = recipe.shown_size
    # What was climbed tile by tile is looked at in its middle, at its own resolution.
    tiled = any(spec["name"] == "tile" for spec in recipe.transforms)

    def shown(originals: Tensor) -> Tensor:
        # With alpha, a finished picture is looked at over mid-grey.
        laid = over(originals) if originals.shape[1] > model.channels else originals
        return shown_plainly(laid, seen, tiled=tiled)

    with (
        objective.opened(model.device, recipe.precision) as ready,
        model.tap(objective.layers, size=seen, precision=recipe.precision) as activations,
    ):
        scores = ready(read(ready, activations, images, shown), images)
        gradients = torch.zeros_like(scores)
        if slopes and scores.requires_grad:
            (gradient,) = torch.autograd.grad(scores.sum(), images, allow_unused=True)
            gradients = gradients if gradient is None else gradient.abs().flatten(1).amax(1)
    return scores.detach().tolist(), gradients.tolist()


def shown_plainly(images: Tensor, seen: tuple[int, int], *, tiled: bool = False) -> Tensor:
    """Return images ``(B, C, H, W)`` as the network is shown them at (height, width): without transforms.

    The whole canvas, or where it is ``tiled`` its middle.
    """
    canvas = (images.shape[2], images.shape[3])
    if seen == canvas:
        return images
    plain: Transform = Tile() if tiled else Warp()
    middle = torch.full((images.shape[0], 1, plain.numbers), 0.5)
    values = plain.prepare(middle, torch.zeros(1), canvas, seen)
    if tiled:
        values = values - torch.tensor(seen) // 2
    return plain.apply(images, values[:, 0].to(images.device), None, seen)


@contextmanager
def threads(count: int | None) -> Iterator[None]:
    """Compute with ``count`` CPU threads, and give back the number there was."""
    before = torch.get_num_threads()
    try:
        if count is not None and count != before:
            torch.set_num_threads(count)
        yield
    finally:
        if torch.get_num_threads() != before:
            torch.set_num_threads(before)
