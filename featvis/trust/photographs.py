"""Pictures beside the photographs of a folder: responses, choices and paths."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from featvis.models.handle import ModelHandle
from featvis.photographs.search import find_examples
from featvis.trust.choice import choice, extremes
from featvis.trust.evidence import Evidence, OwnResponse
from featvis.trust.judging import fit, likeness, pool, pooled_layers, read
from featvis.trust.own_network import Group
from featvis.trust.paths import PathSimilarity, path_similarity
from featvis.trust.references import PhotographSample
from featvis.trust.response import as_its_network_is_shown, beside_photographs, respond
from featvis.trust.subjects import Subject

_PATHS = 8
"""At most so many photographs of the class, and of others."""


Examples = dict[tuple[int, int], dict[str, Any]]
"""What a search found, by the size at which photographs were shown and by ``layer:unit``."""


def search_photographs(groups: Sequence[Group], model: ModelHandle, sample: PhotographSample) -> Examples:
    """Search all photographs of the folder for all units at once, a pass for each size of canvas."""
    wanted: dict[tuple[int, int], dict[str, set[int]]] = {}
    for group in groups:
        units = {unit for unit, sign in zip(group.units, group.signs, strict=True) if sign > 0}
        if units:
            wanted.setdefault(group.shown_size, {}).setdefault(group.layer, set()).update(units)
    return {
        size: find_examples(
            model, sample.folder, {layer: sorted(units) for layer, units in layers.items()}, size=size
        )["units"]
        for size, layers in wanted.items()
    }


def compare_with_photographs(group: Group, measured: Sequence[OwnResponse], examples: Examples) -> None:
    """Enter in ``measured`` each score's place among those of all photographs of the folder."""
    for place, (unit, sign) in enumerate(zip(group.units, group.signs, strict=True)):
        if sign > 0:
            measured[place].photographs = beside_photographs(
                measured[place].score,
                examples[group.shown_size][f"{group.layer}:{unit}"],
                at_position=group.position is not None,
            )


def measure_choice(
    groups: Sequence[Group],
    subjects: Sequence[Subject],
    evidence: Sequence[Evidence],
    pooled: Mapping[str, Tensor],
    judge: ModelHandle,
    model: ModelHandle,
    sample: PhotographSample,
) -> None:
    """Enter in ``evidence`` how well each unit's pictures tell which photographs excite it, to a judge.

    Against a unit's pictures stand those of what drives it down, or of the layer's other units. ``pooled``
    are the judge's features of each picture, ``model`` is the pictures' own network.
    """
    images = sample.images
    pooled_photographs = pool(list(images), judge)
    places = {id(one): place for place, one in enumerate(subjects)}
    for group in groups:
        rows = [places[id(one)] for one in group.members]
        alike = likeness(
            {name: torch.cat((part[rows], pooled_photographs[name])) for name, part in pooled.items()}
        )
        said = respond(fit(list(images), model, group.shown_size), model, group.layer, group.position)
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
            chosen = choice(alike, own, against, high, low)
            for row in own.tolist():
                evidence[rows[row]].choice = chosen


def measure_paths(
    group: Group, model: ModelHandle, measured: Sequence[OwnResponse], sample: PhotographSample
) -> None:
    """Enter in ``measured`` how like photographs of its class the network processes each picture of a class.

    A photograph is of the class if the network itself names it first: there must be two, and two of others.
    """
    info = model.at(group.shown_size).layer(group.layer)
    if not info.labels or group.layer != model.output_layer:
        return
    images = fit(list(sample.images), model, group.shown_size)
    named = respond(images, model, group.layer).argmax(1)
    layers = [layer.name for layer in pooled_layers(model)]
    pictures = as_its_network_is_shown(group.members, model)
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
        measured[place].path_similarity = PathSimilarity(len(mine), paths)
