"""Penalties of the default recipe beside a network whose outputs hardly move."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import featvis as fv
from featvis.objectives.unit import Unit
from featvis.plan.defaults import fit_penalties
from featvis.plan.make import make_plan


class Scaled(nn.Module):
    """A small classifier with BatchNorm whose logits are multiplied."""

    def __init__(self, factor):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(3)
            self.body = nn.Sequential(nn.Conv2d(3, 6, 3, 2), nn.BatchNorm2d(6), nn.ReLU())
            self.fc = nn.Linear(6, 4)
        with torch.no_grad():
            self.fc.weight *= factor
            self.fc.bias *= factor

    def forward(self, images):
        return self.fc(self.body(images).mean((2, 3)))


def loaded(factor):
    return fv.load_model(Scaled(factor).eval(), mean=(0.5,) * 3, std=(0.5,) * 3, input_size=(24, 33))


def weights_of(model, target="fc:1", **changes):
    (wanted,) = make_plan(model, target, steps=4, **changes).wanted
    return {one["name"]: one["weight"] for one in wanted.recipe.penalties}


def range_of(model):
    return model.at((24, 33)).find("fc").range


def test_the_range_of_a_layer_is_measured():
    model = loaded(10)
    images = torch.full((2, 3, 24, 33), 0.5)
    images[1] = torch.rand((3, 24, 33), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        grey, noise = model.module((images - 0.5) / 0.5)
    assert range_of(model) == pytest.approx(float((grey - noise).square().mean().sqrt()), rel=1e-4)
    assert model.at((24, 33)).find("body.0").range is None


def test_penalties_weigh_less_where_the_classes_values_hardly_move():
    full = {one["name"]: one["weight"] for one in fv.Recipe.load("portrait").penalties}
    lively = loaded(1.5 / range_of(loaded(1)))
    assert weights_of(lively) == full
    for share in (0.5, 0.05):
        weights = weights_of(loaded(share / range_of(loaded(1))))
        assert weights["rivals"] == full["rivals"]
        for name in ("batchnorm", "contrast"):
            assert weights[name] == pytest.approx(full[name] * share**2, rel=0.06)


def test_penalties_that_were_asked_for_keep_their_weights():
    still = loaded(0.05 / range_of(loaded(1)))
    own = fv.Recipe.load("portrait").penalties
    assert weights_of(still, penalties=own) == {one["name"]: one["weight"] for one in own}


def test_a_recipe_that_fits_is_the_same_object():
    model = loaded(1e3)
    recipe = fv.Recipe.load("portrait")
    network = model.at((24, 33))
    assert fit_penalties(network, recipe, Unit("fc", [1], [None]).bind(network)) is recipe
