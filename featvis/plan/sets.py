"""Pictures that are rendered together, for they depend on each other: which, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor

from featvis.errors import RecipeError, TargetError
from featvis.objectives.base import Objective
from featvis.objectives.unit import Unit, of_target
from featvis.plan.wanted import Wanted
from featvis.spec import register
from featvis.spec.recipe import Recipe
from featvis.spec.target import Target, name_set, parse_request


def coupled_by(bound: Objective, recipe: Recipe) -> str | None:
    """Return what makes a target's pictures depend on each other, or None."""
    if bound.coupled:
        return bound.describe()
    names = [penalty["name"] for penalty in recipe.penalties]
    return next((name for name in names if register.make("objectives", {"name": name}).coupled), None)


def shared_by(space: Mapping[str, Any]) -> str | None:
    """Return the image space, of those that a recipe's entry nests, that pictures have in common, or None."""
    if register.find("images", space["name"]).coupled is True:  # type: ignore[attr-defined]
        return str(space["name"])
    return shared_by(space["inner"]) if isinstance(space.get("inner"), dict) else None


def for_set(recipe: Recipe, coupled: str, count: int, lanes: Any) -> Recipe:
    """Return the recipe of ``count`` pictures that are rendered together: their number is its lanes.

    Raises:
        RecipeError: one picture alone, other lanes, or pictures that end one by one.
    """
    if count == 1:
        more = "several targets or seeds=4" if shared_by(recipe.space) is not None else "several: seeds=4"
        raise RecipeError(f"{coupled} compares pictures that are rendered together; ask for {more}")
    if lanes not in (None, count):
        raise RecipeError(f"{coupled}: the {count} pictures of a set are its lanes; leave out lanes={lanes}")
    if recipe.patience:
        raise RecipeError(f"{coupled}: pictures that are rendered together stop together; no patience")
    if recipe.best_of > 1:
        raise RecipeError(f"{coupled}: pictures of a set are not chosen one by one; no best_of")
    if recipe.optimizer == "lbfgs" and shared_by(recipe.space) is not None:
        raise RecipeError(f"{coupled}: lbfgs searches for each picture alone; take adam, nadam or sgd")
    return recipe.but(lanes=count)


def wanted_of(
    bound: Objective,
    name: str,
    recipe: Recipe,
    seed: int,
    start: Tensor | None,
    mates: tuple[int, int] | None = None,
) -> Wanted:
    """Return one wanted picture of a bound objective, perhaps one of a set."""
    layer, unit, label = "", None, ""
    if isinstance(bound, Unit):
        layer, unit, label = bound.layer, bound.units[0], bound.label
    variant = "picture"
    if mates is not None and unit is not None:
        variant = "diverse" if shared_by(recipe.space) is None else "aligned"
    return Wanted(
        bound,
        name,
        recipe,
        seed,
        layer=layer,
        unit=unit,
        label=label,
        start=start,
        variant=variant,
        mates=mates,
    )


def align(
    targets: Mapping[str, tuple[Objective, Recipe]],
    seeds: range,
    *,
    lanes: Any = None,
    start: Tensor | None = None,
) -> list[Wanted]:
    """Return the wanted pictures of one set: all targets and seeds share its image space.

    Args:
        targets: by name, each bound and with the recipe that it would have alone.
        seeds: of each target.
        lanes: as they were asked for; None for none.
        start: the image that every picture starts from.

    Raises:
        UserError: what is asked for is no set, or its targets have no addresses.
    """
    (_, used), *others = targets.values()
    shared = shared_by(used.space) or "shared"
    if others and not all(isinstance(other, Unit) for other, _ in targets.values()):
        raise TargetError(
            f"{shared}: a set of several targets is of units, by their addresses; "
            "of another objective render several seeds"
        )
    for name, (_, recipe) in list(targets.items())[1:]:
        if recipe != used:
            raise RecipeError(
                f"{shared}: {next(iter(targets))} and {name} have two recipes by their layers; "
                "pictures of one set have one: say it, for instance recipe='channel'"
            )
    used = for_set(used, shared, len(targets) * len(seeds), lanes)
    names = tuple(targets) if others else ()
    mates = (seeds[0], len(seeds))
    firsts = [
        wanted_of(bound, name_set(name, *mates, names), used, seeds[0], start, mates)
        for name, (bound, _) in targets.items()
    ]
    among = tuple(firsts) if others else ()
    return [replace(first, seed=seed, among=among) for first in firsts for seed in seeds]


def restore_set(wanted: Wanted, names: list[str], network: Any) -> Wanted:
    """Return a picture of a set with the set's other targets, which are known by their addresses alone."""
    if not names or wanted.mates is None:
        return wanted
    among = []
    for name in names:
        request = parse_request(name)
        target = Target(request.layer, int(request.units), request.position)
        full = name_set(name, *wanted.mates, names)
        among.append(
            wanted_of(of_target(target).bind(network), full, wanted.recipe, wanted.seed, None, wanted.mates)
        )
    return replace(wanted, among=tuple(among))
