"""What a picture's own network says of it, beside noise, other pictures, photographs and random weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import torch
from torch import Tensor, nn

from featvis.models.handle import ModelHandle
from featvis.models.layers.answer import modules_of
from featvis.trust.controls import responses_in_random_networks
from featvis.trust.evidence import Noise, OtherPictures, OwnResponse
from featvis.trust.judging import fit
from featvis.trust.references import NOISE, noise_images
from featvis.trust.response import as_its_network_is_shown, respond, under_fresh_transforms
from featvis.trust.selectivity import below_directions, selectivity, standardize, standardize_in_turn
from featvis.trust.subjects import Subject

ENOUGH = 8
"""So many photographs at least have a range of their own."""
_ABOVE_NOISE = 4.0
_FULL = 0.98


@dataclass(frozen=True)
class Group:
    """Pictures whose units are of one layer, at one position or none, shown at one size."""

    layer: str
    position: tuple[int, int] | None
    shown_size: tuple[int, int]
    members: list[Subject]

    @property
    def units(self) -> list[int]:
        """Each picture's unit."""
        return [subject.unit for subject in self.members if subject.unit is not None]

    @property
    def signs(self) -> list[int]:
        """Each picture's sign."""
        return [subject.sign for subject in self.members]


def groups_of(subjects: Sequence[Subject]) -> list[Group]:
    """Sort pictures of units into groups; pictures of objectives that are code are left out."""
    groups: dict[object, Group] = {}
    for subject in subjects:
        if subject.unit is None or not subject.layer:
            continue
        key = (subject.layer, subject.position, subject.shown_size)
        groups.setdefault(key, Group(*key, members=[])).members.append(subject)
    return list(groups.values())


@dataclass(frozen=True)
class Responses:
    """What a group's layer says, each ``(…, units)``."""

    pictures: Tensor
    noise: Tensor
    photographs: Tensor | None


def responses_of(group: Group, model: ModelHandle, photographs: Tensor | None) -> Responses:
    """Show a group's pictures, noise and photographs to their network."""
    noise = noise_images(NOISE, model.channels, group.shown_size)
    sets = [as_its_network_is_shown(group.members, model), noise]
    if photographs is not None:
        sets.append(fit(list(photographs), model, group.shown_size))
    said = respond(torch.cat(sets), model, group.layer, group.position)
    pictures, noisy = len(sets[0]), len(sets[0]) + len(noise)
    photographed = said[noisy:] if photographs is not None else None
    return Responses(said[:pictures], said[pictures:noisy], photographed)


def measure_own(group: Group, model: ModelHandle, said: Responses) -> list[OwnResponse]:
    """Return for each picture of a group how its own unit, and its unit's neighbours, respond to it."""
    units, signs = group.units, group.signs
    z = standardized(said, units)
    ranked = selectivity(z, units, signs)
    below = below_directions(z, units, signs)
    beside = ranks_beside_photographs(said, units, signs)
    over_noise = standardize(said.pictures, said.noise)
    full = ceiling(model, group.layer)
    fresh = _fresh(group, model)
    measured = []
    for row, (subject, unit, sign) in enumerate(zip(group.members, units, signs, strict=True)):
        score = sign * float(said.pictures[row, unit])
        noise = sign * said.noise[:, unit]
        others = [place for place, other in enumerate(units) if other != unit and signs[place] == sign]
        rivals = sign * said.pictures[others, unit]
        start, claimed = subject.entry.get("start_score"), subject.entry.get("score")
        measured.append(
            OwnResponse(
                score=score,
                claimed=claimed if isinstance(claimed, int | float) else None,
                start=start if isinstance(start, int | float) else None,
                fresh=fresh.get(row),
                noise=Noise(
                    mean=float(noise.mean()),
                    best=float(noise.max()),
                    reach=max(float(noise.max()), float(noise.mean() + _ABOVE_NOISE * noise.std())),
                    z=sign * float(over_noise[row, unit]),
                    still=_is_still(torch.cat((noise, torch.tensor([score])))),
                ),
                selectivity=ranked[row],
                rank_beside_photographs=beside[row],
                below_random_directions=below[row],
                other_pictures=OtherPictures(
                    len(others), float((rivals < score).double().mean()) if others else None
                ),
                saturated=full is not None and sign > 0 and score >= _FULL * full,
            )
        )
    return measured


def standardized(said: Responses, units: Sequence[int]) -> Tensor:
    """Return each picture's responses in standard deviations above the layer's usual ones.

    The usual ones are those to all that the network was shown: noise, photographs where there are any, and
    the group's pictures of other units. Photographs alone give units that they rarely excite so narrow a
    range that whatever excites them a little would stand above what a picture was made for.
    """
    usual = said.noise if said.photographs is None else torch.cat((said.noise, said.photographs))
    return standardize_in_turn(said.pictures, units, usual)


def ranks_beside_photographs(said: Responses, units: Sequence[int], signs: Sequence[int]) -> list[int | None]:
    """Return each picture's rank where only photographs tell a unit's range; None where there are too few."""
    if said.photographs is None or len(said.photographs) < ENOUGH:
        return [None] * len(units)
    z = standardize(said.pictures, said.photographs)
    return [one.rank for one in selectivity(z, units, signs)]


def measure_random_weights(
    group: Group, model: ModelHandle, measured: Sequence[OwnResponse]
) -> dict[str, Any]:
    """Show a group's pictures to networks with random weights; enter in ``measured`` what is left of their z.

    Returns the mean of z over noise with the true weights, and for each depth of the cascade.
    """
    images = as_its_network_is_shown(group.members, model)
    noise = noise_images(NOISE // 2, model.channels, group.shown_size)
    depths = responses_in_random_networks(
        images, noise, model, group.layer, group.units, group.signs, group.position
    )
    for row, own in enumerate(measured):
        own.random_z = depths[-1]["z"][row] if depths else None
    return {
        "layer": group.layer,
        "pictures": len(measured),
        "trained": fmean([own.noise.z for own in measured]),
        "cascade": [
            {"randomized": one["randomized"], "of": one["of"], "z": fmean(one["z"])} for one in depths
        ],
    }


def ceiling(model: ModelHandle, layer: str) -> float | None:
    """Return the largest value that a layer's activation can give, or None where there is none."""
    module = modules_of(model.module)[layer]
    # timm's BatchNormAct2d holds its activation.
    inner = getattr(module, "act", None)
    return _most(inner if isinstance(inner, nn.Module) else module)


def _most(module: nn.Module) -> float | None:
    if isinstance(module, nn.Hardtanh):  # ReLU6 is one
        return float(module.max_val)
    if isinstance(module, nn.Sigmoid | nn.Hardsigmoid | nn.Tanh | nn.Softmax):
        return 1.0
    return None


def _fresh(group: Group, model: ModelHandle) -> dict[int, float]:
    """Mean scores under fresh transforms, by place in the group; none for files that are not ours."""
    alike: dict[object, list[int]] = {}
    for place, one in enumerate(group.members):
        if one.genuine:
            alike.setdefault((str(one.entry.get("recipe")), one.image.shape), []).append(place)
    fresh: dict[int, float] = {}
    for places in alike.values():
        scores = under_fresh_transforms([group.members[place] for place in places], model)
        fresh.update(zip(places, scores, strict=True))
    return fresh


def _is_still(values: Tensor) -> bool:
    return float(values.max() - values.min()) <= 1e-6 * max(1.0, float(values.abs().max()))
