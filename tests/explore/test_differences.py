"""Maximum differentiation tells planted networks apart, along what they were planted to differ in."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn

import featvis as fv
from tests.networks import handle


class Sees(nn.Module):
    """Answers to channels by their means, and to nothing else."""

    def __init__(self, weights):
        super().__init__()
        self.weights = nn.Parameter(torch.tensor(weights))
        self.last = nn.Identity()

    def forward(self, images):
        means = images.mean((2, 3))
        return self.last(torch.stack([means @ self.weights, means.square() @ self.weights], 1))


def sees(*weights):
    return handle(Sees(weights), (6, 7), mean=(0.0,) * 3, std=(1.0,) * 3)


@pytest.fixture
def start(chance):
    return 0.3 + 0.4 * torch.rand((3, 6, 7), generator=chance)


def test_planted_networks_are_told_apart_by_what_one_of_them_does_not_see(start):
    red, both = sees(1.0, 0.0, 0.0), sees(1.0, 1.0, 0.0)
    found = fv.differentiate(red, both, "last:0", start=start, steps=24, rate=0.3)
    change = (found.up.image - found.down.image).mean((1, 2))
    assert float(change[1]) > 0.9  # green goes from none to all
    assert abs(float(change[0])) < 0.01
    assert abs(float(change[2])) < 0.01
    assert found.range == pytest.approx(float(change[1]), abs=0.02)
    assert found.slack < 0.003
    # The other way round nothing is left to drive but what both see, and that is held.
    other = fv.differentiate(both, red, "last:0", start=start, steps=24, rate=0.3)
    green, red_change = ((other.up.image - other.down.image).mean((1, 2))[place] for place in (1, 0))
    assert float(red_change) > 0.5
    assert float(green) == pytest.approx(-float(red_change), abs=0.01)


def test_equal_networks_cannot_be_told_apart(start):
    one, other = sees(1.0, 0.5, 0.0), sees(1.0, 0.5, 0.0)
    found = fv.differentiate(one, other, "last:0", start=start, steps=8, rate=0.2)
    assert abs(found.range) < 0.005


def test_a_score_that_is_curved_is_held_too_and_the_driven_one_goes_one_way(start):
    model = sees(0.5, 1.0, -0.4)
    found = fv.differentiate(model, model, "last:1", "last:0", start=start, steps=16, rate=0.2)
    assert found.slack < 0.003
    assert found.range > 0.05
    assert all(later >= before - 1e-4 for before, later in itertools.pairwise(found.up.driven[:-1]))
    with torch.no_grad():
        said = model.module(found.up.image[None])[0]
    assert (found.up.driven[-1], found.up.held[-1]) == pytest.approx(
        (float(said[0]), float(said[1])), abs=1e-5
    )
    assert "Differentiation(held Sees last:1" in repr(found)
    assert found._repr_png_().startswith(b"\x89PNG")


def test_mistakes_are_said(start):
    model = sees(1.0, 0.0, 0.0)
    with pytest.raises(fv.RecipeError, match="steps and rate"):
        fv.differentiate(model, model, "last:0", start=start, rate=0)
    with pytest.raises(fv.TargetError, match="of one"):
        fv.differentiate(model, model, "last:all", start=start)
    grey = handle(nn.Conv2d(1, 2, 3), (6, 7), channels=1)
    with pytest.raises(fv.ModelError, match="of 3 channels"):
        fv.differentiate(model, grey, "last:0", start=start)
