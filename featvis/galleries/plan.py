"""From a gallery's config and its network to the pictures that are wanted."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from featvis.errors import RecipeError, TargetError, unknown
from featvis.galleries.config import Gallery, Section
from featvis.models.handle import ModelHandle
from featvis.plan.make import Plan, make_plan
from featvis.plan.wanted import Wanted
from featvis.run.prepare import settle
from featvis.spec.target import parse_request, parse_vectors

_PATTERN = re.compile(r"[*?]")


@dataclass(frozen=True)
class Planned:
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
        """What tells it from the folder's others, as :func:`featvis.results.store.picture_name` writes it."""
        return f"{self.target} seed {self.seed}"


@dataclass(frozen=True)
class GalleryPlan:
    """Everything that a gallery wants of a network."""

    model: ModelHandle
    weights: str
    pictures: dict[str, Planned]
    """By name, in the order of the sections."""
    sections: list[tuple[Section, list[str]]]
    """Each with the names of its pictures."""
    notes: tuple[str, ...] = ()
    """What the user should know, each one line."""

    @property
    def units(self) -> dict[str, list[int]]:
        """The units by layer."""
        found: dict[str, dict[int, None]] = {}
        for one in self.pictures.values():
            if one.unit is not None:
                found.setdefault(one.layer, {}).setdefault(one.unit)
        return {layer: list(units) for layer, units in found.items()}


def plan_gallery(gallery: Gallery, model: ModelHandle, folder: Path | None = None) -> GalleryPlan:
    """Settle every picture of a gallery; every mistake shows now.

    Args:
        gallery: the config.
        model: the network.
        folder: where the gallery goes; it keeps the number of CPU threads that its pictures were made with.

    Raises:
        UserError: an unknown layer, unit or class, a recipe that does not fit, two recipes for one picture.
    """
    pictures: dict[str, Planned] = {}
    sections = []
    weights = ""
    for place, section in enumerate(gallery.sections, 1):
        base, changes = gallery.recipe_of(section)
        addresses = [one for address in section.targets for one in expand_layers(model, address)]
        planned = make_plan(
            model,
            addresses,
            recipe=base,
            seed=gallery.seed,
            seeds=section.seeds or gallery.seeds,
            **changes,
        )
        weights = planned.weights
        names = []
        for wanted in _variants_of(planned.wanted, section, model, base, gallery.seed, changes):
            new = Planned(wanted, weights)
            old = pictures.setdefault(new.name, new)
            if old.key != new.key:
                raise RecipeError(
                    f"section {place} asks for {new.name} with another recipe than an earlier section; "
                    "a gallery holds one picture of each target and seed"
                )
            names.append(new.name)
        sections.append((section, names))
    plan, _ = settle(Plan(model, weights, [one.wanted for one in pictures.values()]), folder)
    settled = zip(pictures, plan.wanted, strict=True)
    pictures = {name: Planned(wanted, weights) for name, wanted in settled}
    return GalleryPlan(model, weights, pictures, sections, plan.notes)


def _variants_of(
    wanted: list[Wanted],
    section: Section,
    model: ModelHandle,
    base: str | None,
    seed: int,
    changes: dict[str, Any],
) -> Iterator[Wanted]:
    """The pictures of a section's targets in all its variants, diverse sets last."""
    if any(one.mates is not None for one in wanted) and section.variants != ("picture",):
        raise RecipeError("pictures that depend on each other have no variants but 'picture'")
    for one in wanted:
        for variant in section.variants:
            if variant != "diverse":
                yield one if variant == "picture" else negative_of(one)
    if "diverse" in section.variants:
        changes = {name: value for name, value in changes.items() if name != "lanes"}
        targets = list(dict.fromkeys(one.name for one in wanted))
        yield from make_plan(
            model, targets, recipe=base, seed=seed, diverse=section.diverse, **changes
        ).wanted


def negative_of(one: Wanted) -> Wanted:
    """Return the wish for the image that a unit answers least to.

    It is the same run as the picture's but for the sign, and for its chance, which goes with the name.
    """
    objective = -one.objective
    return replace(one, objective=objective, name=f"-1*{one.name}", variant="negative")


def expand_layers(model: ModelHandle, address: str) -> list[str]:
    """Return an address for each layer that its pattern fits, in the order in which they run.

    Raises:
        TargetError: no layer that can be climbed fits.
    """
    if parse_vectors(address) is not None:
        return [address]
    layers = parse_request(address).layer
    rest = address.strip()[len(layers) :]
    return [one + rest for pattern in layers.split(",") for one in _fitting(model, pattern.strip())]


def _fitting(model: ModelHandle, pattern: str) -> list[str]:
    network = model.at(model.input_size)
    if not _PATTERN.search(pattern) or pattern in network.layers:
        return [pattern]
    fits = re.compile("".join(_as_regex(part) for part in re.split(r"(\*\*|\*|\?)", pattern)))
    found = [
        layer
        for layer in network.layers.values()
        if fits.fullmatch(layer.name) and layer.is_clear and network.first_without_weights(layer) is None
    ]
    if not found:
        hint = f"no layer that can be climbed fits the pattern {pattern!r}; * stands for anything but a dot"
        raise TargetError(unknown("layer", pattern, network.layers, hint))
    return [layer.name for layer in sorted(found, key=lambda layer: layer.order)]


def _as_regex(part: str) -> str:
    return {"**": ".*", "*": r"[^.]*", "?": r"[^.]"}.get(part, re.escape(part))
