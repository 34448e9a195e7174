"""L-BFGS for a batch of pictures: each lane has its own curvature, step length and line search."""

from __future__ import annotations

import torch
from torch import Tensor

from featvis.images.base import Parameters

MEMORY = 8
"""Pairs of steps and changes of the gradient that a lane remembers."""
ARMIJO = 1e-4
"""The share of the promised gain that a step must bring."""
SMALLEST = 1e-3
"""A step tried at less of its length than this is given up, and with it what was remembered."""
FARTHEST = 10.0
"""A step moves the parameters by no more than so many times the learning rate, root mean square."""


class LBFGS:
    """Limited-memory BFGS (Liu and Nocedal, 1989) with a backtracking line search, for each lane alone.

    One call of :meth:`climb` is one evaluation: a point that was tried is kept or tried nearer, by the
    lane's own score. A search compares scores, so they must be of one function: whatever is drawn has to
    stay the same until a call of :meth:`climb` says that it changes. The gradients of both ends of a
    remembered step are then of one function, too.
    """

    def __init__(self, parameters: Parameters, learning_rate: float) -> None:
        """Begin at the parameters as they are, each ``(lanes, …)``; they are moved in place.

        Args:
            parameters: the learnable tensors, real.
            learning_rate: how far the first try moves a parameter, root mean square; later steps go up to ten
                times as far.
        """
        self._parameters, self._rate = parameters, learning_rate
        point = self._flat(list(parameters.values()))
        lanes, self._numbers = point.shape
        self._base, self._gradient, self._direction = point, torch.zeros_like(point), torch.zeros_like(point)
        self._steps = point.new_zeros((MEMORY, *point.shape))
        self._changes = point.new_zeros((MEMORY, *point.shape))
        self._inverse = point.new_zeros((MEMORY, lanes))
        """1 / (step · change) of each pair, 0 where there is none; the newest pair comes first."""
        self._score, self._length = point.new_zeros(lanes), point.new_zeros(lanes)
        self._scale, self._reach = point.new_ones(lanes), point.new_full((lanes,), learning_rate)
        self._fresh = torch.ones(lanes, dtype=torch.bool, device=point.device)

    @property
    def base(self) -> Parameters:
        """The best point of each lane so far, by its own searches; what is being tried is not yet known."""
        return self._shaped(self._base)

    def forget(self, lane: int) -> None:
        """Begin anew in a lane, at the parameters as they are: it has another picture."""
        self._base[lane] = self._flat(list(self._parameters.values()))[lane]
        self._inverse[:, lane], self._scale[lane], self._reach[lane] = 0.0, 1.0, self._rate
        self._fresh[lane] = True

    @torch.no_grad()
    def climb(self, scores: Tensor, changes: Tensor | bool) -> None:
        """Take in the evaluation of the parameters as they are and move them to the next point to try.

        Args:
            scores: ``(lanes,)``, larger is better; the parameters hold the gradients that a descent follows.
            changes: whether the next evaluation is of another function, for all lanes or each.
        """
        point = self._flat(list(self._parameters.values()))
        gradient = self._flat([_gradient(value) for value in self._parameters.values()])
        scores = scores.to(point.dtype)
        promised = (self._gradient * self._direction).sum(1) * self._length  # below 0
        sound = scores.isfinite() & gradient.isfinite().all(1)
        gained = scores - self._score
        # Equal scores: a dead unit's, while its gradients are redirected, or at the end of the precision.
        kept = self._fresh | (sound & ((gained >= -ARMIJO * promised) | (gained == 0)))
        moved, turned = point - self._base, gradient - self._gradient
        self._remember(moved, turned, kept & ~self._fresh)
        self._base = torch.where(kept[:, None], point, self._base)
        self._gradient = torch.where(kept[:, None], gradient, self._gradient)
        self._score = torch.where(kept, scores, self._score)
        # The parabola through both scores with the gradient at the first has its top here.
        short = (0.5 * promised / (promised + gained)).nan_to_num(0.1).clamp(0.1, 0.5)
        length = self._length * short
        lost = ~kept & (length < SMALLEST)
        self._inverse *= ~lost
        knows = (self._inverse[0] != 0) & ~lost
        direction = self._downhill(self._gradient)
        falls = (direction * self._gradient).sum(1) < 0
        self._inverse *= ~(kept & knows & ~falls)
        knows = knows & falls
        # Without curvature to go by, as far as the last such try if that was good, or nearer.
        blind = (kept & ~knows) | lost
        farther = torch.where(self._fresh, 1.0, torch.where(kept, 2 * self._length, 0.25))
        self._reach = torch.where(blind, self._reach * farther, self._reach)
        norm = self._gradient.norm(dim=1)
        straight = self._reach * self._numbers**0.5 / torch.where(norm > 0, norm, 1.0)
        wanted = torch.where(blind[:, None], self._gradient * straight.neg()[:, None], direction)
        # A far step may gain and still leave all that a picture is: colours go to their ends and stay there.
        far = wanted.norm(dim=1) / (FARTHEST * self._rate * self._numbers**0.5)
        wanted = wanted / far.clamp(min=1.0)[:, None]
        renewed = kept | lost
        self._direction = torch.where(renewed[:, None], wanted, self._direction)
        self._length = torch.where(renewed, torch.ones_like(length), length)
        self._fresh = torch.as_tensor(changes, device=point.device).expand(len(scores)).clone()
        # Of another function nothing is known yet: it is evaluated at the best point first.
        step = torch.where(self._fresh, 0.0, self._length)
        self._put(self._base + step[:, None] * self._direction)

    def _remember(self, moved: Tensor, turned: Tensor, kept: Tensor) -> None:
        """Put a pair in front of the others, in the lanes whose curvature is upward along it."""
        product = (moved * turned).sum(1)
        longest = moved.norm(dim=1) * turned.norm(dim=1)
        new = kept & (product > 1e-6 * longest)
        for kept_pairs, pair in ((self._steps, moved), (self._changes, turned)):
            kept_pairs.copy_(torch.where(new[:, None], torch.cat([pair[None], kept_pairs[:-1]]), kept_pairs))
        inverse = (1 / torch.where(new, product, 1.0))[None]
        self._inverse = torch.where(new, torch.cat([inverse, self._inverse[:-1]]), self._inverse)
        self._scale = torch.where(new, product / turned.square().sum(1).clamp(min=1e-30), self._scale)

    def _downhill(self, gradient: Tensor) -> Tensor:
        """Minus the inverse Hessian times the gradient, by L-BFGS's two loops over the pairs."""
        direction, weights = gradient, []
        for steps, changes, inverse in zip(self._steps, self._changes, self._inverse, strict=True):
            weight = inverse * (steps * direction).sum(1)
            weights.append(weight)
            direction = direction - weight[:, None] * changes
        direction = direction * self._scale[:, None]
        for place in reversed(range(MEMORY)):
            turned = self._inverse[place] * (self._changes[place] * direction).sum(1)
            direction = direction + (weights[place] - turned)[:, None] * self._steps[place]
        return direction.neg()

    def _flat(self, values: list[Tensor]) -> Tensor:
        return torch.cat([value.detach().flatten(1) for value in values], 1)

    def _shaped(self, flat: Tensor) -> Parameters:
        sizes = [value[0].numel() for value in self._parameters.values()]
        parts = zip(self._parameters.items(), torch.split(flat, sizes, 1), strict=True)
        return {name: part.reshape(value.shape) for (name, value), part in parts}

    def _put(self, flat: Tensor) -> None:
        for name, value in self._shaped(flat).items():
            self._parameters[name].copy_(value)
            self._parameters[name].grad = None


def _gradient(value: Tensor) -> Tensor:
    assert value.grad is not None
    return value.grad
