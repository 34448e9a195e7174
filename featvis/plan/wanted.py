"""What is wanted, picture by picture, and its grouping into jobs of a fixed number of lanes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from featvis import draws
from featvis.objectives.base import Objective
from featvis.spec.recipe import Recipe


@dataclass(frozen=True)
class Wanted:
    """One picture that is asked for."""

    objective: Objective
    """Bound to the network."""
    name: str
    """The target's address or the objective's description: part of its key and of its chance."""
    recipe: Recipe
    seed: int = 0
    attempt: int = 0
    layer: str = ""
    unit: int | None = None
    label: str = ""
    start: Tensor | None = None
    variant: str = "picture"
    asked: Recipe | None = None
    """The recipe as it was asked for, where memory forced fewer lanes."""
    snapshots: tuple[int, ...] = ()
    """After so many steps the picture is kept as it stands; what is made does not depend on it."""
    transparency: bool = False
    """Whether it is kept how much each pixel mattered; what is made does not depend on it."""
    candidate: int | None = None
    """Which of the recipe's ``best_of`` this is; None for the picture that they are for."""
    mates: tuple[int, int] | None = None
    """The first seed and the number of seeds that must be computed together; the name tells them, too."""
    among: tuple[Wanted, ...] = ()
    """A picture of each target of its set, if it is of several, this one included; the name tells them."""

    def stream(self, purpose: str) -> torch.Generator:
        """Return this picture's own generator for a purpose."""
        return draws.stream(self.own_seed, self.name, self.attempt, purpose)

    @property
    def own_seed(self) -> int:
        """The seed of its chance: candidates of seed s take s · best_of and those that follow."""
        return self.seed if self.candidate is None else self.seed * self.recipe.best_of + self.candidate

    def key(self, weights: str) -> str:
        """Return the picture's key."""
        return self.recipe.key(self.name, self.seed, weights)

    def asked_key(self, weights: str) -> str | None:
        """Return the key of the recipe as asked for, if another one is used."""
        return self.asked.key(self.name, self.seed, weights) if self.asked is not None else None


@dataclass(frozen=True)
class Job:
    """Pictures that are computed together: up to ``recipe.lanes``, of one recipe and one kind."""

    wanted: tuple[Wanted, ...]

    @property
    def recipe(self) -> Recipe:
        """The recipe of every picture in it."""
        return self.wanted[0].recipe


def candidates_of(wanted: Sequence[Wanted]) -> list[Wanted]:
    """Return what has to be computed: a picture with ``best_of`` as so many candidates."""
    return [
        one if one.candidate is not None or one.recipe.best_of == 1 else replace(one, candidate=number)
        for one in wanted
        for number in range(1 if one.candidate is not None else one.recipe.best_of)
    ]


def plan(wanted: Sequence[Wanted]) -> list[Job]:
    """Group wanted pictures, or their candidates, into jobs, in the order asked for within each kind."""
    groups: dict[object, list[Wanted]] = {}
    for one in candidates_of(wanted):
        # Only objectives of one kind share a job, so that a score's sums never depend on the mates; those
        # of a set are always all there.
        kind: tuple[object, ...] = (
            one.recipe.model_dump_json(),
            one.objective.stacks_with() if not one.among else None,
            one.start is None,
            (set_of(one), one.attempt) if one.mates is not None else None,
        )
        groups.setdefault(kind, []).append(one)
    jobs = []
    for group in groups.values():
        # Where pictures stop early, freed lanes take the next one of the whole group.
        lanes = len(group) if group[0].recipe.patience else group[0].recipe.lanes
        jobs += [Job(tuple(group[place : place + lanes])) for place in range(0, len(group), lanes)]
    return jobs


def lanes_of(job: Job) -> list[Wanted]:
    """Return the wish of each lane: a short batch is padded, for another width would change the last bits.

    Pictures that depend on each other have all of their set in the lanes, whichever of it is wanted.
    """
    if (mates := job.wanted[0].mates) is not None:
        first, count = mates
        one = job.wanted[0]
        return [
            replace(mine, seed=seed)
            for mine in (_turned(one, each) for each in one.among or (one,))
            for seed in range(first, first + count)
        ]
    return [job.wanted[min(lane, len(job.wanted) - 1)] for lane in range(job.recipe.lanes)]


def lane_of(one: Wanted, place: int) -> int:
    """Return the lane of the wish at ``place`` of a job."""
    if one.mates is None:
        return place
    first, count = one.mates
    return (set_of(one).index(one.name) * count) + one.seed - first


def set_of(one: Wanted) -> tuple[str, ...]:
    """Return the names of the targets that a wish is computed together with, its own included, in order."""
    return tuple(each.name for each in one.among) or (one.name,)


def _turned(one: Wanted, other: Wanted) -> Wanted:
    """Return a wish as it would be for another target of its set."""
    return replace(
        one,
        objective=other.objective,
        name=other.name,
        layer=other.layer,
        unit=other.unit,
        label=other.label,
    )


def with_fewer_lanes(wanted: Wanted, lanes: int) -> Wanted:
    """Return the same wish with fewer lanes, remembering what was asked for."""
    return replace(wanted, recipe=wanted.recipe.but(lanes=lanes), asked=wanted.asked or wanted.recipe)
