"""What every registered objective (penalty) holds to; a new one is tested by being there."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import featvis as fv
from featvis.spec import register
from tests.networks import handle, scores_of, small

NAMES = register.names("objectives")
SIZE = (17, 24)


@pytest.fixture(scope="module")
def model():
    return small()


OPTIONS = {"confidence": {"limit": -50.0}, "local_contrast": {"limit": 0.05}}
"""Where a measure is 0 for a network of random weights unless it is asked for more."""


def made(name):
    return register.make("objectives", {"name": name, **OPTIONS.get(name, {})}).beside(("fc",))


@pytest.mark.parametrize("name", NAMES)
def test_one_finite_score_for_each_picture(name, model, chance):
    found = scores_of(model, made(name), torch.rand((3, 3, *SIZE), generator=chance))
    assert found.shape == (3,)
    assert found.isfinite().all()


@pytest.mark.parametrize("name", NAMES)
def test_t21_no_picture_moves_anothers_score(name, model, chance):
    objective = made(name)
    if objective.coupled:
        pytest.skip(f"{name} says that it couples pictures")
    images = torch.rand((3, 3, *SIZE), generator=chance).requires_grad_()
    (gradient,) = torch.autograd.grad(scores_of(model, objective, images)[1], images)
    assert gradient[1].any()
    assert not gradient[0].any()
    assert not gradient[2].any()


@pytest.mark.parametrize("name", NAMES)
def test_t02_scoring_and_binding_change_nothing(name, model, chance):
    objective = made(name)
    before = dict(vars(objective))
    images = torch.rand((2, 3, *SIZE), generator=chance)
    first = scores_of(model, objective, images)
    assert dict(vars(objective)) == before
    assert torch.equal(scores_of(model, objective, images), first)


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_can_hold_it_as_a_penalty(name):
    recipe = fv.Recipe(penalties=[{"name": name, "weight": 0.5}])
    assert recipe.penalties[0]["weight"] == 0.5
    assert fv.Recipe(penalties=[name]).penalties[0]["weight"] == 1.0
    with pytest.raises(fv.RecipeError, match="weight"):
        fv.Recipe(penalties=[{"name": name, "weight": -1}])


@pytest.mark.parametrize("name", NAMES)
def test_its_description_names_it_and_differs_from_the_others(name):
    told = [made(other).describe() for other in NAMES]
    assert len(set(told)) == len(NAMES)
    assert name in made(name).describe()


OTHERS = {"confidence limit": -50.0, "layer": "conv1", "relative": True, "every": 2, "width": 3, "pooled": 3}
"""Other values of options than their defaults, where a number cannot just be another one."""


@pytest.mark.parametrize("name", NAMES)
def test_t43_every_option_changes_the_score(name, chance, tmp_path):
    model = handle(TwoNorms(), SIZE)
    images = torch.rand((3, 3, *SIZE), generator=chance)
    measured = tmp_path / "statistics.safetensors"
    for option, field in register.scan("objectives")[name].model_fields.items():
        if option == "statistics":
            fv.activation_statistics(model, list(images), out=measured)
            other = str(measured)
        else:
            other = OTHERS.get(f"{name} {option}", OTHERS.get(option)) or (
                field.default + 1 if isinstance(field.default, int) else field.default / 2
            )
        scores = [
            scores_of(
                model, register.make("objectives", {"name": name, **given}).beside(("classes",)), images
            )
            for given in ({}, {option: other})
        ]
        assert (scores[0] != scores[1]).all(), option


class TwoNorms(nn.Module):
    """Two convolutions, each with its BatchNorm."""

    def __init__(self):
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
        self.conv2, self.norm2 = nn.Conv2d(4, 5, 3), nn.BatchNorm2d(5)
        self.last, self.classes = nn.Conv2d(5, 2, 1), nn.Linear(2, 3)

    def forward(self, images):
        return self.classes(self.last(self.norm2(self.conv2(self.norm1(self.conv1(images))))).mean((2, 3)))
