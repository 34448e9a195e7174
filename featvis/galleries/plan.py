"""From a gallery's config and its network to the pictures that are wanted."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from featvis.errors import RecipeError, TargetError, unknown
from featvis.galleries.config import Gallery, Section
from featvis.models.handle import ModelHandle
from featvis.plan.make import make_plan
from featvis.plan.wanted import Wanted
from featvis.results.manifest import picture_name, read_manifest
from featvis.run.threads import find_threads, states_threads, tell_kept, with_threads
from featvis.spec.target import parse_request, parse_vectors

_PATTERN = re.compile(r"[*?]")


@dataclass(frozen=True)
class Planned:
    """One picture of a gallery."""

    wanted: Wanted
    key: str
    states_threads: bool = False
    """Whether the config states by how many CPU threads it is made."""

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

    @property
    def units(self) -> dict[str, list[int]]:
        """The units by layer."""
        found: dict[str, dict[int, None]] = {}
        for one in self.pictures.values():
            if one.unit is not None:
                found.setdefault(one.layer, {}).setdefault(one.unit)
        return {layer: list(units) for layer, units in found.items()}


def plan_gallery(gallery: Gallery, model: ModelHandle) -> GalleryPlan:
    """Settle every picture of a gallery; every mistake shows now.

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
        stated = states_threads(base, changes)
        for wanted in _variants_of(planned.wanted, section, model, base, gallery.seed, changes):
            new = Planned(wanted, wanted.key(weights), stated)
            old = pictures.setdefault(new.name, new)
            if old.key != new.key:
                raise RecipeError(
                    f"section {place} asks for {new.name} with another recipe than an earlier section; "
                    "a gallery holds one picture of each target and seed"
                )
            names.append(new.name)
        sections.append((section, names))
    return GalleryPlan(model, weights, pictures, sections)


def keep_first_threads(
    planned: GalleryPlan, folder: Path, say: Callable[[str], None] = lambda line: None
) -> GalleryPlan:
    """Let a gallery keep the number of CPU threads that its pictures in a folder were made with.

    Another number gives other bytes, so that everything would be rendered anew. A number that the config
    states is taken as it stands; where the kept one is not this machine's, it is said in one line.
    """
    manifest = read_manifest(folder) if folder.is_dir() else None
    if manifest is None:
        return planned
    entries = {picture_name(entry): entry for entry in manifest["pictures"]}
    left = {name: one for name, one in planned.pictures.items() if not one.states_threads}
    kept = find_threads(
        (one.wanted for one in left.values()), planned.weights, entries, manifest.get("recipes", {})
    )
    line = tell_kept(folder, kept)
    if kept is None or line is None:
        return planned
    say(line)
    changed = dict(planned.pictures)
    for name, one in left.items():
        wanted = with_threads(one.wanted, kept)
        changed[name] = replace(one, wanted=wanted, key=wanted.key(planned.weights))
    return replace(planned, pictures=changed)


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
