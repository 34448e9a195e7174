"""Feature accentuation: the balance of gradients, and what photographs become."""

from __future__ import annotations

import pytest
import torch

import featvis as fv
from featvis.objectives.shown import read
from tests.networks import activations_of, small

SIZE = (17, 24)


def scored(model, objective, images, transformed=lambda given: given):
    bound = objective.bind(model.at(SIZE))
    with bound.opened(model.device) as ready, model.tap(bound.layers, size=SIZE) as tap:
        return ready(read(ready, tap, images, transformed), images)


def slopes_of(scores, images):
    return torch.autograd.grad(scores.sum(), images, retain_graph=True)[0]


@pytest.mark.parametrize("layer", [None, "conv1"])
@pytest.mark.parametrize("weight", [0.5, 2.0])
def test_at_weight_one_photograph_and_unit_pull_equally_hard(layer, weight, chance):
    model = small()
    photograph = (torch.rand((3, *SIZE), generator=chance) * 255).round() / 255
    images = torch.rand((2, 3, *SIZE), generator=chance).requires_grad_()
    climbed = fv.logit(2)
    whole = slopes_of(
        scored(model, fv.accentuation(climbed, photograph, weight=weight, layer=layer), images), images
    )
    pull = slopes_of(scored(model, climbed, images), images)
    back = whole - pull  # what the photograph adds
    for lane in range(2):
        ratio = back[lane].abs().sum() / pull[lane].abs().sum()
        assert ratio == pytest.approx(weight, rel=1e-3)
    if layer is None:  # and it leads straight to the photograph, at each position
        away = (images - photograph).detach()
        away = away / away.norm(dim=1, keepdim=True)
        for mine, there in zip(back, away, strict=True):
            torch.testing.assert_close(mine / mine.norm(), -there / there.norm(), atol=1e-4, rtol=1e-3)


def test_the_distance_follows_its_formula(chance):
    model = small()
    photograph = (torch.rand((3, *SIZE), generator=chance) * 255).round() / 255
    images = torch.rand((1, 3, *SIZE), generator=chance).requires_grad_()

    def by_hand(given):
        one, other = (activations_of_live(model, each) for each in (given, photograph[None]))
        return (one - other).square().sum(1).sqrt().mean((1, 2))

    climbed = scored(model, fv.logit(2), images)
    distance = by_hand(images)
    balance = slopes_of(climbed, images).abs().sum() / slopes_of(distance, images).abs().sum()
    found = scored(model, fv.accentuation(fv.logit(2), photograph, layer="conv1"), images)
    torch.testing.assert_close(found, climbed - balance * distance, rtol=1e-4, atol=1e-5)


def activations_of_live(model, images):
    return model.module.conv1((images - 0.5) / 0.5)


def test_the_photograph_is_shown_under_the_very_same_transforms(chance):
    model = small()
    photograph = (torch.rand((3, *SIZE), generator=chance) * 255).round() / 255
    images = photograph[None].clone().requires_grad_()
    objective = fv.accentuation(fv.logit(2), photograph)

    def flipped(given):
        return given.flip(3)

    found = scored(model, objective, images, flipped)
    torch.testing.assert_close(found, scored(model, fv.logit(2), images, flipped))


def near(model, photograph, weight, **more):
    (picture,) = fv.render(
        model,
        fv.accentuation(fv.logit(2), photograph, weight=weight, **more),
        start=photograph,
        steps=40,
        lanes=2,
        transforms=[fv.Warp(shift=0.1), fv.Noise(sd=0.02)],
        space=fv.PixelImage(decorrelate=False),
        learning_rate=0.05,
    )
    logit = activations_of(model, "fc", picture.image[None])[0, 2].item()
    return logit, (picture.image - photograph).abs().mean().item()


@pytest.mark.parametrize("layer", [None, "conv1"])
def test_a_photograph_stays_itself_the_more_the_heavier_it_is(layer, chance):
    model = small()
    photograph = (torch.rand((3, *SIZE), generator=chance) * 0.6 + 0.2).mul(255).round() / 255
    before = activations_of(model, "fc", photograph[None])[0, 2].item()
    free, held = near(model, photograph, 0.0), near(model, photograph, 0.9, layer=layer)
    assert before < held[0] < free[0]
    assert 0 < held[1] < 0.8 * free[1]


def test_weight_nought_is_the_objective_itself(chance):
    model = small()
    photograph = torch.rand((3, *SIZE), generator=chance)
    images = torch.rand((2, 3, *SIZE), generator=chance)
    found = scored(model, fv.accentuation(fv.logit(2), photograph, weight=0), images)
    assert torch.equal(found, scored(model, fv.logit(2), images))


def test_every_photograph_weight_and_layer_has_its_key(chance):
    photograph = torch.rand((3, *SIZE), generator=chance)
    every = [
        fv.accentuation(fv.logit(2), photograph),
        fv.accentuation(fv.logit(2), photograph.flip(2)),
        fv.accentuation(fv.logit(2), photograph, weight=0.5),
        fv.accentuation(fv.logit(2), photograph, layer="conv1"),
    ]
    assert len({one.describe() for one in every}) == 4


def test_mistakes_are_said(chance):
    photograph = torch.rand((3, *SIZE), generator=chance)
    for wrong in (photograph[None], photograph * 255):
        with pytest.raises(fv.CanvasError, match="photograph"):
            fv.accentuation(fv.logit(2), wrong)
    with pytest.raises(fv.TargetError, match="weight"):
        fv.accentuation(fv.logit(2), photograph, weight=-1)
    with pytest.raises(fv.TargetError, match="nope"):
        fv.accentuation(fv.logit(2), photograph, layer="nope").bind(small().at(SIZE))
