"""render and reproduce: the front door of the Python API and of the command line."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from featvis import parts
from featvis.ascent import Step
from featvis.errors import CanvasError, ModelError, RecipeError, TargetError, UserError, unknown
from featvis.execute.local import execute
from featvis.images.base import ImageSpace
from featvis.jobs import Wanted, Watch, plan, seen_size, settle
from featvis.models.handle import ModelHandle
from featvis.models.load import load_model
from featvis.objectives.base import Objective
from featvis.objectives.unit import Logit, Unit, of_target
from featvis.pictures import Picture, load_picture, to_levels, write_whole
from featvis.recipe import Recipe
from featvis.sheets import grid
from featvis.store import Store
from featvis.target import Target, expand, parse_request
from featvis.transforms.base import Transform

Wish = str | Target | Objective

TEXTURE_STRIDE = 4
"""Units of a map whose positions are so many pixels apart or fewer see little more than a texture."""


@dataclass(frozen=True)
class Plan:
    """What a call of :func:`render` will do, settled and checked before the first second of compute."""

    model: ModelHandle
    weights: str
    wanted: list[Wanted]


class Reporter(Protocol):
    """Whoever is told how a run goes; :class:`featvis.progress.Report` shows it."""

    def begin(self, total: int, done: int, steps: int) -> None:
        """Hear how many pictures there are, how many are done, how many steps the rest takes."""

    def step(self, step: Step) -> None:
        """Hear of a step."""

    def picture(self, picture: Picture) -> None:
        """Hear of a finished picture."""

    def say(self, line: str) -> None:
        """Hear a line worth showing."""


def render(
    model: ModelHandle | str,
    targets: Wish | Sequence[Wish],
    *,
    recipe: Recipe | str | None = None,
    seed: int = 0,
    seeds: int = 1,
    out: str | Path | None = None,
    start: Tensor | None = None,
    progress: bool = False,
    space: ImageSpace | str | dict[str, Any] | None = None,
    transforms: Sequence[Transform] | None = None,
    penalties: Sequence[dict[str, Any]] | None = None,
    watch: Watch | None = None,
    **changes: Any,
) -> list[Picture]:
    """Render pictures of what units look for.

    Args:
        model: from :func:`featvis.load_model`, or a name that it takes.
        targets: addresses (``"blocks.3:0:8"``, ``"classifier:Pembroke"``), objectives, or a list of them.
        recipe: a :class:`Recipe`, its name or file; by default ``portrait`` for classes,
            ``texture`` for early layers (positions up to 4 pixels apart), ``channel`` for the rest.
        seed: of the chance of each picture.
        seeds: how many pictures of each target, from seeds ``seed``, ``seed + 1`` …
        out: a folder to write pictures, grids and manifest to; what is there already is not rendered again.
        start: an image ``(C, H, W)`` in [0, 1] to start from instead of noise.
        progress: show a progress bar.
        space: an image space, instead of the recipe's; its ``size`` sets the canvas.
        transforms: instead of the recipe's.
        penalties: instead of the recipe's, for instance ``[{"name": "l2", "weight": 0.1}]``.
        watch: called with every :class:`Step`.
        **changes: any other field of the recipe: ``size``, ``steps``, ``lanes``, ``learning_rate`` …

    Returns:
        The pictures, in the order of the targets.

    Raises:
        UserError: anything wrong in what was asked, before any compute.
    """
    handle = load_model(model)
    planned = make_plan(
        handle,
        targets,
        recipe=recipe,
        seed=seed,
        seeds=seeds,
        start=start,
        space=space,
        transforms=transforms,
        penalties=penalties,
        **changes,
    )
    store = open_store(planned, Path(out)) if out is not None else None
    if progress:
        from featvis.progress import Report  # rich is needed only here

        with Report() as report:
            return list(run_plan(planned, store, watch=watch, report=report))
    return list(run_plan(planned, store, watch=watch))


def make_plan(
    model: ModelHandle,
    targets: Wish | Sequence[Wish],
    *,
    recipe: Recipe | str | None = None,
    seed: int = 0,
    seeds: int = 1,
    start: Tensor | None = None,
    space: ImageSpace | str | dict[str, Any] | None = None,
    transforms: Sequence[Transform] | None = None,
    penalties: Sequence[dict[str, Any]] | None = None,
    **changes: Any,
) -> Plan:
    """Check everything that was asked and settle what will be rendered; see :func:`render`."""
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise RecipeError(f"a seed is a whole number from 0 up, got {seed!r}")
    if isinstance(seeds, bool) or not isinstance(seeds, int) or seeds < 1:
        raise RecipeError(f"seeds counts pictures of each target, at least 1, got {seeds!r}")
    changes = _with_parts(changes, space, transforms, penalties)
    if start is not None:
        # The start is the canvas, unless a size was asked for (which it must then have).
        changes.setdefault("size", tuple(start.shape[-2:]))
        changes["start"] = _digest(start)
    given = None if recipe is None else (recipe if isinstance(recipe, Recipe) else Recipe.load(recipe))
    if given is not None:
        given = given.but(**changes)
    recipes: dict[str, Recipe] = {}
    wanted: dict[tuple[str, int], Wanted] = {}
    if not isinstance(targets, str | Target | Objective | Sequence):
        raise TargetError(f"targets are addresses or objectives, got {type(targets).__name__}")
    wishes = [targets] if isinstance(targets, str | Target | Objective) else list(targets)
    if not wishes:
        raise TargetError("nothing to render: no target was given")
    for wish in wishes:
        for objective, name in _objectives(model, wish):
            used = given or _default_recipe(model, objective, recipes, changes)
            used = _for_input(model, used)
            network = _network(model, used)
            bound = objective.bind(network)
            _check_parts(model, used, bound, start)
            name = name or bound.describe()
            for number in range(seed, seed + seeds):
                one = _wanted(bound, name, settle(used), number, start)
                wanted.setdefault((name, number), one)
    return Plan(model, model.fingerprint(), list(wanted.values()))


def open_store(planned: Plan, out: Path) -> Store:
    """Open the folder that a plan's pictures go to; see :class:`featvis.store.Store`."""
    recipe = planned.wanted[0].recipe.to_json()
    return Store(out, model=planned.model.name, weights=planned.weights, recipe=recipe)


