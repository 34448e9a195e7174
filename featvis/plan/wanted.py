"""What is wanted, picture by picture, and its grouping into jobs of a fixed number of lanes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from featvis import draws
from featvis.objectives.base import Objective
from featvis.spec import register
from featvis.spec.recipe import Recipe


@dataclass(frozen=True)
class Wanted:
    """One picture that is asked for."""

    objective: Objective
    """Bound to the network."""
    name: str
    """The target's address or the objective's description; its key and its random numbers depend on it."""
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
    """The numbers of steps after which the picture is also kept; they do not change it."""
    transparency: bool = False
    """Whether to keep how much each pixel mattered; it does not change the picture."""
    candidate: int | None = None
    """Which of the recipe's ``best_of`` this is; None for the picture that they are for."""
    mates: tuple[int, int] | None = None
    """The first seed and the number of seeds that must be computed together; the name says them, too."""
    among: tuple[Wanted, ...] = ()
    """A picture of each target of its set, if it is of several, this one included; the name says them."""

    def stream(self, purpose: str) -> torch.Generator:
        """Return this picture's own generator for a purpose."""
        return draws.stream(self.own_seed, self.name, self.attempt, purpose)

    @property
    def own_seed(self) -> int:
        """The seed of its random numbers: the candidates of seed s take s · best_of and those that follow."""
        return self.seed if self.candidate is None else self.seed * self.recipe.best_of + self.candidate

    def key(self, weights: str) -> str:
        """Return the picture's key."""
        return self.recipe.key(self.name, self.seed, weights)

    def asked_key(self, weights: str) -> str | None:
        """Return the key of the recipe as asked for, if another one is used."""
        return self.asked.key(self.name, self.seed, weights) if self.asked is not None else None


@dataclass(frozen=True)
class Job:
    """Pictures that are computed together: up to ``recipe.lanes``, of one recipe and kind of objective."""

    wanted: tuple[Wanted, ...]

    @property
    def recipe(self) -> Recipe:
        """The recipe of every picture in it."""
        return self.wanted[0].recipe

    @property
    def kind(self) -> tuple[object, ...]:
        """The recipe and the layers: jobs in which these are equal cost the same."""
        return self.recipe.model_dump_json(), self.wanted[0].objective.layers

    def but(self, **changes: Any) -> Job:
        """Return this job with some fields of its recipe changed."""
        recipe = self.recipe.but(**changes)
        return Job(tuple(replace(item, recipe=recipe) for item in self.wanted))


def functions_of(wanted: Sequence[Wanted]) -> dict[tuple[str, int], str]:
    """Return, by name and seed, what tells the user's functions in a picture from others of their names.

    Empty where there are none. No part of the key: that is of names, and the digest of a function differs
    between versions of Python.
    """
    transforms: dict[int, list[str]] = {}  # by recipe: thousands of pictures share one
    objectives: dict[int, str] = {}  # all seeds share one, and it may hold a network
    found = {}
    for item in wanted:
        if id(item.recipe) not in transforms:
            made = (register.make("transforms", spec) for spec in item.recipe.transforms)
            transforms[id(item.recipe)] = [transform.code() for transform in made]
        if id(item.objective) not in objectives:
            objectives[id(item.objective)] = item.objective.code()
        parts = [objectives[id(item.objective)], *transforms[id(item.recipe)]]
        found[item.name, item.seed] = " ".join(filter(None, parts))
    return found


def candidates_of(wanted: Sequence[Wanted]) -> list[Wanted]:
    """Return what has to be computed: a picture with ``best_of`` as so many candidates."""
    return [
        item if item.candidate is not None or item.recipe.best_of == 1 else replace(item, candidate=number)
        for item in wanted
        for number in range(1 if item.candidate is not None else item.recipe.best_of)
    ]


def make_jobs(wanted: Sequence[Wanted]) -> list[Job]:
    """Group wanted pictures, or their candidates, into jobs, in the order asked for within each kind."""
    groups: dict[object, list[Wanted]] = {}
    for item in candidates_of(wanted):
        groups.setdefault(_kind_of(item), []).append(item)
    jobs = []
    for group in groups.values():
        # Where pictures stop early, freed lanes take the next one of the whole group.
        lanes = len(group) if group[0].recipe.patience else group[0].recipe.lanes
        jobs += [Job(tuple(group[place : place + lanes])) for place in range(0, len(group), lanes)]
    return jobs


def bundles(wanted: Sequence[Wanted]) -> list[list[int]]:
    """Return the places of pictures by what should not be divided among machines: sets, and full lanes.

    It depends on what is wanted alone, not on how far it is. A picture's candidates stay together.
    """
    groups: dict[object, list[int]] = {}
    for place, item in enumerate(wanted):
        groups.setdefault(_kind_of(item), []).append(place)
    found = []
    for group in groups.values():
        first = wanted[group[0]]
        most = max(1, first.recipe.lanes // first.recipe.best_of) if first.mates is None else len(group)
        found += [group[place : place + most] for place in range(0, len(group), most)]
    return found


def _kind_of(item: Wanted) -> tuple[object, ...]:
    """Return what the pictures of a job have in common.

    Only objectives of one kind share a job, so that a score's sums never depend on the other
    pictures; the pictures of a set are always computed together.
    """
    return (
        item.recipe.model_dump_json(),
        item.objective.stacks_with() if not item.among else None,
        item.start is None,
        (set_of(item), item.attempt) if item.mates is not None else None,
    )


def lanes_of(job: Job) -> list[Wanted]:
    """Return the picture of each lane: a short batch is padded, for another width would change the last bits.

    Pictures that depend on each other have all of their set in the lanes, whichever of it is wanted.
    """
    if (mates := job.wanted[0].mates) is not None:
        first, count = mates
        wanted = job.wanted[0]
        return [
            replace(_for_target_of(other, wanted), seed=seed)
            for other in wanted.among or (wanted,)
            for seed in range(first, first + count)
        ]
    return [job.wanted[min(lane, len(job.wanted) - 1)] for lane in range(job.recipe.lanes)]


def lane_of(wanted: Wanted, place: int) -> int:
    """Return the lane of the picture at ``place`` of a job."""
    if wanted.mates is None:
        return place
    first, count = wanted.mates
    return (set_of(wanted).index(wanted.name) * count) + wanted.seed - first


def set_of(wanted: Wanted) -> tuple[str, ...]:
    """Return the names of the targets that are computed together with a picture's, its own included."""
    return tuple(other.name for other in wanted.among) or (wanted.name,)


def _for_target_of(other: Wanted, wanted: Wanted) -> Wanted:
    """Return ``wanted``, but for another target of its set."""
    return replace(
        wanted,
        objective=other.objective,
        name=other.name,
        layer=other.layer,
        unit=other.unit,
        label=other.label,
    )


def with_fewer_lanes(wanted: Wanted, lanes: int) -> Wanted:
    """Return the same picture with fewer lanes; ``asked`` keeps the recipe that was asked for."""
    return replace(wanted, recipe=wanted.recipe.but(lanes=lanes), asked=wanted.asked or wanted.recipe)
