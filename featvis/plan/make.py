"""From what is asked to what will be rendered: every mistake is found here, before any compute."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from featvis.errors import CanvasError, ModelError, RecipeError, TargetError, UserError, unknown
from featvis.images.base import ImageSpace
from featvis.models.borrow.moments import layer_of
from featvis.models.handle import ModelHandle
from featvis.models.layers.network import NetworkAt
from featvis.models.photograph import Photograph, read_photograph
from featvis.objectives.base import Objective
from featvis.objectives.unit import Logit, Unit, of_target, units_of
from featvis.objectives.vectors import read_vectors
from featvis.plan.defaults import (
    default_recipe,
    describe_form,
    fit_canvas,
    fit_frames,
    fit_input,
    fit_penalties,
    fit_signal,
    what_would_help,
    with_diversity,
)
from featvis.plan.sets import align, coupled_by, for_set, pool, pooled_by, shared_by, wanted_of
from featvis.plan.wanted import Wanted
from featvis.results.picture import to_levels
from featvis.spec import register
from featvis.spec.options import plain
from featvis.spec.recipe import Recipe, recipe_files
from featvis.spec.stages import plan_stages
from featvis.spec.target import Target, expand, name_set, parse_vectors
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
    recipe: Recipe | str | dict[str, Any] | None = None,
    seed: int = 0,
    seeds: int = 1,
    start: Photograph | None = None,
    space: ImageSpace | str | dict[str, Any] | None = None,
    transforms: Sequence[Transform | str | dict[str, Any]] | None = None,
    penalties: Sequence[dict[str, Any]] | None = None,
    diverse: int = 0,
    **changes: Any,
) -> Plan:
    """Check everything that was asked and settle what will be rendered; see :func:`render`."""
    seed, seeds, diverse = plain(seed), plain(seeds), plain(diverse)
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
    if isinstance(recipe, dict):
        recipe = Recipe.load(recipe)
    changes = _with_parts(changes, space, transforms, penalties)
    beginning = None if start is None else read_start(model, start, changes.get("size"))
    if beginning is not None:
        # The start is the canvas, unless a size was asked for (which it must then have).
        changes.setdefault("size", tuple(beginning.shape[-2:]))
        changes["start"] = digest(beginning)
    if model.signal:
        changes = fit_signal(model, changes, recipe)
    # Our own recipes must do for any network; what a user wrote is meant as it stands.
    ours = "penalties" not in changes and (recipe is None or ours_by_name(recipe))
    own = recipe if recipe is None or isinstance(recipe, Recipe) else Recipe.load(recipe)
    asked = set(changes)
    if own is not None:
        asked = asked if ours_by_name(recipe) else asked | own.model_fields_set
        own = own.but(**changes)
    notes: dict[str, None] = {}
    our_space = "space" not in changes and (own is None or ours_by_name(recipe))
    recipes: dict[str, Recipe] = {}
    checked: set[tuple[str, tuple[str, ...]]] = set()
    wanted: dict[tuple[str, int], Wanted] = {}
    if not isinstance(targets, str | Target | Objective | Sequence):
        raise TargetError(f"targets are addresses or objectives, {_not_one(targets)}")
    requested = [targets] if isinstance(targets, str | Target | Objective) else list(targets)
    if len(requested) == 2 and isinstance(requested[0], str) and _address(*requested) is not None:
        raise TargetError(f"one target is one text: {_address(*requested)!r}, not {tuple(requested)!r}")
    if not requested:
        raise TargetError("nothing to render: no target was given")
    together: dict[str, tuple[Objective, Recipe]] = {}
    functions: dict[str, Objective] = {}
    with model.unchanging():
        for objective, name in (named for target in requested for named in _objectives(model, target, notes)):
            used = own or default_recipe(model, objective, recipes, changes)
            if asked.isdisjoint(("size", "start", "input_size")) and not model.signal:
                used, note = fit_canvas(model, used, asked)
                notes |= dict.fromkeys([note] if note else [])
            used = fit_frames(model, fit_input(model, used), ours=our_space)
            network = network_for(model, used)
            bound = objective.bind(network)
            fitted = fit_penalties(network, used, bound) if ours else used
            notes |= dict.fromkeys(filter(None, [what_would_help(network, used, fitted, bound)]))
            used = fitted
            used = with_diversity(used) if diverse else used
            shared = shared_by(used.space)
            pooled = pooled_by(used) if shared is None and not bound.coupled else None
            coupled = coupled_by(bound, used) if shared is None and pooled is None else None
            if any(network.find(layer_of(layer)).mixes for layer in bound.layers):
                if any(why is not None for why in (coupled, shared, pooled)):
                    raise ModelError(
                        f"{model.name} mixes the pictures of a batch (BatchNorm without running "
                        f"statistics?), so that no set of pictures can be rendered of "
                        f"{', '.join(bound.layers)}"
                    )
                if used.lanes > 1:
                    used = used.but(lanes=1)
                    notes[f"{model.name} mixes the pictures of a batch, so each is rendered by itself"] = None
            if coupled is not None:
                used = for_set(used, coupled, seeds, changes.get("lanes"))
            kind = (used.model_dump_json(), bound.layers)
            if kind not in checked:  # a thousand classes share one recipe and one layer
                _check_parts(model, used, bound, beginning)
                checked.add(kind)
            name = name or bound.describe()
            _check_one_function(functions, name, bound)
            if shared is not None or pooled is not None:
                together.setdefault(name, (bound, used))
                continue
            mates = (seed, seeds) if coupled is not None else None
            name = name if mates is None else name_set(name, *mates)
            for number in range(seed, seed + seeds):
                wanted.setdefault((name, number), wanted_of(bound, name, used, number, beginning, mates))
    if together:
        if diverse and len(together) > 1:
            raise RecipeError("a diverse set is of one target, an aligned one of all: leave out diverse")
        lanes = changes.get("lanes")
        _, used = next(iter(together.values()))
        if shared_by(used.space) is not None:
            items = align(together, range(seed, seed + seeds), lanes=lanes, start=beginning)
        else:
            if diverse or beginning is not None:
                what = "diverse set" if diverse else "start image"
                raise RecipeError(f"pooled statistics are of many units: no {what} with them")
            network = network_for(model, used)
            numbers = range(seed, seed + seeds)
            items = [item for number in numbers for item in pool(together, number, network, lanes=lanes)]
        for item in items:
            wanted[item.name, item.seed] = item
    return Plan(model, model.fingerprint(), list(wanted.values()), (*describe_form(model), *notes))


def _check_one_function(functions: dict[str, Objective], name: str, bound: Objective) -> None:
    """Raise UserError for two objectives of one name that are not of the same functions."""
    first = functions.setdefault(name, bound)
    if first is not bound and first.code() != bound.code():
        raise UserError(
            f"two different functions are both called {name}, so that their pictures could not be told "
            f"apart: give each a name, @fv.objective(layers={list(bound.layers)}, name=…)"
        )


def ours_by_name(recipe: Recipe | str | None) -> bool:
    """Whether one of our named recipes was asked for."""
    return not isinstance(recipe, Recipe) and str(recipe) in recipe_files()


def is_count(value: object, least: int) -> bool:
    """Whether a value is a whole number from ``least`` up; True and False are none."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _objectives(
    model: ModelHandle, target: AnyTarget, notes: dict[str, None]
) -> Iterator[tuple[Objective, str | None]]:
    """The objectives that a target names, each with its address if it has one."""
    if isinstance(target, str) and (rows := parse_vectors(target)) is not None:
        for layer in rows.layers:
            width = model.at(model.input_size).layer(layer).units
            for objective in read_vectors(replace(rows, layers=(layer,)), width):
                yield objective, None
    elif isinstance(target, str):
        # Units and names do not depend on the canvas, so the network's own will do.
        network = model.at(model.input_size)
        request = network.request(target)
        for layer in request.layers:
            info = network.layer(layer)
            logits = network.logits_of(layer)
            if logits is not None:
                notes[
                    f"{layer!r} gives probabilities, which rise by lowering the others; {logits!r}, which "
                    "they are the softmax of, is climbed"
                ] = None
            elif network.gives_probabilities(layer):
                notes[
                    f"{layer!r} gives probabilities, which hardly rise from far away; try a layer before it"
                ] = None
            for unit in expand(replace(request, layer=layer), info.units, info.labels):
                unit = unit if logits is None else replace(unit, layer=logits)
                yield of_target(unit), str(unit)
    elif isinstance(target, Target):
        yield of_target(target), str(target)
    elif isinstance(target, Logit):
        bound = target.bind(model.at(model.input_size))
        yield bound, bound.describe()
    elif isinstance(target, Objective):
        yield target, None
    else:
        raise TargetError(f"a target is an address or an objective, {_not_one(target)}")


