"""Several networks at once, against sums written by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

import featvis as fv
from tests.networks import PLAIN, Small, handle, seeded, small


def double(seed, size, mean, std):
    module = seeded(Small, seed).double()
    return handle(module, size, mean=(mean,) * 3, std=(std,) * 3)


def plain(model, images, unit):
    """A logit as its network gives it: own size, own normalization, no featvis between."""
    shown = images
    if tuple(images.shape[2:]) != model.input_size:
        shown = functional.interpolate(images, model.input_size, mode="bilinear", antialias=True)
    return model.module.eval()((shown - model.mean[0]) / model.std[0])[:, unit]


def exact_start(chance):
    return torch.rand((2, 3, 17, 24), generator=chance, dtype=torch.float64).requires_grad_()


def test_scores_and_gradients_are_those_of_the_sum_by_hand(chance):
    first, second = double(1, (17, 24), 0.5, 0.25), double(2, (13, 9), 0.25, 0.5)
    images = exact_start(chance)
    both = fv.ensemble((first, fv.logit(1)), (second, fv.logit(3), -0.5))
    found = evaluate(first, both, images)
    (slopes,) = torch.autograd.grad(found.sum(), images)
    expected = plain(first, images, 1) - 0.5 * plain(second, images, 3)
    (by_hand,) = torch.autograd.grad(expected.sum(), images)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-6)  # a unit's score is float32
    torch.testing.assert_close(slopes, by_hand, atol=1e-10, rtol=1e-8)


def evaluate(model, objective, images):
    from featvis.objectives.shown import read

    size = tuple(images.shape[2:])
    bound = objective.bind(model.at(size))
    with bound.opened(model.device) as ready, model.tap(bound.layers, size=size) as tap:
        return ready(read(ready, tap, images, lambda given: given), images)


def test_a_third_network_may_be_the_one_that_is_started_with():
    first, second, third = small(), double(2, (13, 9), 0.25, 0.5), double(3, (9, 9), 0.5, 0.5)
    both = fv.ensemble((second, fv.logit(0)), (third, fv.logit(0)))
    (picture,) = fv.render(first, both, size=(17, 24), steps=3, **PLAIN)
    images = picture.image[None].double()
    expected = plain(second, images, 0) + plain(third, images, 0)
    assert picture.score == pytest.approx(expected.item(), abs=1e-5)


def test_both_networks_are_climbed():
    first, second = small(), double(2, (13, 9), 0.25, 0.5)
    (picture,) = fv.render(
        first, fv.ensemble((first, fv.logit(1)), (second, fv.logit(3))), size=(17, 24), steps=24, lanes=2
    )
    image = picture.image[None]
    grey = torch.full_like(image, 0.5)
    assert plain(first, image, 1) > plain(first, grey, 1)
    assert plain(second, image.double(), 3) > plain(second, grey.double(), 3)
    assert picture.score == pytest.approx(
        (plain(first, image, 1) + plain(second, image.double(), 3)).item(), abs=1e-4
    )


def test_early_layers_and_transforms_and_a_neuron_of_one_network():
    first, second = small(), double(2, (17, 24), 0.5, 0.5)
    both = fv.ensemble((first, fv.neuron("conv1", 1)), (second, fv.channel("conv2", 3)))
    (picture,) = fv.render(first, both, size=(17, 24), steps=3, lanes=2)
    alone = fv.render(first, fv.neuron("conv1", 1), size=(17, 24), steps=3, lanes=2)[0]
    assert picture.key != alone.key
    assert picture.score > picture.start_score


def test_t02_every_network_is_given_back():
    first, second = small(), small(size=(13, 9))
    second.module.train()
    before = {name: value.clone() for name, value in second.module.state_dict().items()}

    @fv.objective(layers=["fc"])
    def broken(activations):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fv.render(first, fv.ensemble((second, broken)), size=(17, 24), steps=2, **PLAIN)
    assert second.module.training
    assert all(parameter.requires_grad for parameter in second.module.parameters())
    assert not any(one._forward_hooks for one in second.module.modules())
    assert all(torch.equal(value, before[name]) for name, value in second.module.state_dict().items())
    fv.render(first, fv.ensemble((second, fv.logit(0))), size=(17, 24), steps=1, **PLAIN)  # and free again


def test_the_other_weights_are_in_the_key():
    first = small()
    others = [handle(seeded(Small, seed)) for seed in (1, 2)]
    told = [fv.ensemble((other, fv.logit(0))).bind(first.at((17, 24))).describe() for other in others]
    assert told[0] != told[1]


def test_mistakes_are_said():
    first, second = small(), small(size=(13, 9))
    twice = fv.ensemble((second, fv.logit(0))) + fv.ensemble((second, fv.logit(1)))
    with pytest.raises(fv.UserError, match=r"one fv\.ensemble"):
        fv.render(first, twice, size=(17, 24), steps=1)
    with pytest.raises(fv.TargetError, match="nope"):
        fv.render(first, fv.ensemble((second, fv.channel("nope", 0))), size=(17, 24))
    for wrong in ((), ((first,),), ((nn.Identity(), fv.logit(0)),)):
        with pytest.raises(fv.UserError, match="ensemble"):
            fv.ensemble(*wrong)
