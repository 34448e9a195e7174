"""A folder keeps the number of CPU threads of its pictures, for another number gives other bytes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from featvis.errors import RecipeError
from featvis.plan.make import Plan
from featvis.plan.wanted import Wanted
from featvis.results.manifest import picture_name
from featvis.spec.bounds import MOST
from featvis.spec.recipe import Recipe


def settle_threads(
    plan: Plan,
    folder: Path | None,
    manifest: Mapping[str, Any] | None,
    free: Collection[str] = (),
    own: int | None = None,
) -> Plan:
    """Settle the number of CPU threads of the pictures whose recipes do not state one.

    It is the one that the folder's pictures were made with (a note of the plan says so where it is not this
    machine's), else ``own``, by default this machine's. ``free`` are the fields that the folder chooses, too.
    """
    own = own or torch.get_num_threads()
    kept = None if manifest is None else find_threads(plan.wanted, plan.weights, manifest, free)
    notes = plan.notes
    if kept not in (None, own):
        notes += (
            f"the pictures in {folder} were made by {kept} CPU threads, which is kept (here it would be "
            f"{own}): another number gives other bytes; the recipe's threads state one",
        )
    changed: dict[str, Recipe] = {}

    def settled(wanted: Wanted) -> Wanted:
        if wanted.recipe.threads is not None:
            return wanted
        text = wanted.recipe.model_dump_json()
        if text not in changed:
            changed[text] = wanted.recipe.but(threads=kept or own)
        among = tuple(settled(replace(other, among=())) for other in wanted.among)
        return replace(wanted, recipe=changed[text], among=among)

    return replace(plan, wanted=[settled(wanted) for wanted in plan.wanted], notes=notes)


def find_threads(
    wanted: Iterable[Wanted], weights: str, manifest: Mapping[str, Any], free: Collection[str] = ()
) -> int | None:
    """Return how many threads made most of a folder's pictures that are wanted but for that; None for none.

    Those count whose recipes do not state a number; ``free`` are further fields that may differ.
    """
    entries: dict[str, list[Mapping[str, Any]]] = {}
    for entry in manifest.get("pictures", []):
        entries.setdefault(picture_name(entry), []).append(entry)
    counts: Counter[int] = Counter()
    changed: dict[tuple[str, str], Recipe] = {}
    pairs = (
        (picture, entry)
        for picture in wanted
        if picture.recipe.threads is None
        for entry in entries.get(f"{picture.name} seed {picture.seed}", ())
    )
    for picture, entry in pairs:
        made = manifest.get("recipes", {}).get(str(entry.get("recipe")), {})
        count = made.get("threads")
        if not isinstance(count, int) or isinstance(count, bool) or not 1 <= count <= MOST["threads"]:
            continue
        kind = (picture.recipe.model_dump_json(), str(entry.get("recipe")))
        if kind not in changed:
            try:
                changed[kind] = picture.recipe.but(threads=count, **{name: made.get(name) for name in free})
            except RecipeError:  # the manifest's field is none
                continue
        if changed[kind].key(picture.name, picture.seed, weights) in (
            entry.get("key"),
            entry.get("asked_key"),
        ):
            counts[count] += 1
    return counts.most_common(1)[0][0] if counts else None
