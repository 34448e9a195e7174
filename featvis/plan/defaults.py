"""The recipe that a target gets on a network, where its user left something open."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from featvis.models.handle import ModelHandle
from featvis.models.layers.network import NetworkAt
from featvis.objectives.base import Objective
from featvis.objectives.unit import Unit
from featvis.read import is_whole_number
from featvis.spec.recipe import Recipe

Size = tuple[int, int]
NEAR = 0.7
"""A network whose own canvas is this share of the recipe's, or more, takes the recipe's."""
TEXTURE_STRIDE = 4
"""Units of a map whose positions are so many pixels apart or fewer see little more than a texture."""


LIVELY = 1.0
"""How far a class layer's values for noise and for grey lie apart, at least, where penalties weigh in full.

In trained networks of ImageNet it is 1.3 to 2.5.
"""
DEEP = 3
"""So many layers with weights, at least, run up to a target that can see objects."""
OF_CLASSES = ("rivals", "confidence")
"""Penalties that are values of the class layer themselves: they shrink with the score."""
DIVERSITY: dict[str, Any] = {"name": "diversity", "relative": True, "weight": 3.0}
"""What keeps the pictures of a diverse set apart, unless the recipe says it itself.

With 10, pictures of EfficientNet-Lite0's blocks.3:3 kept half of the score, with 3 four fifths.
"""


def with_diversity(recipe: Recipe) -> Recipe:
    """Add the penalty of a diverse set, unless the recipe has its own."""
    if any(penalty["name"] == "diversity" for penalty in recipe.penalties):
        return recipe
    return recipe.but(penalties=[*recipe.penalties, DIVERSITY])


def default_recipe(
    model: ModelHandle, objective: Objective, recipes: dict[str, Recipe], changes: dict[str, Any]
) -> Recipe:
    """Return the recipe for what is climbed: of a signal, a class, a unit that sees texture, or another.

    Args:
        model: the network.
        objective: what is climbed.
        recipes: those loaded before, by name; others are added.
        changes: of every recipe's fields.
    """
    name = "signal" if model.signal else "channel"
    if isinstance(objective, Unit) and not model.signal:
        network = model.at(model.input_size)
        layer = network.find(objective.layer)
        if len(layer.shape) == 2 or (layer.is_one_each and layer.name == network.logits_layer):
            name = "portrait"
        elif layer.stride is not None and max(layer.stride) <= TEXTURE_STRIDE:
            name = "texture"
    if name not in recipes:
        recipes[name] = Recipe.load(name).but(**changes)
    return recipes[name]


def own_canvas(model: ModelHandle, size: Size) -> Size | None:
    """Return the network's own canvas where a recipe's does not suit it: it is far smaller, or no square.

    A network of 32 pixels that is shown 224 sees a picture that it makes nothing of at its own size.
    """
    own = model.input_size
    other_shape = own[0] * size[1] != own[1] * size[0]
    return own if other_shape or own[0] < NEAR * size[0] else None


def fit_canvas(model: ModelHandle, recipe: Recipe, asked: Collection[str]) -> tuple[Recipe, str]:
    """Let a recipe whose canvas nobody asked for follow the network; return what to say of that, too.

    All of our recipes' fields are shares of the canvas but a warp's ``jitter``, which shrinks with it. What
    is among the fields that were ``asked`` for stays as it stands.
    """
    own = own_canvas(model, recipe.size)
    if own is None:
        return recipe, ""
    told = "transforms" in asked
    share = min(own[0] / recipe.size[0], own[1] / recipe.size[1], 1.0)
    transforms = [
        {**one, "jitter": _times(one["jitter"], share)} if "jitter" in one and not told else one
        for one in recipe.to_json()["transforms"]
    ]
    stages = [
        [[max(1, round(one * to / of)) for one, to, of in zip(canvas, own, recipe.size, strict=True)], until]
        for canvas, until in recipe.stages
    ]
    before, now = ("x".join(map(str, size)) for size in (recipe.size, own))
    line = f"canvas {now}, {model.name}'s own (the recipe's is {before})"
    return recipe.but(size=own, transforms=transforms, stages=stages), line


def _times(pixels: Any, share: float) -> Any:
    return [_times(one, share) for one in pixels] if isinstance(pixels, list) else round(pixels * share, 3)


def fit_penalties(network: NetworkAt, recipe: Recipe, bound: Objective) -> Recipe:
    """Leave out BatchNorm's penalty where none runs before the target, and those of classes if it is none.

    With statistics of photographs that penalty needs no BatchNorm, and stays. The others do without it: of
    SqueezeNet's classes another network knew more with them than with none, and tone was photographs'. None
    stays where so few layers run before the target that it can see no objects.

    The weights of the penalties were found for classes whose values move by units. Where they hardly move (a
    regression to 0.1, a network that nobody trained), the weights are less by the square of that, or the
    penalties alone would be climbed: a trained network's score rises by many times its range, another's by
    one.
    """
    known = [penalty for penalty in recipe.penalties if penalty["name"] == "batchnorm"]
    told = any("statistics" in penalty for penalty in known)  # those of photographs do as well
    kept = recipe.to_json()["penalties"]
    if known and not told and not network.has_statistics(bound.layers):
        if max((len(network.mixing(name)) for name in bound.layers), default=0) < DEEP:
            return recipe.but(penalties=[])
        kept = [penalty for penalty in kept if penalty["name"] != "batchnorm"]
    if not _is_class(network, bound):
        kept = [penalty for penalty in kept if penalty["name"] not in OF_CLASSES]
    found = network.find(bound.layer).range if isinstance(bound, Unit) else None
    if known and found is not None and 0 < found < LIVELY:
        share = float(f"{(found / LIVELY) ** 2:.2g}")
        kept = [
            one if one["name"] in OF_CLASSES else {**one, "weight": float(f"{one['weight'] * share:.3g}")}
            for one in kept
        ]
    return recipe if kept == recipe.to_json()["penalties"] else recipe.but(penalties=kept)


def what_would_help(network: NetworkAt, asked: Recipe, fitted: Recipe, bound: Objective) -> str:
    """Return a line where a class is climbed without BatchNorm's penalty, which says what takes its place."""
    lacks = {one["name"] for one in asked.penalties} - {one["name"] for one in fitted.penalties}
    if "batchnorm" not in lacks or not fitted.penalties or not _is_class(network, bound):
        return ""
    return (
        f"{network.name} keeps no statistics of its training (no BatchNorm) to hold pictures of classes to; "
        "those of your photographs can take their place: featvis statistics, or fv.activation_statistics"
    )


