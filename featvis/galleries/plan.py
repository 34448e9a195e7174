"""From a gallery's config and its network to the pictures that are wanted."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from featvis.errors import RecipeError, TargetError, unknown
from featvis.galleries.config import Gallery, Section
from featvis.models.handle import ModelHandle
from featvis.plan.make import Plan, make_plan
from featvis.plan.wanted import Wanted
from featvis.results.manifest import picture_name
from featvis.run.prepare import settle
from featvis.run.threads import settle_threads
from featvis.spec.target import parse_vectors

_PATTERN = re.compile(r"[*?]")
_PARTS = re.compile(r"\*{2,}|.", re.DOTALL)
"""What a pattern is made of: ``**`` or more, ``*``, ``?``, or a letter."""


@dataclass(frozen=True)
class GalleryItem:
    """One picture of a gallery."""

    wanted: Wanted
    weights: str
    """The fingerprint of its network's."""

    @cached_property
    def key(self) -> str:
        """Its key."""
        return self.wanted.key(self.weights)

    @property
    def target(self) -> str:
        """What it is a picture of."""
        return self.wanted.name

    @property
    def layer(self) -> str:
        """Its layer."""
        return self.wanted.layer

    @property
    def unit(self) -> int | None:
        """Its unit."""
        return self.wanted.unit

    @property
    def seed(self) -> int:
        """Its seed."""
        return self.wanted.seed

    @property
    def variant(self) -> str:
        """Which picture of the unit it is."""
        return self.wanted.variant

    @property
    def name(self) -> str:
        """Its name in the folder, as :func:`featvis.results.manifest.picture_name` writes it."""
        return picture_name({"target": self.target, "seed": self.seed})


@dataclass(frozen=True)
class GalleryPlan:
    """Everything that a gallery wants of a network."""

    model: ModelHandle
    weights: str
    pictures: dict[str, GalleryItem]
    """By name, in the order of the sections."""
    sections: list[tuple[Section, list[str]]]
    """Each with the names of its pictures."""
    notes: tuple[str, ...] = ()
    """What the user should know, each one line."""
    threads: int = 1
    """CPU threads of the pictures whose recipes state none."""

    @cached_property
    def keys(self) -> dict[str, str]:
        """Every picture's key, by its name."""
        return {name: item.key for name, item in self.pictures.items()}

    def describe(self, gallery: dict[str, Any]) -> dict[str, Any]:
        """Return what the manifest says of the whole folder; ``gallery`` stands in it under this name."""
        first = next(iter(self.pictures.values()))
        told = {"model": self.model.name, "weights": self.weights, "gallery": gallery}
        return told | {"recipe": first.wanted.recipe.to_json()}

    @property
    def units(self) -> dict[str, list[int]]:
        """The units by layer."""
        units: dict[str, dict[int, None]] = {}
        for item in self.pictures.values():
            if item.unit is not None:
                units.setdefault(item.layer, {}).setdefault(item.unit)
        return {layer: list(numbers) for layer, numbers in units.items()}


def plan_gallery(
    gallery: Gallery, model: ModelHandle, folder: Path | None = None, threads: int | None = None
) -> GalleryPlan:
    """Settle every picture of a gallery; every mistake shows now.

    Args:
        gallery: the config.
        model: the network.
        folder: where the gallery goes; it keeps the number of CPU threads that its pictures were made with.
        threads: instead of what the folder's pictures say, what its shards agreed on.

    Raises:
        UserError: an unknown layer, unit or class, a recipe that does not fit, two recipes for one picture.
    """
    items: dict[str, GalleryItem] = {}
    sections = []
    weights, notes = "", dict[str, None]()
    for place, section in enumerate(gallery.sections, 1):
        base, changes = gallery.recipe_of(section)
        addresses = [
            full for address in dict.fromkeys(section.targets) for full in expand_layers(model, address)
        ]
        plan = make_plan(
            model,
            addresses,
            recipe=base,
            seed=gallery.seed,
            seeds=section.seeds or gallery.seeds,
            **changes,
        )
        weights = plan.weights
        notes |= dict.fromkeys(plan.notes)
        names = []
        for wanted in _variants_of(plan.wanted, section, model, base, gallery.seed, changes):
            item = GalleryItem(wanted, weights)
            if items.setdefault(item.name, item).key != item.key:
                raise RecipeError(
                    f"section {place} asks for {item.name} with another recipe than an earlier section; "
                    "a gallery holds one picture of each target and seed"
                )
            names.append(item.name)
        sections.append((section, names))
    asked = Plan(model, weights, [item.wanted for item in items.values()], tuple(notes))
    plan = settle(asked, folder)[0] if threads is None else settle_threads(asked, folder, None, own=threads)
    settled = (
        done.recipe.threads
        for before, done in zip(asked.wanted, plan.wanted, strict=True)
        if before.recipe.threads is None
    )
    pictures = {item.name: item for item in (GalleryItem(wanted, weights) for wanted in plan.wanted)}
    own = next(settled, None) or threads or torch.get_num_threads()
    return GalleryPlan(model, weights, pictures, sections, plan.notes, own)


