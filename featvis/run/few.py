"""Lanes for what is asked: one picture does not pay for eight."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from featvis.plan.make import Plan
from featvis.plan.wanted import candidates_of
from featvis.results.store import made_with


def settle_lanes(plan: Plan, manifest: Mapping[str, Any] | None = None) -> Plan:
    """Give pictures of one kind as many lanes as they need, where that is fewer than the recipe's.

    A power of two, so that a few more or fewer pictures have the same bytes. A folder keeps its first choice.
    """
    kinds: dict[object, list[int]] = {}
    for place, wanted in enumerate(plan.wanted):
        if wanted.mates is None:
            kind = (wanted.recipe.model_dump_json(), wanted.objective.stacks_with())
            kinds.setdefault(kind, []).append(place)
    settled = list(plan.wanted)
    for places in kinds.values():
        group = [plan.wanted[place] for place in places]
        recipe = group[0].recipe
        needed = 1 << (len(candidates_of(group)) - 1).bit_length()
        kept = made_with(manifest or {}, group[0].layer, recipe, {"lanes"})
        lanes = min(needed, recipe.lanes) if kept is None else int(kept["lanes"])
        if lanes != recipe.lanes:
            recipe = recipe.but(lanes=lanes)
            for place in places:
                settled[place] = replace(plan.wanted[place], recipe=recipe)
    return replace(plan, wanted=settled)