def _is_class(network: NetworkAt, bound: Objective) -> bool:
    """Whether a class is climbed: one of several units of the network's output ``(B, classes)``."""
    if not isinstance(bound, Unit) or bound.layer != network.output_layer:
        return False
    layer = network.layer(bound.layer)
    return layer.is_one_each and layer.units > 1


def fit_signal(model: ModelHandle, changes: dict[str, Any], recipe: Recipe | str | None) -> dict[str, Any]:
    """Make a signal's canvas one row, as long as was asked for or as the network's own."""
    for name in ("size", "input_size"):
        length = changes.get(name)
        length = int(length) if isinstance(length, str) and is_whole_number(length) else length
        if isinstance(length, int) and not isinstance(length, bool):
            changes = {**changes, name: (1, length)}
    size = changes.get("size")
    if size is None and (not isinstance(recipe, Recipe) or recipe.size[0] != 1):
        return {**changes, "size": model.input_size}
    return changes


def fit_frames(model: ModelHandle, recipe: Recipe, *, ours: bool) -> Recipe:
    """Let a video's space know how many frames there are; our own recipes' images become its frames.

    Args:
        model: the network.
        recipe: for it.
        ours: whether the image space is ours, and not what somebody asked for.
    """
    if model.frames is None:
        return recipe
    space = _with_frames(recipe.space, model.frames)
    if ours and space == recipe.space:
        space = {"name": "video", "inner": space, "frames": model.frames}
    return recipe.but(space=space)


def _with_frames(space: dict[str, Any], frames: int) -> dict[str, Any]:
    if space["name"] == "video":
        return {**space, "frames": frames} if space["frames"] == 1 else space
    return {**space, "inner": _with_frames(space["inner"], frames)} if "inner" in space else space


def describe_form(model: ModelHandle) -> list[str]:
    """Say in what form a network takes other things than images, each one line; nothing of images."""
    if model.signal:
        rate = "" if model.sample_rate is None else f", {model.sample_rate:g} samples a second"
        return [
            f"{model.name} takes signals {model.form.axes}{rate}: recipe signal, if no other is asked for"
        ]
    if model.frames is not None:
        what = f"{model.name} takes videos or volumes {model.form.axes}, T = {model.frames}"
        return [f"{what}: image space video, if no other is asked for"]
    return []


def fit_input(model: ModelHandle, recipe: Recipe) -> Recipe:
    """Let a network that takes images of one size only look at a canvas of any size."""
    if recipe.input_size is None and recipe.size != model.input_size and model.takes_one_size:
        return recipe.but(input_size=model.input_size)
    return recipe