def _variants_of(
    wanted: list[Wanted],
    section: Section,
    model: ModelHandle,
    base: str | None,
    seed: int,
    changes: dict[str, Any],
) -> Iterator[Wanted]:
    """The pictures of a section's targets in all its variants, diverse sets last."""
    if any(item.mates is not None for item in wanted) and section.variants != ("picture",):
        raise RecipeError("pictures that depend on each other have no variants but 'picture'")
    for item in wanted:
        for variant in section.variants:
            if variant != "diverse":
                yield item if variant == "picture" else negative_of(item)
    if "diverse" in section.variants:
        changes = {name: value for name, value in changes.items() if name != "lanes"}
        targets = list(dict.fromkeys(item.name for item in wanted))
        yield from make_plan(
            model, targets, recipe=base, seed=seed, diverse=section.diverse, **changes
        ).wanted


def negative_of(wanted: Wanted) -> Wanted:
    """Return the picture that a unit answers least to.

    It is the same run but for the sign and the random numbers, which depend on the name.
    """
    objective = -wanted.objective
    return replace(wanted, objective=objective, name=f"-1*{wanted.name}", variant="negative")


def expand_layers(model: ModelHandle, address: str) -> list[str]:
    """Return an address for each layer that its pattern fits, in the order in which they run.

    Raises:
        TargetError: no layer that can be climbed fits.
    """
    if parse_vectors(address) is not None:
        return [address]
    layers = model.at(model.input_size).request(address).layer
    rest = address.strip()[len(layers) :]
    return [layer + rest for pattern in layers.split(",") for layer in _fitting(model, pattern.strip())]


def _fitting(model: ModelHandle, pattern: str) -> list[str]:
    network = model.at(model.input_size)
    if not _PATTERN.search(pattern) or pattern in network.layers:
        return [pattern]
    parts = _PARTS.findall(pattern)
    fitting = [
        layer
        for layer in network.layers.values()
        if _fits(parts, layer.name) and layer.is_clear and network.first_without_weights(layer) is None
    ]
    if not fitting:
        hint = f"no layer that can be climbed fits the pattern {pattern!r}; * stands for anything but a dot"
        raise TargetError(unknown("layer", pattern, network.layers, hint))
    return [layer.name for layer in sorted(fitting, key=lambda layer: layer.order)]


def _fits(parts: list[str], name: str) -> bool:
    """Whether a pattern's parts stand for a name; in time that its length bounds, as a regex' is not."""
    ends = {0}
    """Where in the name the parts so far may end."""
    for part in parts:
        if part.startswith("**"):
            ends = set(range(min(ends), len(name) + 1))
        elif part == "*":
            ends = {end for begin in ends for end in range(begin, _next_dot(name, begin) + 1)}
        else:
            same = "." if part == "?" else part
            ends = {end + 1 for end in ends if end < len(name) and (name[end] == same) != (part == "?")}
        if not ends:
            return False
    return len(name) in ends


def _next_dot(name: str, begin: int) -> int:
    place = name.find(".", begin)
    return len(name) if place < 0 else place