def _address(layer: object, units: object) -> str | None:
    """Return the address of units that were given as numbers beside their layer; None if they are none."""
    if isinstance(units, range):
        return f"{layer}:{units.start}:{units.stop}" + (f":{units.step}" if units.step != 1 else "")
    if isinstance(units, list | tuple) and units and all(is_count(unit, 0) for unit in units):
        return f"{layer}:{','.join(map(str, units))}"
    return f"{layer}:{units}" if is_count(units, 0) else None


def _not_one(target: object) -> str:
    """Say what was given for a target, and the nearest right thing."""
    if isinstance(target, list | tuple) and len(target) == 2 and isinstance(target[0], str):
        address = _address(*target)
        if address is not None:
            return f"one text each: {address!r}, not {target!r}"
    if isinstance(target, Transform):
        return "got a transform; those go into transforms=[…]"
    if isinstance(target, nn.Module):
        return "got a network, which comes first: fv.render(model, targets)"
    if callable(target):
        name = getattr(target, "__name__", type(target).__name__)
        return (
            f"got the function {name}; say which layers it reads by @fv.objective(layers=[…]) above its def, "
            f"or fv.objective(layers=[…])({name})"
        )
    return f"got {type(target).__name__}"


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
    transforms: Sequence[Transform | str | dict[str, Any]] | None,
    penalties: Sequence[dict[str, Any]] | None,
) -> dict[str, Any]:
    changes = dict(changes)
    if isinstance(space, str | dict):
        changes["space"] = register.check("images", space)
    elif space is not None and not hasattr(space, "part_name"):
        spaces = ", ".join(register.names("images"))
        what = getattr(space, "__name__", type(space).__name__)
        raise RecipeError(f"space is an image space, fv.FourierImage(…), or a name ({spaces}), got {what}")
    elif space is not None:
        changes["space"] = register.describe(space)
        if space.size is not None:
            if changes.get("size") is not None and Recipe(size=changes["size"]).size != space.size:
                raise CanvasError(f"two canvases: size={changes['size']} and the image space's {space.size}")
            changes["size"] = space.size
    if transforms is not None:
        if not isinstance(transforms, list | tuple):
            raise RecipeError(f"transforms are a list: transforms=[fv.Warp(…)], got {transforms!r}")
        changes["transforms"] = [_described(transform) for transform in transforms]
    if penalties is not None:
        changes["penalties"] = penalties
    for name in changes:
        if name not in Recipe.model_fields:
            known = [*Recipe.model_fields, *_OPTIONS]
            raise RecipeError(unknown("option", name, known, "a field of the recipe, or an option of render"))
    return changes


