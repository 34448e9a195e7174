"""A folder keeps the number of CPU threads of its pictures, for another number gives other bytes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from featvis.plan.make import Plan
from featvis.plan.wanted import Wanted
from featvis.results.store import Store
from featvis.spec.recipe import Recipe


def states_threads(recipe: Recipe | str | None, changes: Mapping[str, Any]) -> bool:
    """Whether a number of threads was asked for, instead of being left to the machine.

    Args:
        recipe: the recipe, its name or file; None for the layer's choice.
        changes: what is laid over it.
    """
    if changes.get("threads") is not None or recipe is None:
        return changes.get("threads") is not None
    return (recipe if isinstance(recipe, Recipe) else Recipe.load(recipe)).threads is not None


def find_threads(
    wanted: Iterable[Wanted],
    weights: str,
    entries: Mapping[str, Mapping[str, Any]],
    recipes: Mapping[str, Mapping[str, Any]],
    free: Collection[str] = (),
) -> int | None:
    """Return by how many threads a folder's pictures were made that are wanted but for that number.

    Args:
        wanted: pictures whose number of threads was left to the machine.
        weights: the fingerprint of the network's weights.
        entries: a manifest's, by the names of their pictures.
        recipes: a manifest's.
        free: further fields of the recipe that may differ.

    Returns:
        The number that most of them were made with; None where there are none.
    """
    found: Counter[int] = Counter()
    changed: dict[tuple[str, str], Recipe] = {}
    for one in wanted:
        entry = entries.get(f"{one.name} seed {one.seed}", {})
        made = recipes.get(str(entry.get("recipe")), {})
        count = made.get("threads")
        if not isinstance(count, int) or isinstance(count, bool) or count < 1:
            continue
        kind = (one.recipe.model_dump_json(), str(entry.get("recipe")))
        if kind not in changed:
            changed[kind] = one.recipe.but(threads=count, **{name: made.get(name) for name in free})
        if changed[kind].key(one.name, one.seed, weights) in (entry.get("key"), entry.get("asked_key")):
            found[count] += 1
    return found.most_common(1)[0][0] if found else None


def with_threads(one: Wanted, count: int) -> Wanted:
    """Return the same wish, to be computed by so many threads."""
    return one if one.recipe.threads == count else replace(one, recipe=one.recipe.but(threads=count))


def tell_kept(folder: Path, kept: int | None) -> str | None:
    """Say in one line that a folder's number of threads is not this machine's; None if it is."""
    here = torch.get_num_threads()
    if kept is None or kept == here:
        return None
    return (
        f"the pictures in {folder} were made by {kept} CPU threads, which is kept (here it would be {here}): "
        "another number gives other bytes; the recipe's threads state one"
    )


def keep_threads(
    planned: Plan,
    store: Store | None,
    recipe: Recipe | str | None,
    changes: Mapping[str, Any],
    free: Collection[str] = (),
) -> Plan:
    """Let a plan go on by the number of threads that a folder's pictures were made with.

    Args:
        planned: what is wanted of the folder.
        store: the folder, if there is one; its notes tell where the number is not this machine's.
        recipe: as it was asked for.
        changes: what was laid over it.
        free: which of ``lanes`` and ``precision`` the folder chooses, too.
    """
    if store is None or states_threads(recipe, changes):
        return planned
    kept = find_threads(planned.wanted, planned.weights, store.entries, store.top["recipes"], free)
    note = tell_kept(store.folder, kept)
    if kept is None or note is None:
        return planned
    store.notes.append(note)
    wanted = [with_threads(one, kept) for one in planned.wanted]
    store.top["recipe"] = wanted[0].recipe.to_json()
    return replace(planned, wanted=wanted)
