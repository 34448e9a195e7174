"""From what is asked to what will be rendered: every mistake is found here, before any compute."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from featvis.errors import CanvasError, RecipeError, TargetError, unknown
from featvis.images.base import ImageSpace
from featvis.models.handle import ModelHandle
from featvis.models.layers.network import NetworkAt
from featvis.objectives.base import Objective
from featvis.objectives.unit import Logit, Unit, of_target, units_of
from featvis.objectives.vectors import read_vectors
from featvis.plan.defaults import (
    default_recipe,
    describe_form,
    fit_frames,
    fit_input,
    fit_penalties,
    fit_signal,
    with_diversity,
)
from featvis.plan.sets import align, coupled_by, for_set, shared_by, wanted_of
from featvis.plan.wanted import Wanted
from featvis.results.picture import to_levels
from featvis.spec import register
from featvis.spec.recipe import Recipe, recipe_files
from featvis.spec.stages import plan_stages
from featvis.spec.target import Target, expand, name_set, parse_request, parse_vectors
from featvis.transforms.base import Transform
from featvis.transforms.chain import check_transforms

AnyTarget = str | Target | Objective
"""What may be asked for: an address, a parsed one, or an objective."""


@dataclass(frozen=True)
class Plan:
    """What a call of :func:`render` will do, settled and checked before the first second of compute."""

    model: ModelHandle
    weights: str
    wanted: list[Wanted]
    notes: tuple[str, ...] = ()
    """What the user should know of it, each one line."""


def make_plan(
    model: ModelHandle,
    targets: AnyTarget | Sequence[AnyTarget],
    *,
    recipe: Recipe | str | None = None,
    seed: int = 0,
    seeds: int = 1,
    start: Tensor | None = None,
    space: ImageSpace | str | dict[str, Any] | None = None,
    transforms: Sequence[Transform] | None = None,
    penalties: Sequence[dict[str, Any]] | None = None,
    diverse: int = 0,
    **changes: Any,
) -> Plan:
    """Check everything that was asked and settle what will be rendered; see :func:`render`."""
    if not is_count(seed, 0):
        raise RecipeError(f"a seed is a whole number from 0 up, got {seed!r}")
    if not is_count(seeds, 1):
        raise RecipeError(f"seeds counts pictures of each target, at least 1, got {seeds!r}")
    if diverse:
        if not is_count(diverse, 2):
            raise RecipeError(f"diverse counts pictures of a set, at least 2, got {diverse!r}")
        if seeds != 1:
            raise RecipeError(f"diverse={diverse} renders so many seeds together; leave out seeds")
        seeds = diverse
    changes = _with_parts(changes, space, transforms, penalties)
    if start is not None:
        # The start is the canvas, unless a size was asked for (which it must then have).
        changes.setdefault("size", tuple(start.shape[-2:]))
        changes["start"] = digest(start)
    if model.signal:
        changes = fit_signal(model, changes, recipe)
    # Our own recipes must do for any network; what a user wrote is meant as it stands.
    ours = "penalties" not in changes and (recipe is None or str(recipe) in recipe_files())
    own = recipe if recipe is None or isinstance(recipe, Recipe) else Recipe.load(recipe)
    own = None if own is None else own.but(**changes)
    our_space = "space" not in changes and (own is None or str(recipe) in recipe_files())
    recipes: dict[str, Recipe] = {}
    checked: set[tuple[str, tuple[str, ...]]] = set()
    wanted: dict[tuple[str, int], Wanted] = {}
    if not isinstance(targets, str | Target | Objective | Sequence):
        raise TargetError(f"targets are addresses or objectives, got {type(targets).__name__}")
    requested = [targets] if isinstance(targets, str | Target | Objective) else list(targets)
    if not requested:
        raise TargetError("nothing to render: no target was given")
    together: dict[str, tuple[Objective, Recipe]] = {}
    for objective, name in (named for target in requested for named in _objectives(model, target)):
        used = own or default_recipe(model, objective, recipes, changes)
        used = fit_frames(model, fit_input(model, used), ours=our_space)
        network = network_for(model, used)
        bound = objective.bind(network)
        used = fit_penalties(network, used, bound) if ours else used
        used = with_diversity(used) if diverse else used
        shared = shared_by(used.space)
        coupled = coupled_by(bound, used) if shared is None else None
        if coupled is not None:
            used = for_set(used, coupled, seeds, changes.get("lanes"))
        kind = (used.model_dump_json(), bound.layers)
        if kind not in checked:  # a thousand classes share one recipe and one layer
            _check_parts(model, used, bound, start)
            checked.add(kind)
        name = name or bound.describe()
        if shared is not None:
            together.setdefault(name, (bound, used))
            continue
        mates = (seed, seeds) if coupled is not None else None
        name = name if mates is None else name_set(name, *mates)
        for number in range(seed, seed + seeds):
            wanted.setdefault((name, number), wanted_of(bound, name, used, number, start, mates))
    if together:
        if diverse and len(together) > 1:
            raise RecipeError("a diverse set is of one target, an aligned one of all: leave out diverse")
        lanes = changes.get("lanes")
        for item in align(together, range(seed, seed + seeds), lanes=lanes, start=start):
            wanted[item.name, item.seed] = item
    return Plan(model, model.fingerprint(), list(wanted.values()), tuple(describe_form(model)))


def is_count(value: object, least: int) -> bool:
    """Whether a value is a whole number from ``least`` up; True and False are none."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _objectives(model: ModelHandle, target: AnyTarget) -> Iterator[tuple[Objective, str | None]]:
    """The objectives that a target names, each with its address if it has one."""
    if isinstance(target, str) and (rows := parse_vectors(target)) is not None:
        for objective in read_vectors(rows):
            yield objective, None
    elif isinstance(target, str):
        request = parse_request(target)
        for layer in request.layers:
            # Units and names do not depend on the canvas, so the network's own will do.
            info = model.at(model.input_size).layer(layer)
            for unit in expand(replace(request, layer=layer), info.units, info.labels):
                yield of_target(unit), str(unit)
    elif isinstance(target, Target):
        yield of_target(target), str(target)
    elif isinstance(target, Logit):
        bound = target.bind(model.at(model.input_size))
        yield bound, bound.describe()
    elif isinstance(target, Objective):
        yield target, None
    else:
        raise TargetError(f"a target is an address or an objective, got {type(target).__name__}")


