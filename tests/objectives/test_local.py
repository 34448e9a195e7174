"""Weighted units over a map, a window, a position."""

from __future__ import annotations

import math

import pytest
import torch

import featvis as fv
from tests.networks import activations_of, layouts, scores_of, small
from tests.objectives.test_direction import POSITIONS

SIZE = (17, 10)


def images_of(chance):
    return torch.rand((2, 3, *SIZE), generator=chance)


@pytest.mark.parametrize("layer", POSITIONS)
def test_c8_weights_are_a_sum_of_channels(layer, chance):
    model, images = layouts(), images_of(chance)
    found = scores_of(model, fv.weighted(layer, {0: 1.5, 2: -0.25}), images)
    channels = [scores_of(model, fv.channel(layer, unit), images) for unit in (0, 2)]
    torch.testing.assert_close(found, 1.5 * channels[0] - 0.25 * channels[1])


@pytest.mark.parametrize(("layer", "units"), [("map", 6), ("map_last", 7)])
def test_c8_a_window_reads_its_part_of_the_map_alone(layer, units, chance):
    model, images = layouts(), images_of(chance)
    weights = torch.randn(units, generator=chance)
    found = scores_of(model, fv.weighted(layer, weights, window=(5, 1, 3, 4)), images)
    every = activations_of(model, layer, images)
    every = every if layer == "map_last" else every.movedim(1, -1)
    for lane in range(2):
        places = [every[lane, row, column] for row in (5, 6, 7) for column in (1, 2, 3, 4)]
        numbers = [sum(float(a) * float(w) for a, w in zip(one, weights, strict=True)) for one in places]
        assert float(found[lane]) == pytest.approx(sum(numbers) / 12, rel=1e-4, abs=1e-5)


def test_c8_one_unit_at_a_position_is_its_neuron(chance):
    model, images = layouts(), images_of(chance)
    found = scores_of(model, fv.weighted("map", {3: 2.0}, position=(8, 1)), images)
    torch.testing.assert_close(found, 2 * scores_of(model, fv.neuron("map", 3, (8, 1)), images))


@pytest.mark.parametrize("position", [(0, 0), (8, 1), (3, 4)])
def test_c5_a_direction_at_a_position_of_tokens_is_that_of_its_patch(position, chance):
    model, images = layouts(), images_of(chance)
    vector = torch.randn(5, generator=chance)
    found = scores_of(model, fv.direction_at("tokens", vector, position), images)
    row, column = position
    every = activations_of(model, "tokens", images)[:, 2:].unflatten(1, (9, 5))  # behind two prefix tokens
    torch.testing.assert_close(found, every[:, row, column] @ vector)


@pytest.mark.parametrize("power", [0, 2])
@pytest.mark.parametrize("position", [None, (0, 4), (8, 0)])
def test_c5_a_direction_at_a_position(position, power, chance):
    model, images = layouts(), images_of(chance)
    vector = torch.randn(6, generator=chance)
    found = scores_of(model, fv.direction_at("map", vector, position, power=power), images)
    row, column = position or (4, 2)
    for lane, every in enumerate(activations_of(model, "map", images).double()):
        here = every[:, row, column]
        dot = float(here @ vector.double())
        cosine = dot / float((here.norm() + 1e-4) * (vector.double().norm() + 1e-4))
        assert float(found[lane]) == pytest.approx(dot * max(0.1, cosine) ** power, rel=1e-4, abs=1e-6)


def test_c5_whitening_turns_the_vector(chance):
    model, images = layouts(), images_of(chance)
    seen = torch.randn((50, 6), generator=chance)
    whitening = torch.linalg.inv(seen.mT @ seen / 50)
    vector = torch.randn(6, generator=chance)
    found = scores_of(model, fv.direction_at("map", vector, (1, 2), whitening=whitening), images)
    here = activations_of(model, "map", images)[:, :, 1, 2]
    torch.testing.assert_close(found, here @ (vector @ whitening), rtol=1e-4, atol=1e-4)


def test_what_is_at_one_position_is_computed_on_what_it_sees():
    objective = fv.direction_at("relu2", [1.0] * 8, (2, 3)).bind(small().at((17, 24)))
    assert objective.place() == ("relu2", (2, 3))
    assert objective.moved((1, 1)).place() == ("relu2", (1, 1))
    assert fv.weighted("relu2", {1: 1.0}).place() is None


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: fv.weighted("map", {}), "one number"),
        (lambda: fv.weighted("map", {0: 0.0}), "not all zero"),
        (lambda: fv.weighted("map", [1.0, math.nan]), "finite"),
        (lambda: fv.weighted("map", {1: 1.0}, window=(0, 0, 0, 2)), "at least 1 by 1"),
        (lambda: fv.weighted("map", {1: 1.0}, window=(0, 0, 1, 2), position=(0, 0)), "not both"),
        (lambda: fv.weighted("map", {6: 1.0}), "units 0 to 5"),
        (lambda: fv.weighted("map", [1.0, 2.0]), "6 units, got 2"),
        (lambda: fv.weighted("map", {1: 1.0}, window=(8, 0, 2, 1)), "9 rows by 5 columns"),
        (lambda: fv.weighted("map", {1: 1.0}, position=(0, 5)), "outside the map"),
        (lambda: fv.weighted("vector", {1: 1.0}, window=(0, 0, 1, 1)), "no map"),
        (lambda: fv.direction_at("map", [1.0] * 6, whitening=torch.eye(5)), "is 6x6"),
        (lambda: fv.direction_at("map", [1.0] * 6, power=-2), "power"),
    ],
)
def test_what_cannot_be_is_refused(make, says):
    with pytest.raises(fv.TargetError, match=says):
        make().bind(layouts().at(SIZE))


def test_every_one_has_a_description_of_its_own():
    every = [
        fv.weighted("map", {1: 1.0}),
        fv.weighted("map", {2: 1.0}),
        fv.weighted("map", [0.0, 1.0, 0, 0, 0, 0]),
        fv.weighted("map", {1: 1.0}, position=(1, 2)),
        fv.weighted("map", {1: 1.0}, window=(1, 2, 1, 1)),
        fv.direction_at("map", [0.0, 1.0, 0, 0, 0, 0], (1, 2)),
        fv.direction_at("map", [0.0, 1.0, 0, 0, 0, 0], (1, 2), power=2),
    ]
    assert len({one.describe() for one in every}) == 7
