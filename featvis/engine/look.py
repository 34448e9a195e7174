"""One look at the pictures: they are decoded, shown to the network and scored, and slopes are left behind."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial

import torch
from torch import Tensor

from featvis.engine.transparency import Gathered
from featvis.errors import RecipeError
from featvis.images.base import ImageSpace, Parameters
from featvis.models.borrow.smooth_pools import SmoothedPool
from featvis.models.layers.window import Window
from featvis.objectives.base import Objective
from featvis.objectives.reference import References
from featvis.objectives.shown import read
from featvis.transforms.chain import Chain

Stream = Callable[[str], torch.Generator]


def find_slopes(scores: Tensor) -> None:
    """Leave in every parameter the gradient that an optimizer descends: ascent, turned by the one minus sign.

    A sum, for a mean would make a picture depend on the number of lanes through Adam's epsilon.
    """
    (-scores.sum()).backward()  # type: ignore[no-untyped-call]


class Look:
    """Scores the pictures as the network is shown them; call it with the parameters and the step's number."""

    def __init__(
        self,
        space: ImageSpace,
        chains: Sequence[Chain],
        activations: Callable[[Tensor], dict[str, Tensor]],
        bound: Objective,
        *,
        window: Window | None = None,
        pool_gradients: str = "max",
        photographs: References | None = None,
        gathered: Gathered | None = None,
    ) -> None:
        """Take everything that a step needs; one chain of transforms for each of its passes.

        Raises:
            RecipeError: several crops at once, for an objective that must know what the network is shown.
        """
        if bound.reads_shown and chains[0].copies > 1:
            raise RecipeError(f"{bound.describe()} looks at what the network is shown: no multicrop with it")
        self._space, self._chains, self._window = space, chains, window
        self._activations, self._bound, self._pool_gradients = activations, bound, pool_gradients
        self._photographs, self._gathered = photographs, gathered

    def __call__(self, parameters: Parameters, step: int | Tensor) -> Tensor:
        """Return the passes' mean scores ``(lanes,)``, detached, and leave the parameters' gradients."""
        images = self._space.decode(parameters)
        if len(self._chains) == 1:
            if self._gathered is not None:
                self._gathered.watch(images)
            scores = self._score(self._chains[0], images, step)
            find_slopes(scores)
            return scores.detach()
        # Pass by pass, so that memory does not grow with them; their slopes add up in the images.
        leaf = images.detach().requires_grad_()
        told = []
        for chain in self._chains:
            scores = self._score(chain, leaf, step) / len(self._chains)
            find_slopes(scores)
            told.append(scores.detach())
        if self._gathered is not None and leaf.grad is not None:
            self._gathered.add(leaf.grad)
        values = list(parameters.values())
        for value, slope in zip(values, torch.autograd.grad(images, values, leaf.grad), strict=True):
            value.grad = slope
        return torch.stack(told).sum(0)

    def _score(self, chain: Chain, images: Tensor, step: int | Tensor) -> Tensor:
        def transformed(given: Tensor) -> Tensor:
            shown = chain(given, step)
            return shown if self._window is None else self._window.of(shown)

        with SmoothedPool(self._pool_gradients) if self._pool_gradients != "max" else nullcontext():
            found = read(self._bound, self._activations, images, transformed)
            if self._photographs is not None:
                found |= self._photographs.read(self._activations, partial(chain, step=step))
            return chain.score(self._bound, found, images)


def copies_of(stream: Stream, copies: int) -> list[Stream]:
    """Return a picture's chance for each pass of a step; the first pass' is the picture's own."""
    return [stream, *(_copy(stream, number) for number in range(1, copies))]


def _copy(stream: Stream, number: int) -> Stream:
    return lambda purpose: stream(f"{purpose} copy {number}")


def scale_slopes(gradients: Sequence[Tensor], norm: float | None, clip: float | None) -> list[Tensor]:
    """Bring each picture's gradient, over all its parameters, to a length; a picture does not see its mates.

    Args:
        gradients: each with the lanes as first axis.
        norm: the L2 length that every gradient gets; one of zeros stays.
        clip: the greatest L2 length.
    """
    squares = torch.stack([gradient.flatten(1).square().sum(1) for gradient in gradients]).sum(0)
    length = squares.sqrt()
    if norm is not None:
        factor = torch.where(length > 0, norm / torch.where(length > 0, length, 1.0), 0.0)
    elif clip is not None:
        factor = (clip / length.clamp(min=1e-30)).clamp(max=1.0)
    else:
        return list(gradients)
    return [gradient * factor.view(-1, *[1] * (gradient.dim() - 1)) for gradient in gradients]


class Average:
    """The exponential moving average of the parameters of each lane, true to its weights from the start.

    At step t the decay is at most (1 + t) / (10 + t), as in TensorFlow's ExponentialMovingAverage: the mean
    is over no more than about a ninth of the way so far, or short runs would show where they came from.
    """

    def __init__(self, parameters: Parameters, decay: float) -> None:
        """Average from nothing, with weights falling by ``decay`` a step into the past."""
        self._decay = decay
        self._sums = {name: torch.zeros_like(value.detach()) for name, value in parameters.items()}
        first = next(iter(parameters.values()))
        self._weights = torch.zeros(first.shape[0], device=first.device)
        self._taken = torch.zeros_like(self._weights)

    @torch.no_grad()
    def add(self, parameters: Parameters) -> None:
        """Take in the parameters after a step."""
        decay = ((1 + self._taken) / (10 + self._taken)).clamp(max=self._decay)
        for name, value in parameters.items():
            old = decay.view(-1, *[1] * (value.dim() - 1)).to(value.dtype)
            self._sums[name].mul_(old).add_(value * (1 - old))
        self._weights.mul_(decay).add_(1 - decay)
        self._taken += 1

    def forget(self, lane: int) -> None:
        """Begin anew in a lane: it has another picture."""
        for value in self._sums.values():
            value[lane] = 0.0
        self._weights[lane] = self._taken[lane] = 0.0

    @property
    def values(self) -> Parameters:
        """The averages so far; after at least one step."""
        weights = self._weights
        return {name: sums / weights.view(-1, *[1] * (sums.dim() - 1)) for name, sums in self._sums.items()}
