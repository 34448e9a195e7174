"""Cheaper forms of modules give the same activations and gradients, and leave the network as it was."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import featvis as fv
from featvis.models.borrow.shortcuts import take_shortcuts
from featvis.models.borrow.tap import borrowed


def both(module, images):
    """Output and gradient of a module as it is and in its cheaper form."""
    found = []
    for cheaper in (False, True):
        leaf = images.clone().requires_grad_()
        with borrowed(module, cheaper=cheaper):
            output = module(leaf)
            (gradient,) = torch.autograd.grad((output * output.detach().cos()).sum(), leaf)
        found.append((output.detach(), gradient))
    return found


@pytest.mark.parametrize("inplace", [False, True])
@pytest.mark.parametrize("activation", [nn.ReLU6, lambda inplace: nn.Hardtanh(-0.5, 0.75, inplace)])
def test_bounded_activations(activation, inplace):
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 5, 3), activation(inplace=inplace), nn.Conv2d(5, 2, 3))
    (plain, slope), (cheap, cheap_slope) = both(module, torch.randn(2, 3, 9, 14) * 20)
    assert torch.equal(plain, cheap)
    assert torch.equal(slope, cheap_slope)


def test_a_bounded_activation_keeps_one_map_and_no_copy_of_what_came_in():
    kept = []
    images = torch.randn(1, 2, 5, 7, requires_grad=True)
    take_shortcuts(activation := nn.ReLU6())
    with torch.autograd.graph.saved_tensors_hooks(lambda one: kept.append(one) or one, lambda one: one):
        output = activation(images)
    assert [one.data_ptr() for one in kept] == [output.data_ptr()]


@pytest.mark.parametrize("size", [(16, 16), (17, 24), (24, 17), (15, 15), (31, 8)])
@pytest.mark.parametrize("kernel", [3, 5])
def test_padded_strided_convolutions(size, kernel):
    conv2d_same = type(fv.load_model("efficientnet_lite0").module.conv_stem)
    assert conv2d_same.__name__ == "Conv2dSame"
    module = conv2d_same(6, 6, kernel, stride=2, groups=6, bias=True)
    (plain, slope), (cheap, cheap_slope) = both(module, torch.randn(2, 6, *size))
    torch.testing.assert_close(plain, cheap)
    torch.testing.assert_close(slope, cheap_slope)


def test_a_convolution_over_all_channels_is_left_as_it_is():
    conv2d_same = type(fv.load_model("efficientnet_lite0").module.conv_stem)
    module = conv2d_same(6, 6, 3, stride=2)
    with borrowed(module, cheaper=True):
        assert "forward" not in module.__dict__


def test_the_modules_are_given_back():
    module = nn.Sequential(nn.ReLU6(), nn.Hardtanh())
    module[1].forward = own = lambda inputs: inputs * 2
    with borrowed(module, cheaper=True):
        assert "forward" in module[0].__dict__
        assert module[1].forward is own, "a user's own is left alone"
    assert "forward" not in module[0].__dict__
    assert module[1].forward is own


def test_whole_networks_climb_the_same_pictures_but_for_rounding():
    model = fv.load_model("efficientnet_lite0")
    images = torch.rand(2, 3, 41, 64)
    found = []
    for cheaper in (False, True):
        leaf = images.clone().requires_grad_()
        with model.tap(["blocks.3", "blocks.1"], size=(41, 64), cheaper=cheaper) as activations:
            given = activations(leaf)
            score = given["blocks.3"].mean() + given["blocks.1"].amax()
            found.append((given["blocks.3"].detach(), *torch.autograd.grad(score, leaf)))
    (plain, slope), (cheap, cheap_slope) = found
    torch.testing.assert_close(plain, cheap, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(slope, cheap_slope, rtol=1e-3, atol=1e-6)


def test_moments_and_activation_in_one_visit_give_the_penaltys_gradient():
    model = fv.load_model("efficientnet_lite0")
    penalty = fv.logit(7).bind(model.at((41, 64)))
    from featvis.spec import register

    term = register.make("objectives", {"name": "batchnorm"}).beside(penalty.layers).bind(model.at((41, 64)))
    climbed = penalty - 3.0 * term
    images = torch.rand(2, 3, 41, 64)
    slopes = []
    for cheaper in (False, True):
        leaf = images.clone().requires_grad_()
        with model.tap(climbed.layers, size=(41, 64), cheaper=cheaper) as activations:
            scores = climbed(activations(leaf), leaf)
            slopes.append(torch.autograd.grad(scores.sum(), leaf)[0])
    with borrowed(model.module):  # and neither is what the folding made of it
        leaf = images.clone().requires_grad_()
        scores = climbed(unfolded(model, climbed.layers, leaf), leaf)
        slopes.append(torch.autograd.grad(scores.sum(), leaf)[0])
    # Where a channel hardly varies, its logarithm makes much of rounding; the whole agrees.
    for slope in slopes[1:]:
        assert float((slope - slopes[0]).norm() / slopes[0].norm()) < 2e-3


def unfolded(model, layers, images):
    """The moments by plain hooks on the plain network, over the same grid of positions."""
    from featvis.models.borrow.moments import MOMENTS_OF, POSITIONS

    given, handles = {}, []
    for name in layers:
        if name.startswith(MOMENTS_OF):

            def before(_, inputs, name=name):
                stride = max(1, min(inputs[0].shape[2:]) // POSITIONS)
                grid = inputs[0][:, :, ::stride, ::stride]
                given[name] = torch.stack((grid.mean((2, 3)), grid.square().mean((2, 3))), dim=1)

            handles.append(
                model.module.get_submodule(name[len(MOMENTS_OF) :]).register_forward_pre_hook(before)
            )
    mean, std = (torch.tensor(one)[:, None, None] for one in (model.mean, model.std))
    given["classifier"] = model.module((images - mean) / std)
    for handle in handles:
        handle.remove()
    return given
