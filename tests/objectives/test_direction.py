"""Directions against a formula written out."""

from __future__ import annotations

import math

import pytest
import torch

import featvis as fv
from featvis.objectives.base import stack
from tests.networks import activations_of, layouts, scores_of

POSITIONS = {
    "map": lambda a: a.flatten(2).movedim(1, 2),
    "map_last": lambda a: a.flatten(1, 2),
    "tokens": lambda a: a[:, 2:],
    "signal": lambda a: a.movedim(1, 2),
    "vector": lambda a: a[:, None],
}


def slow(activation, vector, power):
    """mean over positions of ⟨a, v⟩ · max(.1, cos(a, v)) ** power, number by number."""
    scores = []
    for image in activation.double():
        total = 0.0
        for place in image:
            dot = sum(float(a) * float(v) for a, v in zip(place, vector, strict=True))
            norms = (float(place.norm()) + 1e-4) * (float(vector.double().norm()) + 1e-4)
            total += dot * max(0.1, dot / norms) ** power if power else dot
        scores.append(total / len(image))
    return torch.tensor(scores, dtype=torch.float64)


@pytest.mark.parametrize("power", [0, 2, 0.5])
@pytest.mark.parametrize("layer", POSITIONS)
def test_a_direction_follows_its_formula(layer, power, chance):
    model = layouts()
    images = torch.rand((2, 3, 17, 10), generator=chance)
    vector = torch.randn(model.layer(layer).units, generator=chance)
    found = scores_of(model, fv.direction(layer, vector, power), images)
    expected = slow(POSITIONS[layer](activations_of(model, layer, images)), vector, power)
    torch.testing.assert_close(found.detach(), expected.float(), rtol=2e-4, atol=1e-5)


def test_a_direction_along_one_unit_is_its_channel(chance):
    model = layouts()
    images = torch.rand((2, 3, 17, 10), generator=chance)
    one = [0.0] * 6
    one[4] = 2.0
    found = scores_of(model, fv.direction("map", one), images)
    torch.testing.assert_close(found, 2 * scores_of(model, fv.channel("map", 4), images))


@pytest.mark.parametrize("power", [0, 2])
def test_lanes_together_score_as_each_alone(power, chance):
    model = layouts()
    network = model.at((17, 10))
    images = torch.rand((3, 3, 17, 10), generator=chance)
    vectors = torch.randn((3, 6), generator=chance)
    each = [fv.direction("map", vector, power).bind(network) for vector in vectors]
    together = stack(each)
    assert type(together) is type(each[0])
    with model.tap(["map"], size=(17, 10)) as activations:
        found = activations(images)
    for lane, one in enumerate(each):
        torch.testing.assert_close(together(found, images)[lane], one(found, images)[lane])


def test_t02_the_users_vector_is_not_changed(chance):
    vector = torch.randn(6, generator=chance)
    copy, objective = vector.clone(), fv.direction("map", vector)
    vector.mul_(2)
    assert objective.describe() == fv.direction("map", copy).describe(), "nor does it change the objective"


def test_every_direction_has_a_description_of_its_own(chance):
    vector = torch.randn(6, generator=chance)
    nearly = vector.clone()
    nearly[3] = torch.nextafter(nearly[3], torch.tensor(math.inf))
    every = [
        fv.direction("map", vector),
        fv.direction("map", nearly),
        fv.direction("map_last", vector),
        fv.direction("map", vector, power=2),
        fv.direction("map", vector, power=2.0000001),
    ]
    assert len({one.describe() for one in every}) == 5


@pytest.mark.parametrize(
    "vector",
    [torch.zeros(6), torch.ones(2, 3), torch.tensor(1.0), torch.full((6,), torch.nan), [1.0, math.inf]],
)
def test_what_is_no_direction_is_refused(vector):
    with pytest.raises(fv.TargetError, match="a direction is"):
        fv.direction("map", vector)


def test_a_negative_power_is_refused():
    with pytest.raises(fv.TargetError, match="power"):
        fv.direction("map", torch.ones(6), power=-1)


def test_a_direction_of_the_wrong_length_says_the_right_one():
    with pytest.raises(fv.TargetError, match="has 6 components, got 5"):
        fv.direction("map", torch.ones(5)).bind(layouts().at((17, 10)))
