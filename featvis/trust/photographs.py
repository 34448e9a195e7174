"""Pictures beside the photographs of a folder: responses, choices and paths."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from featvis.models.handle import ModelHandle
from featvis.photographs.search import find_examples
from featvis.trust.choice import choice, extremes
from featvis.trust.judging import fit, likeness, pool, pooled_layers, read
from featvis.trust.own_network import Group
from featvis.trust.paths import path_similarity
from featvis.trust.references import Photographs
from featvis.trust.response import beside_photographs, respond, seen_by_its_network
from featvis.trust.subjects import Subject

_PATHS = 8
"""At most so many photographs of the class, and of others."""


@dataclass(frozen=True)
class Beside:
    """A folder of photographs, and some of them read."""

    folder: Path
    photographs: Photographs


Found = dict[tuple[int, int], dict[str, Any]]
"""What a search found, by the size at which photographs were shown and by ``layer:unit``."""


def search_photographs(groups: Sequence[Group], model: ModelHandle, beside: Beside) -> Found:
    """Search all photographs of the folder for all units at once, a pass for each size of canvas."""
    wanted: dict[tuple[int, int], dict[str, set[int]]] = {}
    for group in groups:
        units = {unit for unit, sign in zip(group.units, group.signs, strict=True) if sign > 0}
        if units:
            wanted.setdefault(group.seen, {}).setdefault(group.layer, set()).update(units)
    return {
        size: find_examples(
            model, beside.folder, {layer: sorted(units) for layer, units in layers.items()}, size=size
        )["units"]
        for size, layers in wanted.items()
    }


def compare_with_photographs(group: Group, told: Sequence[dict[str, Any]], found: Found) -> None:
    """Enter in ``told`` each score's place among those of all photographs of the folder."""
    for place, (unit, sign) in enumerate(zip(group.units, group.signs, strict=True)):
        if sign > 0:
            told[place]["photographs"] = beside_photographs(
                told[place]["score"],
                found[group.seen][f"{group.layer}:{unit}"],
                at_position=group.position is not None,
            )


def measure_choice(
    groups: Sequence[Group],
    subjects: Sequence[Subject],
    tables: Sequence[dict[str, Any]],
    pooled: Mapping[str, Tensor],
    judge: ModelHandle,
    model: ModelHandle,
    beside: Beside,
) -> None:
    """Enter in ``tables`` how well each unit's pictures tell which photographs excite it, to a judge.

    Against a unit's pictures stand those of what drives it down, or of the layer's other units.

    Args:
        groups: the pictures of units.
        subjects: all pictures.
        tables: a table for each.
        pooled: the judge's features of each, from :func:`featvis.trust.judging.pool`.
        judge: whose features they are.
        model: the pictures' own network.
        beside: the photographs.
    """
    images = beside.photographs.images
    seen = pool(list(images), judge)
    places = {id(one): place for place, one in enumerate(subjects)}
    for group in groups:
        rows = [places[id(one)] for one in group.members]
        alike = likeness({name: torch.cat((part[rows], seen[name])) for name, part in pooled.items()})
        said = respond(fit(list(images), model, group.seen), model, group.layer, group.position)
        units, signs = torch.tensor(group.units), torch.tensor(group.signs)
        for unit in dict.fromkeys(group.units):
            own = ((units == unit) & (signs > 0)).nonzero()[:, 0]
            ends = extremes(said[:, unit])
            if ends is None or not len(own):
                continue
            against = ((units == unit) & (signs < 0)).nonzero()[:, 0]
            if not len(against):
                against = ((units != unit) & (signs > 0)).nonzero()[:, 0]
            high, low = (end + len(rows) for end in ends)
            found = choice(alike, own, against, high, low).to_json()
            for row in own.tolist():
                tables[rows[row]]["choice"] = found


def measure_paths(group: Group, model: ModelHandle, told: Sequence[dict[str, Any]], beside: Beside) -> None:
    """Enter in ``told`` how like photographs of its class the network processes each picture of a class.

    A photograph is of the class if the network itself names it first: there must be two, and two of others.
    """
    info = model.at(group.seen).layer(group.layer)
    if not info.labels or group.layer != model.output_layer:
        return
    images = fit(list(beside.photographs.images), model, group.seen)
    named = respond(images, model, group.layer).argmax(1)
    layers = [layer.name for layer in pooled_layers(model)]
    pictures = seen_by_its_network(group.members, model)
    for place, unit in enumerate(group.units):
        mine, rest = (named == unit).nonzero()[:_PATHS, 0], (named != unit).nonzero()[:_PATHS, 0]
        if group.signs[place] < 0 or len(mine) < 2 or len(rest) < 2:
            continue
        shown = torch.cat((pictures[place : place + 1], images[mine], images[rest]))
        flat = read(shown, model, layers, lambda _, given: given.flatten(1))
        first_other = 1 + len(mine)
        paths = path_similarity(
            {name: rows[0] for name, rows in flat.items()},
            {name: rows[1:first_other] for name, rows in flat.items()},
            {name: rows[first_other:] for name, rows in flat.items()},
        )
        clear = [value for value in paths.values() if value is not None]
        told[place]["path_similarity"] = {
            "photographs": len(mine),
            "layers": paths,
            "mean": sum(clear) / len(clear) if clear else None,
        }
