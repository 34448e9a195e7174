"""compare: two recipes on the same units and seeds, each difference with its interval."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from featvis.errors import RecipeError, UserError, count_of
from featvis.models.borrow.loan import with_gradients
from featvis.models.handle import ModelHandle
from featvis.models.load import load_model
from featvis.notebook import plain, table
from featvis.plan.make import make_plan
from featvis.results.picture import Picture
from featvis.run.render import render
from featvis.spec.recipe import Recipe, tell_apart
from featvis.trust.panel import of_its_kind, panel_of
from featvis.trust.references import read_photographs
from featvis.trust.transfer import class_of
from featvis.trust.yardsticks import Sides, Table, measure_looks, measure_norms, measure_recognition


class Comparison(dict[str, Any]):
    """What :func:`compare` measured, as plain data; notebooks show it as a table."""

    def __repr__(self) -> str:
        better = {name: row["better"] for name, row in self["measures"].items() if row["better"]}
        told = "; ".join(f"{name}: {side}" for name, side in list(better.items())[:4]) or "neither"
        return f"Comparison({self._summary()}; better: {told}{'; …' if len(better) > 4 else ''})"

    def _summary(self) -> str:
        return f"{len(self['targets'])} units of {self['model']}, {self['pictures']} pictures by each recipe"

    def _repr_html_(self) -> str:
        rows = [
            (name, *(row[one] for one in ("a", "b", "difference")), _written(row["interval"]), row["better"])
            for name, row in self["measures"].items()
        ]
        recipes = tell_apart(self["recipes"])
        parts = [f"<div>{plain(self._summary())}</div>"]
        parts += [f"<div>{name}: {plain(told, 400)}</div>" for name, told in recipes.items()]
        parts.append(table(("", "a", "b", "b - a", "95 % interval", "better"), rows))
        return f"<div>{''.join(parts)}</div>"


def _written(interval: Sequence[float] | None) -> str:
    return "" if interval is None else "{:.3g} to {:.3g}".format(*interval)


@with_gradients
def compare(
    recipe_a: str | Path | Recipe,
    recipe_b: str | Path | Recipe,
    targets: str | Sequence[str],
    *,
    model: str | ModelHandle = "efficientnet_lite0",
    judges: Sequence[str | ModelHandle] | None = None,
    seeds: int = 1,
    views: int | None = None,
    examples: str | Path | None = None,
    out: str | Path | None = None,
    draws: int = 2000,
    say: Callable[[str], None] | None = None,
) -> Comparison:
    """Render the same units with the same seeds by two recipes, and measure both, paired.

    The two are rendered in turns of a few pictures, so that a machine that slows down slows both. All is
    measured on the saved 8-bit pictures. Units are drawn anew in the bootstrap, each with all its seeds.

    Args:
        recipe_a, recipe_b: recipes, their names or their files.
        targets: addresses such as ``classifier:0:1000:50``.
        model: the network that is climbed.
        judges: networks that take no part; by default the embedded ones that are installed.
        seeds: how many for each unit.
        views: how often a judge looks at each picture, 1 or 8, by default what is known to suit it.
        examples: a folder of photographs that pictures are to be like; by default figures of 500.
        out: where the pictures go, to ``a`` and ``b``; what is there already is not rendered again. By
            default nowhere.
        draws: of the bootstrap.
        say: is told how far it is.

    Returns:
        ``targets``, ``pictures`` (of each recipe), ``draws`` and ``measures``: for each its ``a`` and ``b``
        (means), ``difference`` (b less a), ``interval`` (95 %) and ``better`` (``a``, ``b`` or ``""`` where
        the interval holds zero or neither is better). ``first``, ``probability`` and ``margin`` are of each
        judge; ``gain`` is the score over that of the picture that the run began with; ``… from
        photographs'`` is the Wasserstein-1 distance of the set's distribution from photographs', where two
        sets that are both as near as sets of photographs are (``usual``) are equally good. ``yardsticks``
        names the measures that decide (recognition and likeness to photographs; where no judge knows the
        classes, score and gain, too; never cost), ``ahead`` by which of them either is better, and ``wins``
        the one that is better by some and worse by none, if any is; of fewer than six units none, and
        ``too_few`` is true. A dict, which notebooks show as a table.

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
    photographs = None if examples is None else read_photographs(Path(examples), handle).images
    owners = [picture.target for picture in pictures["a"]]
    sides = Sides(pictures, {"a": owners, "b": owners}, draws)
    table = Table()
    _measure(sides, pictures, panel, views, table)
    if not handle.signal and handle.frames is None:
        measure_looks(sides, photographs, table)
    for judge in panel:
        measure_norms(sides, photographs, judge, table)
    told = {
        "recipes": {name: recipe.to_json() for name, recipe in recipes.items()},
        "model": handle.name,
        "judges": [judge.name for judge in panel],
        "targets": wishes,
        "pictures": len(pictures["a"]),
        "draws": draws,
        **table.to_json(len(wishes)),
    }
    return Comparison(told)


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
    for first in range(0, len(wishes), turn):
        few = list(wishes[first : first + turn])
        for name, recipe in recipes.items():
            place = None if out is None else out / name
            made = render(model, few, recipe=recipe, seeds=seeds, out=place, progress=False)
            for picture in made:
                if picture.status == "failed":
                    raise UserError(f"compare: {picture.target} of {name} failed: {picture.reason}")
            pictures[name] += made
        if say is not None:
            say(f"{first + len(few)} of {count_of(len(wishes), 'unit')}, {time.monotonic() - began:.0f} s")
    return pictures


def _measure(
    sides: Sides,
    pictures: Mapping[str, Sequence[Picture]],
    panel: Sequence[ModelHandle],
    views: int | None,
    table: Table,
) -> None:
    """Enter what judges see, how the unit responds, and what it cost."""
    for judge in panel:
        classes = {side: [class_of(one.label, judge) for one in made] for side, made in pictures.items()}
        known = {side: [one for one in some if one is not None] for side, some in classes.items()}
        if known == classes:  # else they are of classes unknown to it
            measure_recognition(sides, known, judge, views, table)
    is_seen = bool(table.yardsticks)
    responses: dict[str, Callable[[Picture], float]] = {
        "score": lambda one: one.score,
        "gain": lambda one: one.score - one.start_score,
        "evaluations": lambda one: one.evaluations,
        "seconds": lambda one: one.seconds,
    }
    for name, read in responses.items():
        values = {side: np.array([float(read(one)) for one in made]) for side, made in pictures.items()}
        is_cost = name in ("evaluations", "seconds")
        row = sides.compare(values, -1 if is_cost else 1)
        table.enter(name, row, decides=not is_cost and not is_seen)
