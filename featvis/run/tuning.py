"""Lanes and precision chosen by a short measurement on this machine."""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from featvis.devices import is_gpu, is_out_of_memory, wait
from featvis.engine.lanes import Step
from featvis.engine.record import recorder_for
from featvis.engine.replay import WARM_UP
from featvis.models.handle import ModelHandle
from featvis.plan.make import Plan
from featvis.plan.wanted import Job, Wanted, set_of
from featvis.results.store import made_with
from featvis.run.job import run_job

AUTO = "auto"
Precision = Literal["float32", "bfloat16"]
CPU_LANES = (4, 8, 16, 32)
GPU_LANES = (8, 32, 64, 128, 256)
WORTH = 1.05
"""More lanes, or fewer bits, must be faster by so much: an interruption loses more of more lanes."""
TIMED = 3


@dataclass(frozen=True)
class Choice:
    """What was chosen for one kind of job, and the milliseconds for a picture and step behind it."""

    lanes: int
    precision: Precision
    measured: dict[str, float]
    """By ``"LANES lanes PRECISION"``; what ran out of memory is left out."""


def take_auto(changes: dict[str, Any]) -> frozenset[str]:
    """Take ``auto`` out of the changes to a recipe; return which of ``lanes`` and ``precision`` said so."""
    asked = frozenset(name for name in ("lanes", "precision") if changes.get(name) == AUTO)
    for name in asked:
        del changes[name]
    return asked


def settle_auto(
    plan: Plan, asked: frozenset[str], manifest: Mapping[str, Any] | None = None
) -> tuple[Plan, dict[str, Choice]]:
    """Choose which ``lanes`` and ``precision`` (those ``asked`` for) are fastest, for each layer and recipe.

    A folder keeps its first choice: it is read from the manifest, for another choice would give other bytes.

    Returns:
        The plan with its recipes settled, and the choice that was measured for each layer (none if kept).
    """
    if not asked:
        return plan, {}
    kinds: dict[object, list[int]] = {}
    for place, wanted in enumerate(plan.wanted):
        kinds.setdefault(
            (wanted.recipe.model_dump_json(), set_of(wanted) if wanted.among else wanted.objective.layers), []
        ).append(place)
    settled = list(plan.wanted)
    choices: dict[str, Choice] = {}
    for places in kinds.values():
        group = [plan.wanted[place] for place in places]
        # The lanes of pictures that are rendered together are their number.
        open_here = asked if group[0].mates is None else asked - {"lanes"}
        if not open_here:
            continue
        kept = made_with(manifest or {}, group[0].layer, group[0].recipe, open_here)
        if kept is None:
            choice = choose(
                group,
                plan.model,
                plan.weights,
                lanes="lanes" in open_here,
                precision="precision" in open_here,
            )
            choices[", ".join(group[0].objective.layers)] = choice
            kept = {"lanes": choice.lanes, "precision": choice.precision}
        recipe = group[0].recipe.but(**{name: kept[name] for name in open_here})
        for place, wanted in zip(places, group, strict=True):
            settled[place] = replace(wanted, recipe=recipe)
    return replace(plan, wanted=settled), choices


def choose(
    wanted: Sequence[Wanted], model: ModelHandle, weights: str, *, lanes: bool, precision: bool
) -> Choice:
    """Time a few steps of pictures of one kind at several widths and precisions; return the fastest."""
    recipe = wanted[0].recipe
    widths = (GPU_LANES if is_gpu(model.device) else CPU_LANES) if lanes else (recipe.lanes,)
    # No more lanes than pictures ask for, for the rest would be padding.
    needed = next((width for width in widths if width >= len(wanted)), widths[-1])
    measured: dict[str, float] = {}
    best: tuple[float, int, Precision] | None = None
    precisions: tuple[Precision, ...] = ("float32", "bfloat16") if precision else (recipe.precision,)
    for kind in precisions:
        for width in widths:
            if width > needed:
                break
            try:
                took = _milliseconds(wanted, width, kind, model, weights)
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
                break
            # What counts is a picture that is asked for; padding is not.
            took *= width * -(-len(wanted) // width) / len(wanted)
            measured[f"{width} lanes {kind}"] = round(took, 3)
            if best is None or took * WORTH < best[0]:
                best = (took, width, kind)
    if best is None:
        return Choice(1, precisions[0], measured)
    return Choice(best[1], best[2], measured)


def _milliseconds(
    wanted: Sequence[Wanted], lanes: int, precision: Precision, model: ModelHandle, weights: str
) -> float:
    # Without the first steps' redirection, for most have none; a GPU replays all but those that warm up.
    warm = WARM_UP + 1 if recorder_for(model.device) is not None else 2
    job = Job(tuple(wanted[:lanes])).but(
        lanes=lanes, precision=precision, stages=(), steps=warm + TIMED, redirect_steps=0
    )
    times: list[float] = []

    def watch(step: Step) -> None:
        wait(model.device)
        times.append(time.perf_counter())

    run_job(job, model, weights, watch)
    steps = sorted(later - earlier for earlier, later in itertools.pairwise(times[warm - 1 :]))
    return steps[len(steps) // 2] * 1000 / lanes
