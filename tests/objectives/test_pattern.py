"""Whole-tensor directions and products, position by position and written out."""

from __future__ import annotations

import math

import pytest
import torch

import featvis as fv
from featvis.objectives.base import stack
from tests.networks import activations_of, layouts, scores_of

SIZE = (17, 10)  # a map of 9 rows by 5 columns


def product(one, other, power):
    """⟨a, v⟩ · max(.1, cos)^p of two lists of numbers."""
    dot = sum(a * b for a, b in zip(one, other, strict=True))
    norms = (math.hypot(*one) + 1e-4) * (math.hypot(*other) + 1e-4)
    return dot * max(0.1, dot / norms) ** power if power else dot


def numbers(tensor):
    return tensor.double().flatten().tolist()


def as_map(layer, activation):
    return activation.movedim(-1, 1) if layer == "map_last" else activation


@pytest.mark.parametrize("power", [0, 2, 4])
@pytest.mark.parametrize(("layer", "units"), [("map", 6), ("map_last", 7)])
@pytest.mark.parametrize("shape", [(9, 5), (4, 3), (1, 1)])
def test_c6_c7_patterns_follow_their_formulas(layer, units, shape, power, chance):
    model = layouts()
    images = torch.rand((2, 3, *SIZE), generator=chance)
    pattern = torch.randn((units, *shape), generator=chance)
    rows, columns = shape
    top, left = (9 - rows) // 2, (5 - columns) // 2
    every = as_map(layer, activations_of(model, layer, images))
    each = scores_of(model, fv.tensor_direction(layer, pattern, power), images)
    whole = scores_of(model, fv.dot_cosine(layer, pattern, power), images)
    for lane in range(2):
        crop = every[lane, :, top : top + rows, left : left + columns]
        places = [(row, column) for row in range(rows) for column in range(columns)]
        sums = [product(numbers(crop[:, r, c]), numbers(pattern[:, r, c]), power) for r, c in places]
        assert float(each[lane]) == pytest.approx(sum(sums) / len(sums), rel=1e-4, abs=1e-5)
        expected = product(numbers(crop), numbers(pattern), power)
        assert float(whole[lane]) == pytest.approx(expected, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("power", [0.5, 2])
def test_c7_a_product_that_points_the_wrong_way_rises_with_its_dot(power):
    from featvis.objectives.pattern import dot_times_cosine

    aim = torch.tensor([[1.0, 2.0, -1.0]])
    away = torch.tensor([[-3.0, -1.0, 2.0]], requires_grad=True)
    score = dot_times_cosine(away, aim, power, 1)
    assert score < 0
    (slope,) = torch.autograd.grad(score.sum(), away)
    torch.testing.assert_close(slope, 0.1**power * aim)


def test_c7_each_pictures_product_is_its_own(chance):
    model = layouts()
    pattern = torch.randn((6, 9, 5), generator=chance)
    images = torch.rand((3, 3, *SIZE), generator=chance)
    together = scores_of(model, fv.dot_cosine("map", pattern), images)
    alone = torch.cat([scores_of(model, fv.dot_cosine("map", pattern), one[None]) for one in images])
    torch.testing.assert_close(together, alone)


@pytest.mark.parametrize("make", [fv.tensor_direction, fv.dot_cosine])
def test_lanes_together_score_as_each_alone(make, chance):
    model = layouts()
    images = torch.rand((2, 3, *SIZE), generator=chance)
    each = [make("map", torch.randn((6, 4, 3), generator=chance)).bind(model.at(SIZE)) for _ in range(2)]
    together = stack(each)
    assert type(together) is type(each[0])
    with model.tap(["map"], size=SIZE) as activations:
        found = activations(images)
    for lane, one in enumerate(each):
        torch.testing.assert_close(together(found, images)[lane], one(found, images)[lane])


@pytest.mark.parametrize("pattern", [torch.zeros(6, 2, 2), torch.ones(6), torch.full((6, 1, 1), math.nan)])
def test_what_is_no_pattern_is_refused(pattern):
    with pytest.raises(fv.TargetError, match="a pattern"):
        fv.tensor_direction("map", pattern)


def test_what_does_not_fit_the_map_is_refused():
    network = layouts().at(SIZE)
    with pytest.raises(fv.CanvasError, match="10x2 positions does not fit the map of map, 9x5"):
        fv.tensor_direction("map", torch.ones(6, 10, 2)).bind(network)
    with pytest.raises(fv.TargetError, match="has 6 units, got 5"):
        fv.tensor_direction("map", torch.ones(5, 2, 2)).bind(network)
    with pytest.raises(fv.TargetError, match="has no map"):
        fv.dot_cosine("vector", torch.ones(3, 1, 1)).bind(network)
    with pytest.raises(fv.TargetError, match="power"):
        fv.dot_cosine("map", torch.ones(6, 1, 1), power=-1)


def test_every_pattern_has_a_description_of_its_own():
    ones = torch.ones(6, 2, 3)
    every = [
        fv.tensor_direction("map", ones),
        fv.tensor_direction("map", torch.ones(6, 3, 2)),
        fv.tensor_direction("map", 2 * ones),
        fv.tensor_direction("map", ones, power=2),
        fv.dot_cosine("map", ones),
    ]
    assert len({one.describe() for one in every}) == 5
