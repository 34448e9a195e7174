"""One evaluation: images are transformed, shown to the network and scored."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial

import torch
from torch import Tensor

from featvis.engine.move import drawn_at
from featvis.errors import RecipeError, UserError
from featvis.models.borrow.long_ways import residual_gradients
from featvis.models.borrow.smooth_pools import SmoothedPool
from featvis.models.handle import ModelHandle
from featvis.models.layers.window import Window
from featvis.objectives.base import Objective
from featvis.objectives.reference import References
from featvis.objectives.shown import read
from featvis.spec.recipe import Recipe
from featvis.transforms.chain import Chain

Stream = Callable[[str], torch.Generator]
"""A picture's own random numbers: from a purpose to its generator."""
Evaluate = Callable[[Tensor, int | Tensor], Tensor]
"""From images ``(lanes, C, H, W)`` in [0, 1] and the step's number to their scores ``(lanes,)``."""


@contextmanager
def opened(
    model: ModelHandle,
    objective: Objective,
    chains: Sequence[Chain],
    recipe: Recipe,
    canvas: tuple[int, int],
    *,
    moved: bool,
) -> Iterator[list[Evaluate]]:
    """Borrow the network (tapped, frozen, truncated, given back) and yield an evaluation for each chain.

    Args:
        model: the network.
        objective: what is climbed.
        chains: the transforms of each pass of a step.
        recipe: of the run.
        canvas: (height, width) of the images.
        moved: whether the transforms move the images, and photographs with them.

    Raises:
        RecipeError: several crops at once, for an objective that must know what the network is shown.
        UserError: once evaluated, the score has no gradient.
    """
    size = recipe.input_size or canvas
    bound = objective.bind(model.at(size))
    window = window_of(bound, model, recipe, size)
    if window is not None:
        bound, size = bound.moved(window.position), window.size
    model.check_gradient(bound.layers, size, recipe.lanes * chains[0].copies)
    bound, only = gather_units(bound, model, recipe.lanes, size)
    if bound.reads_shown and chains[0].copies > 1:
        raise RecipeError(f"{bound.describe()} looks at what the network is shown: no multicrop with it")
    smooth = recipe.pool_gradients

    def evaluation(chain: Chain) -> Evaluate:
        def evaluate(images: Tensor, step: int | Tensor) -> Tensor:
            drawn = drawn_at(step, recipe)

            def shown(originals: Tensor) -> Tensor:
                transformed = chain(originals, drawn)
                return transformed if window is None else window.of(transformed)

            with (
                nullcontext() if smooth == "max" else SmoothedPool(smooth),
                residual_gradients(recipe.residual_gradients),
            ):
                activation = read(ready, activations, images, shown)
                activation |= references.read(activations, partial(chain, step=drawn))
                scores = chain.score(ready, activation, images)
            if images.requires_grad and not scores.requires_grad:
                raise UserError(
                    f"{bound.describe()}: no gradient leads from its score to the image; compute it with "
                    "torch from the activations, without detach(), no_grad() or comparisons"
                )
            return scores

        return evaluate

    with (
        bound.opened(model.device, recipe.precision) as ready,
        model.tap(
            bound.layers,
            size=size,
            precision=recipe.precision,
            only=only,
            lanes=recipe.lanes * chains[0].copies,
        ) as activations,
    ):
        references = References(ready, canvas, recipe.lanes, model.device, moved=moved)
        yield [evaluation(chain) for chain in chains]


def window_of(bound: Objective, model: ModelHandle, recipe: Recipe, size: tuple[int, int]) -> Window | None:
    """Return the part of the canvas that a bound objective reads, if it is worth cutting out.

    A neuron needs no more of the canvas than it sees; lanes that are refilled have neurons that differ.
    """
    place = None if recipe.patience else bound.place()
    return None if place is None else model.window(*place, size)


def gather_units(
    bound: Objective, model: ModelHandle, lanes: int, size: tuple[int, int]
) -> tuple[Objective, dict[str, tuple[int, ...]]]:
    """Let the last layer compute only what is climbed, where that is exact."""
    gathered, only = bound.gather(lanes)
    if only and all(model.can_gather(layer, bound.layers, size) for layer in only):
        return gathered, only
    return bound, {}


def streams_of_passes(stream: Stream, copies: int) -> list[Stream]:
    """Return a picture's random numbers for each pass of a step; the first pass takes the picture's own."""
    return [stream, *(_copy(stream, number) for number in range(1, copies))]


def _copy(stream: Stream, number: int) -> Stream:
    return lambda purpose: stream(f"{purpose} copy {number}")
