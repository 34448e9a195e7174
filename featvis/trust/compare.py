"""compare: two recipes on the same units and seeds, each difference with its interval."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featvis.errors import RecipeError, UserError, count_of
from featvis.models.borrow.loan import with_gradients
from featvis.models.handle import ModelHandle
from featvis.models.load import load_model
from featvis.plan.make import make_plan
from featvis.results.picture import Picture
from featvis.run.render import render
from featvis.spec.recipe import Recipe
from featvis.trust.intervals import Values, paired
from featvis.trust.naturalness import measure_appearance, naturalness
from featvis.trust.panel import of_its_kind, panel_of
from featvis.trust.transfer import class_of, transfer

BATCH = 8
"""How many pictures stand together for a judge's BatchNorm statistics."""
BETTER = dict.fromkeys(("first", "probability", "margin", "score", "gain"), 1)
BETTER |= dict.fromkeys(("spread (D_σ)", "shift (D_μ)", "evaluations", "seconds"), -1)
"""Whether more is better (1) or worse (-1); of what is not here neither is."""


@with_gradients
def compare(
    recipe_a: str | Path | Recipe,
    recipe_b: str | Path | Recipe,
    targets: str | Sequence[str],
    *,
    model: str | ModelHandle = "efficientnet_lite0",
    judges: Sequence[str | ModelHandle] | None = None,
    seeds: int = 1,
    out: str | Path | None = None,
    draws: int = 2000,
    say: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Render the same units with the same seeds by two recipes, and measure both, paired.

    The two are rendered in turns of a few pictures, so that a machine that slows down slows both. All is
    measured on the saved 8-bit pictures. Units are drawn anew in the bootstrap, each with all its seeds.

    Args:
        recipe_a, recipe_b: recipes, their names or their files.
        targets: addresses such as ``classifier:0:1000:50``.
        model: the network that is climbed.
        judges: networks that take no part; by default the embedded ones that are installed.
        seeds: how many for each unit.
        out: where the pictures go, to ``a`` and ``b``; what is there already is not rendered again. By
            default nowhere.
        draws: of the bootstrap.
        say: is told how far it is.

    Returns:
        ``targets``, ``pictures`` (of each recipe), ``draws`` and ``measures``: for each its ``a`` and ``b``
        (means), ``difference`` (b less a), ``interval`` (95 %) and ``better`` (``a``, ``b`` or ``""`` where
        the interval holds zero or neither is better). ``first``, ``probability`` and ``margin`` are of each
        judge; ``gain`` is the score over that of the picture that the run began with.

    Raises:
        UserError: anything wrong in what was asked, before any compute.

    >>> import featvis as fv, torch
    >>> network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU())
    >>> model = fv.load_model(network, mean=(0.5,) * 3, std=(0.5,) * 3, input_size=16)
    >>> few, more = (fv.Recipe(size=16, steps=steps, lanes=2) for steps in (1, 4))
    >>> result = fv.compare(few, more, "0:0:2", model=model, judges=[], draws=100)
    >>> result["pictures"], result["measures"]["score"]["better"]
    (2, 'b')
    """
    handle = load_model(model)
    recipes = {
        name: recipe if isinstance(recipe, Recipe) else Recipe.load(recipe)
        for name, recipe in (("a", recipe_a), ("b", recipe_b))
    }
    if recipes["a"] == recipes["b"]:
        raise RecipeError("compare: the two recipes are the same")
    if draws < 100:
        raise UserError(f"compare: at least 100 draws of the bootstrap, got {draws}")
    plans = [make_plan(handle, targets, recipe=recipe) for recipe in recipes.values()]
    wishes = list(dict.fromkeys(wanted.name for wanted in plans[-1].wanted))  # each unit's own address
    if len(wishes) < 2:
        raise UserError("compare: at least 2 units; one says nothing about others")
    panel = of_its_kind(panel_of(judges, handle), handle, say)
    pictures = _render(handle, wishes, recipes, seeds, None if out is None else Path(out), say)
    measured = {name: _measure(pictures[name], panel) for name in pictures}
    owners = np.array([wishes.index(picture.target) for picture in pictures["a"]])
    table = {
        name: _beside(measured["a"][name], measured["b"][name], owners, draws, name) for name in measured["a"]
    }
    for judge in panel:
        table.update(_batches(pictures, judge, draws))
    return {
        "recipes": {name: recipe.to_json() for name, recipe in recipes.items()},
        "model": handle.name,
        "judges": [judge.name for judge in panel],
        "targets": wishes,
        "pictures": len(pictures["a"]),
        "draws": draws,
        "measures": table,
    }


def _render(
    model: ModelHandle,
    wishes: Sequence[str],
    recipes: Mapping[str, Recipe],
    seeds: int,
    out: Path | None,
    say: Callable[[str], None] | None,
) -> dict[str, list[Picture]]:
    pictures: dict[str, list[Picture]] = {name: [] for name in recipes}
    turn = max(recipe.lanes for recipe in recipes.values())
    began = time.monotonic()
    for place in range(0, len(wishes), turn):
        few = list(wishes[place : place + turn])
        for name, recipe in recipes.items():
            made = render(model, few, recipe=recipe, seeds=seeds, out=out / name if out is not None else None)
            for picture in made:
                if picture.status == "failed":
                    raise UserError(f"compare: {picture.target} of {name} failed: {picture.reason}")
            pictures[name] += made
        if say is not None:
            say(f"{place + len(few)} of {count_of(len(wishes), 'unit')}, {time.monotonic() - began:.0f} s")
    return pictures


def _measure(pictures: Sequence[Picture], panel: Sequence[ModelHandle]) -> dict[str, Values]:
    """Return what can be said of each picture alone."""
    measures: dict[str, Values] = {}
    for judge in panel:
        labels = [class_of(picture.label, judge) for picture in pictures]
        known = [label for label in labels if label is not None]
        if len(known) < len(pictures):
            continue  # not all are pictures of classes that this judge knows
        recognized = transfer(pictures, known, judge)
        measures[f"first, {judge.name}"] = np.array([float(one.rank == 1) for one in recognized])
        measures[f"probability, {judge.name}"] = np.array([one.probability for one in recognized])
        measures[f"margin, {judge.name}"] = np.array([one.margin for one in recognized])
    measures["score"] = np.array([picture.score for picture in pictures])
    measures["gain"] = np.array([picture.score - picture.start_score for picture in pictures])
    appearances = [measure_appearance(picture) for picture in pictures]
    for name in ("slope", "high_share", "contrast", "saturation"):
        measures[name.replace("_", " ")] = np.array([getattr(appearance, name) for appearance in appearances])
    measures["evaluations"] = np.array([float(picture.evaluations) for picture in pictures])
    measures["seconds"] = np.array([picture.seconds for picture in pictures])
    return measures


def _batches(pictures: Mapping[str, Sequence[Picture]], judge: ModelHandle, draws: int) -> dict[str, Any]:
    """Return D_μ and D_σ, whose unit is the batch: the same pictures stand together in both."""
    each: dict[str, dict[str, list[float]]] = {"shift (D_μ)": {}, "spread (D_σ)": {}}
    for name, made in pictures.items():
        for place in range(0, max(1, len(made) - BATCH + 1), BATCH):
            statistics = naturalness(made[place : place + BATCH], judge, BATCH)
            if statistics is None:
                return {}
            each["shift (D_μ)"].setdefault(name, []).append(statistics.shift)
            each["spread (D_σ)"].setdefault(name, []).append(statistics.spread)
    return {
        f"{measure}, {judge.name}": _beside(
            np.array(both["a"]), np.array(both["b"]), np.arange(len(both["a"])), draws, measure
        )
        for measure, both in each.items()
    }


def _beside(a: Values, b: Values, owners: NDArray[np.int64], draws: int, name: str) -> dict[str, Any]:
    """Return a measure's means, difference, interval and which is better, where both are numbers."""
    sound = np.isfinite(a) & np.isfinite(b)
    if not sound.any():
        return {"a": None, "b": None, "difference": None, "interval": None, "better": ""}
    a, b, owners = a[sound], b[sound], owners[sound]
    difference = float((b - a).mean())
    # An interval of one is none.
    interval = paired(a, b, owners, draws) if len(set(owners.tolist())) > 1 else None
    sign = BETTER.get(name.partition(",")[0], 0)
    better = ""
    if interval is not None and sign and not interval[0] <= 0 <= interval[1]:
        better = "b" if difference * sign > 0 else "a"
    return {
        "a": float(a.mean()),
        "b": float(b.mean()),
        "difference": difference,
        "interval": list(interval) if interval is not None else None,
        "better": better,
    }
