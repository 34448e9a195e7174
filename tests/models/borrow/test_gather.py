"""The last layer computes only what is climbed: the same activations, gradients and pictures."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import featvis as fv
from tests.networks import handle, small


def network():
    torch.manual_seed(3)
    return handle(
        nn.Sequential(
            nn.Conv2d(3, 6, 3, stride=2),
            nn.BatchNorm2d(6),
            nn.ReLU(inplace=True),
            nn.Conv2d(6, 12, 3, padding=1),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(12, 20),
        )
    )


def climbed(model, objective, only):
    network = model.at((17, 24))
    bound = objective.bind(network)
    if only:
        bound, units = bound.gather(3)
        assert set(units) == {objective.layers[0]}
    else:
        units = {}
    leaf = torch.rand((3, 3, 17, 24), generator=torch.Generator().manual_seed(1)).requires_grad_()
    with model.tap(bound.layers, size=(17, 24), only=units) as activations:
        given = activations(leaf)
        scores = bound(given, leaf)
        (gradient,) = torch.autograd.grad(scores.sum(), leaf)
    return given[objective.layers[0]].shape[1], scores.detach(), gradient


@pytest.mark.parametrize("address", ["3:11", "6:13", "3:5@2,6"])
def test_scores_and_gradients_are_the_whole_layers(address):
    request = fv.Target(*{"3:11": ("3", 11), "6:13": ("6", 13), "3:5@2,6": ("3", 5, (2, 6))}[address])
    from featvis.objectives.unit import of_target

    model = network()
    assert model.can_gather(request.layer, [request.layer], (17, 24))
    wide, scores, gradient = climbed(model, of_target(request), only=False)
    narrow, gathered, slope = climbed(model, of_target(request), only=True)
    assert (wide, narrow) == ({"3": 12, "6": 20}[request.layer], 3)
    torch.testing.assert_close(gathered, scores)
    torch.testing.assert_close(slope, gradient)


def test_each_lane_has_its_own_unit_and_the_weights_are_given_back():
    model = network()
    before = {name: (p.data_ptr(), p.clone()) for name, p in model.module.named_parameters()}
    with model.tap(["6"], size=(17, 24), only={"6": (4, 4, 19)}) as activations:
        given = activations(torch.full((3, 3, 17, 24), 0.5))["6"]
    with model.tap(["6"], size=(17, 24)) as activations:
        whole = activations(torch.full((3, 3, 17, 24), 0.5))["6"]
    torch.testing.assert_close(given, whole[:, [4, 4, 19]])
    for name, parameter in model.module.named_parameters():
        assert parameter.data_ptr() == before[name][0]
        assert torch.equal(parameter, before[name][1])


def test_only_the_last_of_what_is_read_is_gathered():
    model = network()
    assert not model.can_gather("3", ["3", "6"], (17, 24)), "the linear layer needs it whole"
    assert model.can_gather("6", ["3", "6"], (17, 24))
    assert not model.can_gather("4", ["4"], (17, 24)), "no convolution"
    grouped = handle(nn.Sequential(nn.Conv2d(3, 6, 3, groups=3)))
    assert not grouped.can_gather("0", ["0"], (17, 24))
    watched = network()
    watched.module[3].register_forward_hook(lambda *_: None)
    assert not watched.can_gather("3", ["3"], (17, 24)), "its user expects every unit"


def test_a_layer_that_two_terms_read_stays_whole():
    model = network()
    both = (fv.channel("3", 5) + fv.direction("3", torch.randn(12))).bind(model.at((17, 24)))
    assert both.gather(2)[1] == {}
    with_penalty = (fv.channel("3", 5) - fv.total_variation()).bind(model.at((17, 24)))
    assert with_penalty.gather(2)[1] == {"3": (5, 5)}


def test_a_run_uses_it(monkeypatch):
    model = small()
    seen = []
    tap = type(model).tap
    monkeypatch.setattr(type(model), "tap", lambda *a, **k: seen.append(k.get("only")) or tap(*a, **k))
    fv.render(model, "conv1:2,5", size=(17, 24), steps=2, lanes=3)
    assert {"conv1": (2, 5, 5)} in seen
