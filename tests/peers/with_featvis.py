"""Pictures by featvis, by its front door: a layer or a list of classes in one call."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import featvis as fv
from featvis.engine.lanes import Step
from featvis.models.handle import ModelHandle
from tests.peers.clock import Clock
from tests.peers.figures import undisturbed


@dataclass(frozen=True)
class Run:
    """One call of ``fv.render``."""

    pictures: int
    steps: int
    lanes: int
    step_seconds: list[float]
    """Of each step, for all its lanes together; no start, no scoring, no PNG."""
    seconds: float
    """Of the whole call: plan, draws, steps, scores, PNGs, grid and manifest; disturbed steps are mended."""
    wall_seconds: float
    """The same as the clock showed it."""
    mended: int
    """Steps that something else on the machine made far longer than the rest."""

    @property
    def picture_steps(self) -> int:
        """Steps of all pictures."""
        return self.pictures * self.steps


def run(
    model: ModelHandle, layer: str, units: Sequence[int], *, out: Path | None = None, **changes: Any
) -> Run:
    """Render units with the recipe that featvis chooses for the layer, less ``changes``.

    Args:
        model: the network.
        layer: a layer's dotted name.
        units: its channels.
        out: where the PNGs go.
        **changes: of the recipe, ``recipe`` itself included.
    """
    clock = Clock(model.device)
    gaps: list[float] = []

    def watch(step: Step) -> None:
        clock.stamp()
        if step.number > 1:  # the first finds cold caches
            gaps.append(clock.stamps[-1] - clock.stamps[-2])

    began = clock.now()
    pictures = fv.render(model, f"{layer}:{','.join(map(str, units))}", out=out, watch=watch, **changes)
    seconds = clock.now() - began
    recipe = pictures[0].recipe
    whole, mended = undisturbed(gaps)
    return Run(
        pictures=len(pictures),
        steps=recipe["steps"],
        lanes=recipe["lanes"],
        step_seconds=gaps,
        seconds=seconds - sum(gaps) + whole,
        wall_seconds=seconds,
        mended=mended,
    )


def lanes_for(recipe: str | None, pictures: int) -> int:
    """Return the recipe's lanes, or fewer where there are fewer pictures."""
    lanes = (fv.Recipe.load(recipe) if recipe is not None else fv.Recipe()).lanes
    return min(lanes, pictures)


def warm_up(model: ModelHandle, layer: str, unit: int, **changes: Any) -> float:
    """Render two steps of one unit, so that nothing is done for the first time later; return the seconds."""
    began = time.perf_counter()
    fv.render(model, f"{layer}:{unit}", **{**changes, "steps": 2})
    return time.perf_counter() - began
