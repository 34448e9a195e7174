"""Maximum differentiation: an image that one network answers to as before, another ever more, or less.

Wang and Simoncelli 2008, "Maximum differentiation (MAD) competition": of two networks that answer alike to
photographs, an image is made that tells them apart. Each step goes along the slope of the score that is
driven, less its part along the slope of the score that is held; then back to the level that is held.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from featvis.attribution.attribute import photo_levels
from featvis.attribution.result import png
from featvis.attribution.scoring import Score, find_target, scored
from featvis.errors import ModelError, RecipeError
from featvis.models.borrow.loan import with_gradients
from featvis.models.handle import ModelHandle
from featvis.models.photograph import Photograph
from featvis.plan.make import AnyTarget
from featvis.results.picture import to_levels
from featvis.results.sheets import make_sheet
from featvis.spec.same import SameByValue

_BACK = 4
"""Newton steps by which the held score is brought back after each step."""


@dataclass(frozen=True, eq=False)
class Driven(SameByValue):
    """An image that was driven, and both scores on the way, the first being the start's."""

    image: Tensor
    """``(C, H, W)`` in [0, 1], 8-bit levels over 255."""
    held: tuple[float, ...]
    driven: tuple[float, ...]


@dataclass(frozen=True, repr=False, eq=False)
class Differentiation(SameByValue):
    """What :func:`featvis.differentiate` found: two images, equal to one network and not to another.

    >>> grey = torch.full((3, 2, 2), 0.5)
    >>> up, down = Driven(grey, (1.0, 1.0), (2.0, 5.0)), Driven(grey, (1.0, 1.0), (2.0, -1.0))
    >>> Differentiation("a fc:0", "b fc:0", grey, up, down).range
    6.0
    """

    held_by: str
    driven_of: str
    start: Tensor
    up: Driven
    down: Driven

    @property
    def range(self) -> float:
        """How far the driven score of the two images lies apart."""
        return self.up.driven[-1] - self.down.driven[-1]

    @property
    def slack(self) -> float:
        """How far the held score of either image is from the start's."""
        return max(abs(one.held[-1] - one.held[0]) for one in (self.up, self.down))

    def sheet(self) -> Image.Image:
        """Return the start and both images side by side, with their scores."""
        told = (("start", self.start, 0, self.up), ("up", self.up.image, -1, self.up))
        tiles, captions = [], []
        for name, image, place, one in (*told, ("down", self.down.image, -1, self.down)):
            levels = to_levels(image)
            shown = levels.transpose(1, 2, 0) if len(levels) == 3 else levels[0]
            tiles.append(Image.fromarray(np.ascontiguousarray(shown)))
            captions.append((name, f"held {one.held[place]:.3g}", f"driven {one.driven[place]:.3g}"))
        return make_sheet(tiles, captions, 3, title=f"held: {self.held_by}   driven: {self.driven_of}")

    def __repr__(self) -> str:
        low, high = self.down.driven[-1], self.up.driven[-1]
        return (
            f"Differentiation(held {self.held_by} at {self.up.held[0]:.4g} to within {self.slack:.2g}, "
            f"driven {self.driven_of} from {low:.4g} to {high:.4g})"
        )

    def _repr_png_(self) -> bytes:
        return png(self.sheet())


