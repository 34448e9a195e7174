"""Pictures that are rendered together, for they depend on each other: which, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from featvis import draws
from featvis.errors import RecipeError, TargetError
from featvis.models.layers.network import NetworkAt
from featvis.objectives.base import Objective
from featvis.objectives.unit import Unit, of_target
from featvis.plan.wanted import Wanted
from featvis.spec import register
from featvis.spec.recipe import Recipe
from featvis.spec.target import Target, name_set, read_target


def coupled_by(bound: Objective, recipe: Recipe) -> str | None:
    """Return what makes a target's pictures depend on each other, or None."""
    if bound.coupled:
        return bound.describe()
    coupled = (spec for spec in recipe.penalties if register.make("objectives", spec).coupled)
    return next((str(spec["name"]) for spec in coupled), None)


def pooled_by(recipe: Recipe) -> int | None:
    """Return how many pictures of any targets a penalty looks at together, or None."""
    return next((spec["pooled"] for spec in recipe.penalties if spec.get("pooled")), None)


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
        variant = "pooled" if pooled_by(recipe) is not None else variant
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


def pool(
    targets: Mapping[str, tuple[Objective, Recipe]], seed: int, network: NetworkAt, *, lanes: Any = None
) -> list[Wanted]:
    """Return the wanted pictures of one seed, in sets whose statistics are pooled; see ``batchnorm``.

    Args:
        targets: by name, each bound and with the recipe that it would have alone; their order makes the sets.
        seed: of all of them.
        network: where companions are found for the last set.
        lanes: as they were asked for; None for none.

    Raises:
        UserError: what is asked for is no set, or its targets are not units of one layer each.
    """
    wanted = []
    kinds: dict[tuple[str, str], list[str]] = {}
    for name, (bound, used) in targets.items():
        if not isinstance(bound, Unit) or bound.positions[0] is not None:
            raise TargetError("pooled statistics: a set is of whole units by their addresses, LAYER:UNIT")
        kinds.setdefault((bound.layer, used.model_dump_json()), []).append(name)
    for (layer, _), names in kinds.items():
        used = targets[names[0]][1]
        count = pooled_by(used)
        assert count is not None
        for place in range(0, len(names), count):
            asked = names[place : place + count]
            members = {name: targets[name][0] for name in asked}
            for unit in companions(network.layer(layer).units, len(names), seed):
                if len(members) == count:
                    break
                members.setdefault(f"{layer}:{unit}", of_target(Target(layer, unit)).bind(network))
            # A layer with fewer units than a set has pictures is a set of all its units.
            own = for_set(used, "pooled statistics", len(members), lanes)
            full = tuple(members)
            among = tuple(
                wanted_of(bound, name_set(name, seed, 1, full), own, seed, None, (seed, 1))
                for name, bound in members.items()
            )
            wanted += [replace(first, among=among) for first in among[: len(asked)]]
    return wanted


def companions(units: int, asked: int, seed: int) -> list[int]:
    """Return a layer's units in an order that only the seed and the number asked for settle.

    >>> sorted(companions(5, 1, 0)), companions(1000, 1, 0)[:3] == companions(1000, 1, 0)[:3]
    ([0, 1, 2, 3, 4], True)
    """
    generator = draws.stream(seed, f"companions of {asked}", 0, "units")
    return [int(unit) for unit in torch.randperm(units, generator=generator)]


def restore_set(wanted: Wanted, names: list[str], network: Any) -> Wanted:
    """Return a picture of a set with the set's other targets, which are known by their addresses alone."""
    if not names or wanted.mates is None:
        return wanted
    among = []
    for name in names:
        target = read_target(name)
        full = name_set(name, *wanted.mates, names)
        among.append(
            wanted_of(of_target(target).bind(network), full, wanted.recipe, wanted.seed, None, wanted.mates)
        )
    return replace(wanted, among=tuple(among))