_OPTIONS = (
    *("recipe", "seed", "seeds", "out", "start", "progress", "space", "transforms", "penalties", "diverse"),
    *("watch", "snapshots", "video", "transparency", "executor", "executor_options"),
)
"""What :func:`featvis.render` takes besides the fields of a recipe."""


def _described(transform: object) -> dict[str, Any]:
    """Return a transform, or its name, or a table of its options, as a recipe holds it."""
    if isinstance(transform, Transform):
        return register.describe(transform)
    if isinstance(transform, str | dict):
        return register.check("transforms", transform)
    if isinstance(transform, type) and issubclass(transform, Transform):
        raise RecipeError(f"transforms are made: fv.{transform.__name__}(…), not fv.{transform.__name__}")
    if callable(transform):
        name = getattr(transform, "__name__", type(transform).__name__)
        how = "@fv.transform above its def, or fv.transform(function, name=…)"
        raise RecipeError(f"a function becomes a transform by {how}; got {name}")
    raise RecipeError(f"transforms are fv.Warp(...), fv.Noise(...) …, got {type(transform).__name__}")


def read_start(model: ModelHandle, start: Photograph, size: Any) -> Tensor:
    """Return the image that a run starts from; a file or PIL image is resized to ``size``, if any."""
    canvas = None if size is None else Recipe(size=size).size
    # One channel more is the alpha of the image space "alpha".
    counts = (model.channels, model.channels + 1)
    return read_photograph(start, counts, size=canvas, what="a start image")


def digest(image: Tensor) -> str:
    """Return what a recipe says of the image that a run starts from."""
    return "sha256:" + hashlib.sha256(to_levels(image.clamp(0, 1)).tobytes()).hexdigest()[:32]
