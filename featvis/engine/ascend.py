"""The loop's public face: an objective climbed by hand, for experiments."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any

import torch

from featvis import draws
from featvis.engine.lanes import Step, climb, stack_parameters
from featvis.errors import RecipeError, unknown
from featvis.images.base import ImageSpace, Parameters
from featvis.models.borrow.loan import stepwise
from featvis.models.handle import ModelHandle
from featvis.models.load import load_model
from featvis.models.photograph import Photograph, read_photograph
from featvis.objectives.base import Objective
from featvis.objectives.reference import fitted
from featvis.objectives.unit import as_objective
from featvis.spec.options import plain
from featvis.spec.recipe import Recipe
from featvis.spec.stages import plan_stages
from featvis.transforms.base import Transform

FIELDS = (
    "lanes",
    "optimizer",
    "learning_rate",
    "momentum",
    "second_momentum",
    "schedule",
    "redirect_steps",
    "copies",
    "hold",
    "average",
    "gradient_norm",
    "gradient_clip",
    "pool_gradients",
    "residual_gradients",
    "precision",
    "input_size",
    "stages",
)
"""The fields of a recipe that are about the loop; the others are about what is made of it."""


@stepwise
def ascend(
    model: ModelHandle | str,
    objective: Objective | str,
    space: ImageSpace,
    *,
    steps: int,
    transforms: Sequence[Transform] = (),
    seed: int = 0,
    start: Photograph | Parameters | None = None,
    streams: Sequence[Callable[[str], torch.Generator]] | None = None,
    **fields: Any,
) -> Generator[Step, None, None]:
    """Climb ``objective`` from ``space`` and yield each :class:`Step`; the model is given back at the end.

    Args:
        model: from :func:`featvis.load_model`, or a name that it takes.
        objective: scores ``(lanes,)``, larger is better; or the address of one unit.
        space: the learnable image space, with its size.
        steps: how many steps, at least 1.
        transforms: applied to the images before the network sees them.
        seed: of the first lane; lane b is drawn from seed ``seed + b``.
        start: an image to start from: a file or PIL image, which is resized to the canvas, or a tensor or
            array ``(C, H, W)`` in [0, 1]; or parameters, with the lanes as first axis, on the first stage's
            canvas. By default drawn.
        streams: for each lane its random numbers, a function from a purpose to a ``torch.Generator``,
            instead of ``seed``.
        **fields: of the recipe (:class:`featvis.Recipe` says what they mean): ``lanes``, the pictures that
            one step computes together (1); ``optimizer``, ``learning_rate``, ``momentum``,
            ``second_momentum``, ``schedule``, ``redirect_steps``, ``copies``, ``hold``, ``average``,
            ``gradient_norm``, ``gradient_clip``, ``pool_gradients``, ``residual_gradients``, ``precision``,
            ``input_size`` and ``stages``.

    Raises:
        TargetError: no objective, or an address of several units.
        RecipeError: an unknown field, or one out of range; no image space, no transforms.
        CanvasError: the image space does not fit the network or the start image, or cannot start from one.

    >>> import featvis as fv, torch
    >>> module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3))
    >>> model = fv.load_model(module, mean=(0.5,) * 3, std=(0.5,) * 3, input_size=16)
    >>> climb = fv.ascend(model, fv.channel("0", 1), fv.PixelImage(size=(16, 12)), steps=8, optimizer="sgd")
    >>> scores = [float(step.scores) for step in climb]
    >>> scores[-1] > scores[0]
    True
    """
    for name in fields:
        if name not in FIELDS:
            raise RecipeError(unknown("option of ascend", name, FIELDS, f"options: {', '.join(FIELDS)}"))
    model, objective, seed = load_model(model), as_objective(objective, "ascend"), plain(seed)
    if not isinstance(space, ImageSpace):
        made = space.__name__ if isinstance(space, type) else repr(space)
        raise RecipeError(f"ascend takes a made image space, fv.FourierImage(size=…), got {made}")
    if not isinstance(transforms, list | tuple) or not all(isinstance(one, Transform) for one in transforms):
        raise RecipeError(f"ascend takes a list of made transforms, [fv.Warp(…)], got {transforms!r}")
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise RecipeError(f"a seed is a whole number, got {seed!r}")
    fields.setdefault("lanes", 1 if streams is None else len(streams))
    recipe = Recipe(**fields, steps=steps, size=space.canvas)
    if streams is None:
        name = objective.bind(model.at(recipe.shown_size)).describe()
        streams = [_stream(seed + lane, name) for lane in range(recipe.lanes)]
    if start is not None and not isinstance(start, Mapping):
        read = read_photograph(start, space.image_channels, size=space.canvas, what="a start image")
        # An image is known by its 8-bit levels, so the run starts from these, as a picture's does.
        image = (space.check_image(read) * 255).round() / 255
        first = space.resized(plan_stages(recipe.stages, recipe.size, recipe.steps)[0].size)
        shown = fitted(image[None], first.canvas)[0]
        start = stack_parameters([first.begin(shown, stream("start")) for stream in streams])
    yield from climb(model, objective, space, recipe, streams, transforms=transforms, start=start)


def _stream(seed: int, name: str) -> Callable[[str], torch.Generator]:
    return lambda purpose: draws.stream(seed, name, 0, purpose)
