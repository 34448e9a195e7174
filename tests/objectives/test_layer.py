"""Layer energy against the squares summed one by one."""

from __future__ import annotations

import pytest
import torch

import featvis as fv
from tests.networks import activations_of, layouts, scores_of
from tests.objectives.test_direction import POSITIONS


@pytest.mark.parametrize("layer", POSITIONS)
def test_c3_a_layer_is_the_mean_of_its_squares(layer, chance):
    model = layouts()
    images = torch.rand((2, 3, 17, 10), generator=chance)
    found = scores_of(model, fv.layer(layer), images)
    for score, picture in zip(found, POSITIONS[layer](activations_of(model, layer, images)), strict=True):
        numbers = [float(value) ** 2 for value in picture.flatten()]
        assert float(score) == pytest.approx(sum(numbers) / len(numbers), rel=1e-5)


def test_an_unknown_layer_is_refused():
    with pytest.raises(fv.TargetError, match="map_last"):
        fv.layer("map_lost").bind(layouts().at((17, 10)))


def test_deep_dream_makes_a_layer_say_more():
    model = layouts()
    (picture,) = fv.render(model, fv.layer("map"), size=(17, 10), steps=8, lanes=1, transforms=[])
    assert picture.score > 2 * picture.start_score
