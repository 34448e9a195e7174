"""Extremal perturbation: the smooth mask of a given area under which the target fires most.

Fong, Patrick and Vedaldi 2019, "Understanding Deep Networks via Extremal Perturbations and Smooth
Masks", with the constants of the authors' TorchRay for a canvas of 224 pixels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from featvis.attribution.blur import blur, shorter_side
from featvis.attribution.register import Outcome, method
from featvis.attribution.scoring import Score
from featvis.spec.same import SameByValue

LEVELS = 8
MOST_BLUR = 20 / 224
"""Deviation of the Gaussian that stands for an absent pixel, in shorter sides of the canvas."""
CELL = 7 / 224
"""Side of a cell of the mask, in shorter sides of the canvas."""
SMOOTHNESS = 3
"""Deviation of the mask's kernel, in cells."""
COLDNESS = 20.0
PULL, PULL_GROWTH = 300.0, 16.4
"""Weight of the area's constraint at the first step, and how much larger it is at the last."""
REWARD = 10.0
"""Weight of the score, which is brought to 0 on the blurred and 1 on the whole image."""
LEARNING_RATE, STEPS, CELLS = 0.01, 800, 32 * 32
"""The authors'. Fewer steps are longer ones, so that a cell can go as far in all of them together; with
fewer cells each weighs more in both terms, and steps are shorter by as much."""
SHORTEST = 16
"""Steps are not made longer than for so many: the mask would jump past the area."""
MISSED = 0.05
"""A mask that is so far from the area asked for has missed it."""


@dataclass(frozen=True, eq=False)
class Extremal(SameByValue):
    """The mask ``(H, W)`` in [0, 1], and the scores of the image under it, whole, and blurred."""

    mask: Tensor
    kept: float
    whole: float
    blurred: float
    missed: bool
    """Whether the mask's mean is not the area that was asked for."""


class SmoothMask:
    """Coarse cells in [0, 1] turned into a smooth mask: the soft maximum of kernels around each cell."""

    def __init__(self, size: tuple[int, int], cell: int, sigma: float, device: torch.device) -> None:
        self.size, self.cell, self.radius = size, cell, math.ceil(2.5 * sigma / cell)
        self.cells = torch.ones([math.ceil(side / cell) for side in size], device=device)
        # Two points of each cell's side are computed; so smooth a mask is the same between them.
        centres = torch.arange(-self.radius, self.radius + 1, device=device) * cell
        offset = centres[:, None] - torch.tensor([-0.25, 0.25], device=device) * cell
        distance = (offset.square()[:, None, :, None] + offset.square()[None, :, None, :]).sqrt()
        kernel = torch.exp(-2 * (distance / sigma - 0.5).clamp(min=0).square())
        self._kernel = kernel.flatten(0, 1)[:, None, :, None, :]  # (neighbours², 1, 2, 1, 2)

    def __call__(self, cells: Tensor) -> Tensor:
        """Return the mask ``(H, W)``."""
        reach = 2 * self.radius + 1
        padded = functional.pad(cells[None, None], [self.radius] * 4, mode="replicate")
        near = functional.unfold(padded, reach).view(reach**2, cells.shape[0], 1, cells.shape[1], 1)
        weighed = self._kernel * near
        pooled = (weighed * torch.softmax(COLDNESS * weighed, 0)).sum(0)
        points = pooled.flatten(0, 1).flatten(1, 2)[None, None]
        sides = [count * self.cell for count in cells.shape]
        fine = functional.interpolate(points, sides, mode="bilinear", align_corners=False)[0, 0]
        return fine[: self.size[0], : self.size[1]].clamp(0, 1)


class Pyramid:
    """An image under ever less blur; a mask chooses for every pixel how much."""

    def __init__(self, image: Tensor, most: float) -> None:
        steps = torch.linspace(1, 0, LEVELS).tolist()
        self._levels = torch.cat([blur(image, most * share) for share in steps])
        self._at = torch.arange(LEVELS, device=image.device)[:, None, None]

    def __call__(self, mask: Tensor) -> Tensor:
        """Return the image ``(1, C, H, W)``: blurred where the mask is 0, itself where it is 1."""
        shares = (1 - (mask[None] * (LEVELS - 1) - self._at).abs()).clamp(min=0)
        return torch.einsum("lhw,lchw->chw", shares, self._levels)[None]


@method("extremal", about="the part of the photograph under which the score stays highest", full_scale=1.0)
def extremal_mask(score: Score, image: Tensor, *, area: float = 0.1, steps: int = 300) -> Outcome:
    """Return the mask that :func:`extremal` finds, and the scores under it."""
    result = extremal(score, image, area, steps)
    kept = float(result.mask.mean())
    numbers = {"kept_score": result.kept, "blurred_score": result.blurred, "area": kept}
    numbers |= {"area_wanted": area, "area_missed": result.missed}
    warning = (
        f"the mask keeps {kept:.0%} of the canvas, not the {area:.0%} asked for, after {steps} steps; "
        "give it more"
    )
    return Outcome(result.mask, numbers, warning if result.missed else "")


def extremal(score: Score, image: Tensor, area: float = 0.1, steps: int = 300) -> Extremal:
    """Find the mask of mean ``area`` that preserves the score best while the rest is blurred.

    By ``steps`` of gradient ascent with momentum .9, on one image ``(1, C, H, W)``.
    """
    size = (image.shape[2], image.shape[3])
    cell = max(2, round(CELL * shorter_side(size)))
    smooth = SmoothMask(size, cell, SMOOTHNESS * cell, image.device)
    shown = Pyramid(image, MOST_BLUR * shorter_side(size))
    with torch.no_grad():
        nothing = torch.zeros(size, device=image.device)
        whole, blurred = float(score(shown(nothing + 1))), float(score(shown(nothing)))
    unit = REWARD / max(abs(whole - blurred), 1e-12)
    count = size[0] * size[1]
    wanted = (torch.arange(count, device=image.device) >= round((1 - area) * count)).float()
    cells = smooth.cells.requires_grad_()
    rate = LEARNING_RATE * max(1.0, STEPS / max(steps, SHORTEST)) * smooth.cells.numel() / CELLS
    climber = torch.optim.SGD([cells], lr=rate, momentum=0.9, dampening=0.9, maximize=True)
    for step in range(steps):
        mask = smooth(cells)
        off = (mask.flatten().sort().values - wanted).square().mean()
        pull = PULL * PULL_GROWTH ** (step / max(1, steps - 1))
        total = unit * score(shown(mask)).sum() - pull * off
        (cells.grad,) = torch.autograd.grad(total, cells)
        climber.step()
        with torch.no_grad():
            cells.clamp_(0, 1)
    with torch.no_grad():
        mask = smooth(cells)
        missed = abs(float(mask.mean()) - area) > MISSED
        return Extremal(mask, float(score(shown(mask))), whole, blurred, missed)
