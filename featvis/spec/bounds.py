"""Recipes read from pictures and manifests, which anybody may have made: what they may cost. No torch here.

What a user types is free. What a file says is held to these bounds: wide enough for every picture that
papers show, narrow enough that no file stops a machine. ``unbounded`` lifts them.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from featvis.errors import BoundsError, RecipeError
from featvis.read import check_depth
from featvis.spec.pinned import files_inside
from featvis.spec.recipe import Recipe

MOST: dict[str, int] = {
    "steps": 100_000,  # forty times the longest run that papers report (2,560)
    "lanes": 4096,  # a GPU of 141 GB is full with fewer
    "copies": 1024,
    "best_of": 4096,
    "attempts": 32,  # the start's spread is ten times as wide at each, and a float holds 38
    "threads": max(256, os.cpu_count() or 1),  # more threads than cores only wait
}
SIDE = 8192
"""Of a canvas, in pixels: as much as a square file may have by Pillow's limit."""
IMAGES = 4096
"""That one step shows the network: lanes times copies times crops."""
PIXELS = 1 << 22
"""Of all these images: 83 of 224 x 224, or 16 of 512 x 512, so that a step stays within 2 GB.

EfficientNet-Lite0 keeps 330 bytes of each (measured)."""
PIXEL_STEPS = 1 << 34
"""The pixels of all steps: 4,096 steps of so many; an hour on a CPU, minutes on a GPU."""
DRAWS = 1 << 24
"""Transforms drawn up front, for every step of every lane, copy and crop."""
PARTS = 64
"""Transforms, penalties, stages, and image spaces within each other."""
SPACE = 64
"""So much of an image space's work for each pixel (its layers times their width) counts as a pixel."""
NUMBER = 1e9
"""The largest number that an option of a part may be, and the inverse of the least above 0."""


def read_recipe(table: dict[str, Any], where: Path, *, unbounded: bool = False) -> Recipe:
    """Return the recipe that a file carries.

    Args:
        table: plain data.
        where: the picture or folder that it was read from; files that it names lie in its folder.
        unbounded: whether its user allows whatever it asks for.

    Raises:
        BoundsError: it asks for more than :data:`MOST` and its neighbours allow, or for a file elsewhere.
        RecipeError: it is no recipe.

    >>> read_recipe({"steps": 12, "size": 32}, Path("a.png")).steps
    12
    >>> read_recipe({"steps": 10**9}, Path("a.png"))
    Traceback (most recent call last):
    featvis.errors.BoundsError: a.png asks for 1000000000 steps, more than 100000; unbounded=True allows it
    """
    if unbounded:
        return Recipe(**table)
    try:
        check_depth(table, PARTS)
    except ValueError as error:
        raise RecipeError(f"{where}: recipe: {error}") from None
    for name, value in table.items():
        if isinstance(value, list) and len(value) > PARTS:
            raise BoundsError(f"{where} asks for {len(value)} {name}, more than {PARTS}")
    folder = where if where.is_dir() else where.parent
    if (folder.parent / "manifest.json").is_file():
        folder = folder.parent  # that of all pictures
    try:
        with files_inside(folder):
            recipe = Recipe(**table)
    except BoundsError as error:
        raise BoundsError(f"{where} asks for {error.problem}") from None
    for problem in _problems(recipe):
        raise BoundsError(f"{where} asks for {problem}")
    return recipe


def cost_of(recipe: Recipe) -> str:
    """Say in words what a recipe's run will cost.

    >>> cost_of(Recipe(size=(96, 128), steps=64, lanes=8, copies=2))
    '64 steps of 8 lanes at 96x128 pixels, 2 passes each'
    """
    height, width = recipe.size
    words = f"{recipe.steps} steps of {recipe.lanes} lanes at {height}x{width} pixels"
    if recipe.input_size is not None and recipe.input_size != recipe.size:
        words += ", seen at {}x{}".format(*recipe.input_size)
    if (passes := recipe.copies * _crops(recipe)) > 1:
        words += f", {passes} passes each"
    if recipe.best_of > 1:
        words += f", {recipe.best_of} candidates"
    return words


def _problems(recipe: Recipe) -> Iterator[str]:
    """Yield in words what is more than is allowed."""
    for name, most in MOST.items():
        if (getattr(recipe, name) or 0) > most:
            yield f"{getattr(recipe, name)} {name.replace('_', ' ')}, more than {most}"
    sizes = [recipe.size, recipe.shown_size, *(size for size, _ in recipe.stages)]
    if (side := max(map(max, sizes))) > SIDE:
        yield f"a canvas {side} pixels long, more than {SIDE}"
    for number in _numbers([recipe.space, *recipe.transforms, *recipe.penalties]):
        if number and not 1 / NUMBER <= abs(number) <= NUMBER:
            yield f"an option of {number:g}, beyond {NUMBER:g} or its inverse"
    shown = recipe.lanes * recipe.copies * _crops(recipe)
    canvas = recipe.lanes * math.prod(recipe.size)
    pixels = max(shown * math.prod(recipe.shown_size), canvas) + canvas * _work(recipe)
    if shown > IMAGES:
        yield f"{shown:,} images at every step, more than {IMAGES:,}"
    if pixels > PIXELS:
        yield f"{pixels:,} pixels at every step, more than {PIXELS:,}"
    if pixels * recipe.steps * recipe.best_of > PIXEL_STEPS:
        yield f"{pixels * recipe.steps * recipe.best_of:,} pixels over all steps, more than {PIXEL_STEPS:,}"
    if shown * recipe.steps > DRAWS:
        yield f"{shown * recipe.steps:,} draws of each transform, more than {DRAWS:,}"


def _crops(recipe: Recipe) -> int:
    return math.prod(int(spec.get("crops", 1)) for spec in recipe.transforms)


def _work(recipe: Recipe) -> int:
    """Return how many pixels' work the image space does for each pixel of the canvas, roughly."""
    work, longest = 0, max(recipe.size)
    space: Any = recipe.space
    while isinstance(space, dict):
        whole = [value for value in space.values() if isinstance(value, int) and not isinstance(value, bool)]
        # A pyramid's levels are parameters, all other spaces' only layers; a parameter takes 48 bytes.
        levels = {"all": longest / 24, "fourth": longest / 96}.get(str(space.get("levels")), 0)
        work += int(max(math.prod(whole) / SPACE, levels if space["name"] == "pyramid" else 0))
        space = space.get("inner", None)
    return work


def _numbers(value: Any) -> Iterator[float]:
    if isinstance(value, dict | list | tuple):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _numbers(inner)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield value
