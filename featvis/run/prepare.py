"""From a request to work that can begin: the plan, what machine and folder settle, the folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from featvis.models.handle import ModelHandle
from featvis.plan.make import AnyTarget, Plan, make_plan
from featvis.results.manifest import read_manifest
from featvis.results.store import Store, check_same_network, check_writable, remove_empty
from featvis.run.executors.register import DEFAULT, AnyExecutor, Chosen, choose_executor
from featvis.run.extras import Extras
from featvis.run.few import settle_lanes
from featvis.run.threads import settle_threads
from featvis.run.tuning import Choice, settle_auto, take_auto
from featvis.spec.recipe import Recipe


@dataclass(frozen=True)
class Prepared:
    """A plan that can be run, and where its pictures go."""

    plan: Plan
    store: Store | None
    """The folder, opened; None where nothing is to be written."""
    extras: Extras
    executor: Chosen
    """What computes it."""
    choices: dict[str, Choice]
    """By layer, what was measured for ``lanes="auto"`` and ``precision="auto"``."""


def prepare(
    model: ModelHandle,
    targets: AnyTarget | Sequence[AnyTarget],
    *,
    out: Path | None = None,
    extras: Extras | None = None,
    write: bool = True,
    executor: AnyExecutor = DEFAULT,
    executor_options: Mapping[str, Any] | None = None,
    **request: Any,
) -> Prepared:
    """Plan a request, settle threads, lanes and precision, and open the folder last.

    Args:
        model: the network.
        targets: as for :func:`featvis.render`.
        out: the folder that the pictures go to.
        extras: what else is kept of each picture.
        write: whether the folder is opened for writing; otherwise what it holds is only looked at.
        executor: how the pictures are computed.
        executor_options: its options.
        **request: as for :func:`featvis.plan.make.make_plan`; ``lanes`` and ``precision`` may be ``"auto"``.

    Raises:
        UserError: anything wrong in what was asked, or a folder that cannot be used, before any compute.
    """
    extras, chosen = extras or Extras(), choose_executor(executor, executor_options)
    auto = take_auto(request)
    plan = extras.added_to(make_plan(model, targets, **request))
    few = "lanes" not in auto and not _names_lanes(request.get("recipe"), request)
    plan, choices = settle(plan, out, auto, write=write, few=few)
    store = None
    if out is not None and write:
        recipe = plan.wanted[0].recipe.to_json()
        store = Store(out, model=model.name, weights=plan.weights, recipe=recipe)
    return Prepared(plan, store, extras, chosen, choices)


def settle(
    plan: Plan,
    folder: Path | None,
    auto: frozenset[str] = frozenset(),
    *,
    write: bool = False,
    few: bool = False,
) -> tuple[Plan, dict[str, Choice]]:
    """Settle what a plan leaves to the machine and to what its folder holds: threads, lanes, precision.

    Args:
        plan: whose recipes may say nothing of threads.
        folder: where the pictures go; nothing is written to it.
        auto: which of ``lanes`` and ``precision`` are to be measured.
        write: whether the folder will be written to, so that it must be possible.
        few: whether fewer pictures than the recipe's lanes get as many lanes as they need.

    Raises:
        OutputError: the folder holds another network's pictures, or cannot be written.
    """
    manifest = read_manifest(folder) if folder is not None and folder.exists() else None
    if folder is not None and manifest is not None:
        check_same_network(folder, manifest, plan.weights)
    if folder is not None and auto and write:
        remove_empty(check_writable(folder))  # before a measurement that takes seconds
    free = auto | {"lanes"} if few else auto
    plan = settle_threads(plan, folder, manifest, free=free)
    return settle_auto(settle_lanes(plan, manifest) if few else plan, auto, manifest)


def _names_lanes(recipe: Recipe | str | dict[str, Any] | None, changes: Mapping[str, Any]) -> bool:
    """Whether a request states the number of lanes, in its recipe or beside it."""
    if changes.get("lanes") is not None or recipe is None:
        return changes.get("lanes") is not None
    own = recipe if isinstance(recipe, Recipe) else Recipe.load(recipe)
    return "lanes" in own.model_fields_set