def run_plan(
    planned: Plan,
    store: Store | None = None,
    *,
    watch: Watch | None = None,
    report: Reporter | None = None,
) -> Iterator[Picture]:
    """Render what a plan lacks and yield all its pictures in the order asked for.

    Pictures are written to the store as soon as they are finished, so that an interruption loses
    nothing but the job under way; manifest and grids are written on every way out.
    """
    finished: dict[tuple[str, int], Picture] = {}
    missing: list[Wanted] = []
    for one in planned.wanted:
        picture = store.done(one.key(planned.weights)) if store is not None else None
        if picture is None:
            missing.append(one)
        else:
            finished[one.name, one.seed] = picture
    if report is not None:
        report.begin(len(planned.wanted), len(finished), sum(job.recipe.steps for job in plan(missing)))

    def hear(step: Step) -> None:
        if report is not None:
            report.step(step)
        if watch is not None:
            watch(step)

    say = report.say if report is not None else None
    try:
        for picture in execute(missing, planned.model, planned.weights, watch=hear, say=say):
            if store is not None:
                store.add(picture)
                store.write_manifest()
            if report is not None:
                report.picture(picture)
            finished[picture.target, picture.seed] = picture
    finally:
        if store is not None:
            store.adopt()  # a file that was being entered when we were interrupted
        if store is not None and store.entries:
            store.write_manifest()
            write_grids(store, [finished[key] for key in _order(planned) if key in finished])
    for key in _order(planned):
        yield finished[key]


def write_grids(store: Store, pictures: Sequence[Picture]) -> list[Path]:
    """Write each layer's grid of the pictures given."""
    layers: dict[str, list[Picture]] = {}
    for picture in pictures:
        layers.setdefault(picture.layer, []).append(picture)
    paths = []
    for layer, group in layers.items():
        buffer = io.BytesIO()
        grid(group, title=f"{group[0].model}  {layer}").save(buffer, "PNG")
        paths.append(write_whole(store.grid_path(layer), buffer.getvalue()))
    return paths


def reproduce(
    path: str | Path,
    model: ModelHandle | str | None = None,
    *,
    objective: Objective | None = None,
    start: Tensor | None = None,
) -> Picture:
    """Render a picture again from what its PNG carries: on the same machine, the same bytes.

    Args:
        path: a PNG that featvis wrote.
        model: the network; by default the one that the file names.
        objective: for a picture of a custom objective, the objective.
        start: for a picture that started from an image, the image.

    Raises:
        OutputError: the file carries no recipe.
        ModelError: the network's weights are not the ones it was made with.
        UserError: the objective or the start image is needed, or is another one.
    """
    old = load_picture(path)
    handle = load_model(model if model is not None else old.model)
    weights = handle.fingerprint()
    if weights != old.weights:
        raise ModelError(
            f"{path} was made with {old.model!r}, weights {old.weights[:12]}…; these are {weights[:12]}…"
        )
    recipe = Recipe(**old.recipe)
    network = _network(handle, recipe)
    if old.unit is not None:
        position = parse_request("x:" + old.target.rpartition(":")[2]).position
        bound = of_target(Target(old.layer, old.unit, position)).bind(network)
    elif objective is None:
        raise UserError(f"{path} is a picture of {old.target}; give that objective to reproduce it")
    else:
        bound = objective.bind(network)
        if bound.describe() != old.target:
            raise UserError(f"{path} is a picture of {old.target}, not of {bound.describe()}")
    if recipe.start is not None and start is None:
        raise UserError(f"{path} started from an image ({recipe.start}); give that image")
    if start is not None and recipe.start != _digest(start):
        raise UserError(f"{path} did not start from this image")
    one = _wanted(bound, old.target, recipe, old.seed, start)
    pictures = execute([replace(one, attempt=old.attempt)], handle, weights)
    picture = next(iter(pictures))
    picture.asked_key = old.asked_key
    return picture