def network_for(model: ModelHandle, recipe: Recipe) -> NetworkAt:
    """Return the network at the canvas that a recipe shows it."""
    return model.at(recipe.shown_size)


def _check_parts(model: ModelHandle, recipe: Recipe, bound: Objective, start: Tensor | None) -> None:
    """Build every part once and let the penalties look at the network, so that mistakes show now."""
    space: ImageSpace = register.make("images", recipe.space, size=recipe.size, channels=model.channels)
    if recipe.stages:
        _check_stages(model, recipe, bound, space, start)
    transforms = [register.make("transforms", spec) for spec in recipe.transforms]
    for stage in plan_stages(recipe.stages, recipe.size, recipe.steps):
        check_transforms(transforms, stage.size, recipe.input_size or stage.size)
    for spec in recipe.penalties:
        if spec["name"] == "alpha" and space.backdrop is None:
            raise RecipeError(
                "the penalty 'alpha' is for images with transparency; give space = {name = \"alpha\"}"
            )
        register.make("objectives", spec).beside(bound.layers, units_of(bound)).bind(
            network_for(model, recipe)
        )
    if start is not None:
        if not space.fits:
            raise RecipeError(f"the image space {recipe.space['name']!r} cannot start from an image")
        space.check_image(start)


def _check_stages(
    model: ModelHandle, recipe: Recipe, bound: Objective, space: ImageSpace, start: Tensor | None
) -> None:
    if start is not None and (space.held or space.image_channels != space.channels):
        raise RecipeError(
            f"the image space {recipe.space['name']!r} starts from an image on the whole canvas only; "
            "leave out stages"
        )
    if isinstance(bound, Unit) and bound.positions[0] is not None:
        raise RecipeError(
            f"{bound.describe()} is one position of the whole canvas' map, which smaller canvases have not; "
            "leave out stages"
        )
    stages = plan_stages(recipe.stages, recipe.size, recipe.steps)
    for stage, later in itertools.pairwise(stages):
        smaller = space.resized(stage.size)
        drawn = smaller.draw(torch.Generator().manual_seed(0))
        smaller.grow({name: value[None] for name, value in drawn.items()}, space.resized(later.size))
        model.at(recipe.input_size or stage.size)


def _with_parts(
    changes: dict[str, Any],
    space: ImageSpace | str | dict[str, Any] | None,
    transforms: Sequence[Transform] | None,
    penalties: Sequence[dict[str, Any]] | None,
) -> dict[str, Any]:
    changes = dict(changes)
    if isinstance(space, str | dict):
        changes["space"] = register.check("images", space)
    elif space is not None:
        changes["space"] = register.describe(space)
        if space.size is not None:
            if changes.get("size") not in (None, space.size):
                raise CanvasError(f"two canvases: size={changes['size']} and the image space's {space.size}")
            changes["size"] = space.size
    if transforms is not None:
        for transform in transforms:
            if not isinstance(transform, Transform):
                raise RecipeError(
                    f"transforms are fv.Warp(...), fv.Noise(...) …, got {type(transform).__name__}"
                )
        changes["transforms"] = [register.describe(transform) for transform in transforms]
    if penalties is not None:
        changes["penalties"] = list(penalties)
    for name in changes:
        if name not in Recipe.model_fields:
            raise RecipeError(unknown("option", name, Recipe.model_fields, "a field of the recipe"))
    return changes


def digest(image: Tensor) -> str:
    """Return what a recipe says of the image that a run starts from."""
    return "sha256:" + hashlib.sha256(to_levels(image.clamp(0, 1)).tobytes()).hexdigest()[:32]