@with_gradients
def differentiate(
    held: ModelHandle,
    driven: ModelHandle,
    target: AnyTarget,
    driven_target: AnyTarget | None = None,
    *,
    start: Photograph,
    steps: int = 64,
    rate: float = 0.5,
    size: int | tuple[int, int] | None = None,
) -> Differentiation:
    """Make two images that tell networks apart: equal to the one, as different as can be to the other.

    The score of ``held`` stays what it is for the start; that of ``driven`` is driven up for one image and
    down for the other. The networks may be one, with two targets.

    Args:
        held: the network whose score is held.
        driven: the network whose score is driven; it must take the same images.
        target: what is held: an address of one unit, or an objective, of ``held``.
        driven_target: what is driven, of ``driven``; by default the same address.
        start: a file, a PIL image, or a tensor or array ``(C, H, W)`` in [0, 1].
        steps: how many steps, in each direction.
        rate: the length of a step, root of the sum of squares over all pixels in [0, 1].
        size: the canvas for a file or PIL image, as for :func:`featvis.attribute`.

    Returns:
        Both images with their scores on the way. The last scores are those of the 8-bit images.

    Raises:
        RecipeError: steps or a rate that are not above 0.
        ModelError: networks of different images.
        TargetError: a target that names no unit, or more than one.

    >>> import featvis as fv, torch
    >>> one, other = (torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 2)) for _ in range(2))
    >>> told = dict(mean=(0.0,) * 3, std=(1.0,) * 3, input_size=2)
    >>> models = fv.load_model(one, **told), fv.load_model(other, **told)
    >>> found = fv.differentiate(*models, "1:0", start=torch.full((3, 2, 2), 0.5), steps=8, rate=0.05)
    >>> found.range > 0, found.slack < 0.02
    (True, True)
    """
    if isinstance(steps, bool) or steps < 1 or not rate > 0:
        raise RecipeError(f"steps and rate are above 0, got {steps} and {rate}")
    if held.channels != driven.channels:
        raise ModelError(
            f"{held.name} takes images of {held.channels} channels, {driven.name} of {driven.channels}"
        )
    image = torch.from_numpy(photo_levels(held, start, size))[None].float().to(held.device) / 255
    canvas = (image.shape[2], image.shape[3])
    held_objective, held_name = find_target(held, target, canvas)
    other_target = target if driven_target is None else driven_target
    driven_objective, driven_name = find_target(driven, other_target, canvas)
    with (
        scored(held, held_objective, canvas) as held_score,
        scored(driven, driven_objective, canvas) as driven_score,
    ):
        ways = [_drive(held_score, driven_score, image, steps, sign * rate) for sign in (1.0, -1.0)]
    return Differentiation(
        f"{held.name} {held_name}", f"{driven.name} {driven_name}", image[0].cpu(), ways[0], ways[1]
    )


def _drive(held: Score, driven: Score, start: Tensor, steps: int, rate: float) -> Driven:
    image = start.clone()
    level = float(held.values(start))
    told = [(level, float(driven.values(start)))]
    for _ in range(steps):
        free = torch.ones_like(image, dtype=torch.bool)
        slope = _slope(driven, image)
        # What is at the end of its range and would leave it is held there; then the other pixels decide.
        free &= ~((image <= 0) & (slope * rate < 0)) & ~((image >= 1) & (slope * rate > 0))
        slope = _without(slope * free, _slope(held, image) * free)
        length = float(slope.norm())
        if length == 0:
            break
        moved = (image + rate * slope / length).clamp(0, 1)
        moved = _back_to(level, held, moved)
        image = moved
        told.append((float(held.values(image)), float(driven.values(image))))
    levels = to_levels(image[0].cpu())
    saved = torch.from_numpy(levels)[None].float().to(start.device) / 255
    told.append((float(held.values(saved)), float(driven.values(saved))))
    return Driven(saved[0].cpu(), tuple(one for one, _ in told), tuple(other for _, other in told))


def _back_to(level: float, held: Score, image: Tensor) -> Tensor:
    """Return the image nearest, to first order, that the held score is ``level`` for."""
    for _ in range(_BACK):
        apart = level - float(held.values(image))
        slope = _slope(held, image)
        square = float(slope.square().sum())
        if square == 0 or abs(apart) <= 1e-5 * max(1.0, abs(level)):
            break
        image = (image + slope * (apart / square)).clamp(0, 1)
    return image


def _slope(score: Score, image: Tensor) -> Tensor:
    watched = image.detach().to(score.model.device).clone().requires_grad_()
    (slope,) = torch.autograd.grad(score(watched).sum(), watched)
    return slope.detach().to(image.device)


def _without(vector: Tensor, direction: Tensor) -> Tensor:
    square = float(direction.square().sum())
    return vector if square == 0 else vector - direction * (float((vector * direction).sum()) / square)