def _objectives(model: ModelHandle, wish: Wish) -> Iterator[tuple[Objective, str | None]]:
    """The objectives that a wish names, each with its address if it has one."""
    if isinstance(wish, str):
        request = parse_request(wish)
        # Units and names do not depend on the canvas, so the network's own will do.
        info = model.at(model.input_size).layer(request.layer)
        for target in expand(request, info.units, info.labels):
            yield of_target(target), str(target)
    elif isinstance(wish, Target):
        yield of_target(wish), str(wish)
    elif isinstance(wish, Logit):
        bound = wish.bind(model.at(model.input_size))
        yield bound, bound.describe()
    elif isinstance(wish, Objective):
        yield wish, None
    else:
        raise TargetError(f"a target is an address or an objective, got {type(wish).__name__}")


def _wanted(bound: Objective, name: str, recipe: Recipe, seed: int, start: Tensor | None) -> Wanted:
    layer, unit, label = "", None, ""
    if isinstance(bound, Unit):
        layer, unit, label = bound.layer, bound.units[0], bound.label
    return Wanted(bound, name, recipe, seed, layer=layer, unit=unit, label=label, start=start)


def _default_recipe(
    model: ModelHandle, objective: Objective, recipes: dict[str, Recipe], changes: dict[str, Any]
) -> Recipe:
    name = "channel"
    if isinstance(objective, Unit):
        layer = model.at(model.input_size).find(objective.layer)
        if len(layer.shape) == 2:
            name = "portrait"
        elif layer.stride is not None and max(layer.stride) <= TEXTURE_STRIDE:
            name = "texture"
    if name not in recipes:
        recipes[name] = Recipe.load(name).but(**changes)
    return recipes[name]


def _for_input(model: ModelHandle, recipe: Recipe) -> Recipe:
    """Let a network that takes images of one size only look at a canvas of any size."""
    if recipe.input_size is None and recipe.size != model.input_size and model.takes_one_size:
        return recipe.but(input_size=model.input_size)
    return recipe


def _network(model: ModelHandle, recipe: Recipe) -> Any:
    return model.at(seen_size(recipe))


def _check_parts(model: ModelHandle, recipe: Recipe, bound: Objective, start: Tensor | None) -> None:
    """Build every part once and let the penalties look at the network, so that mistakes show now."""
    space: ImageSpace = parts.make("images", recipe.space, size=recipe.size, channels=model.channels)
    for spec in recipe.transforms:
        parts.make("transforms", spec)
    for spec in recipe.penalties:
        parts.make("objectives", spec).beside(bound.layers).bind(_network(model, recipe))
    if start is not None:
        if not space.fits:
            raise RecipeError(f"the image space {recipe.space['name']!r} cannot start from an image")
        space.check_image(start)


def _with_parts(
    changes: dict[str, Any],
    space: ImageSpace | str | dict[str, Any] | None,
    transforms: Sequence[Transform] | None,
    penalties: Sequence[dict[str, Any]] | None,
) -> dict[str, Any]:
    changes = dict(changes)
    if isinstance(space, str | dict):
        changes["space"] = parts.check("images", space)
    elif space is not None:
        changes["space"] = parts.describe(space)
        if space.size is not None:
            if changes.get("size") not in (None, space.size):
                raise CanvasError(f"two canvases: size={changes['size']} and the image space's {space.size}")
            changes["size"] = space.size
    if transforms is not None:
        for one in transforms:
            if not isinstance(one, Transform):
                raise RecipeError(f"transforms are fv.Warp(...), fv.Noise(...) …, got {type(one).__name__}")
        changes["transforms"] = [parts.describe(one) for one in transforms]
    if penalties is not None:
        changes["penalties"] = list(penalties)
    for name in changes:
        if name not in Recipe.model_fields:
            raise RecipeError(unknown("option", name, Recipe.model_fields, "a field of the recipe"))
    return changes


def _digest(image: Tensor) -> str:
    return "sha256:" + hashlib.sha256(to_levels(image.clamp(0, 1)).tobytes()).hexdigest()[:32]


def _order(planned: Plan) -> list[tuple[str, int]]:
    return [(one.name, one.seed) for one in planned.wanted]
