from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from featvis.attribution.relevance import relevance
from featvis.attribution.scoring import find_target, scored
from tests.attribution.planted import stack
from tests.networks import handle, seeded, small


def relevances(model, image, target, **rules):
    size = (image.shape[2], image.shape[3])
    objective, _ = find_target(model, target, size)
    with scored(model, objective, size) as score:
        return (*relevance(score, image, **rules), float(score.values(image)))


@pytest.mark.parametrize("unit", range(4))
def test_no_relevance_is_lost_without_biases(chance, unit):
    image = torch.rand((1, 3, 19, 26), generator=chance)
    pixels, kept, score = relevances(stack(bias=False), image, f"fc:{unit}")
    assert float(kept) == 0
    assert float(pixels.double().sum()) == pytest.approx(score, rel=1e-3)


@pytest.mark.parametrize("unit", range(4))
def test_what_biases_keep_makes_up_the_rest(chance, unit):
    image = torch.rand((1, 3, 19, 26), generator=chance)
    pixels, kept, score = relevances(stack(), image, f"fc:{unit}")
    assert abs(float(kept)) > 0.01 * abs(score)
    assert float(pixels.double().sum() + kept) == pytest.approx(score, rel=1e-3)


@pytest.mark.parametrize("target", ["classifier:281", "blocks.3:5", "conv_stem:3"])
def test_relevance_is_conserved_in_a_trained_network(lite0, chance, target):
    image = torch.rand((1, 3, 64, 80), generator=chance)
    pixels, kept, score = relevances(lite0, image, target)
    assert float(pixels.double().sum() + kept) == pytest.approx(score, rel=2e-3, abs=1e-5)


class Rectified(nn.Module):
    """A plain ReLU network, whose rules are written out by hand below."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 5, 3, padding=1, bias=False)
        self.second = nn.Conv2d(5, 4, 3, padding=1)
        self.fc = nn.Linear(4, 3)

    def forward(self, images):
        return self.fc(torch.relu(self.second(functional.relu(self.first(images)))).mean((2, 3)))


def test_the_rules_are_those_of_the_book(chance):
    """R_j = x_j Σ_k w_jk R_k / Σ_j x_j w_jk, layer by layer, with dense matrices in place of gradients."""
    model = handle(seeded(Rectified), (5, 6))
    image = torch.rand((1, 3, 5, 6), generator=chance)
    gamma = 0.25
    module = model.module.eval().double()
    shown = ((image - 0.5) / 0.5).double()
    with torch.no_grad():

        def matrix(layer, size):
            units = torch.eye(size * 30, dtype=torch.float64).view(-1, size, 5, 6)
            return functional.conv2d(units, layer.weight, padding=1).flatten(1)  # (inputs, outputs)

        w1, w2 = matrix(module.first, 3), matrix(module.second, 5)
        x0 = shown.flatten()
        x1 = (x0 @ w1).clamp(min=0)
        b2 = module.second.bias.repeat_interleave(30)
        z2 = x1 @ w2 + b2
        x2 = z2.clamp(min=0)
        pooled = x2.view(4, 30).mean(1)
        weight, bias = module.fc.weight[1], module.fc.bias[1]
        output = pooled @ weight + bias
        r2 = (x2 * weight.repeat_interleave(30) / 30) / output * output  # ε without ε
        # γ for inputs above 0 and outputs above 0: the positive weights count 1 + γ times.
        raised = w2 + gamma * w2.clamp(min=0)
        spread = x1 @ raised + b2 + gamma * b2.clamp(min=0)
        r1 = x1 * (raised @ torch.where(x2 > 0, r2 / spread, 0.0))
        # zB between -1 and 1, what black and white are to this network.
        bounded = x0[:, None] * w1 + w1.clamp(min=0) - w1.clamp(max=0)
        r0 = bounded @ (r1 / (bounded.sum(0) + 1e-30))
    model.module.float()
    pixels, _, score = relevances(model, image, "fc:1", gamma=gamma, epsilon=1e-9)
    assert score == pytest.approx(float(output), rel=1e-4)
    assert torch.allclose(pixels.flatten().double(), r0, atol=1e-4 * float(r0.abs().max()))


def test_without_rules_it_is_gradient_times_input_of_a_relu_network(chance):
    model = small(size=(17, 24))
    image = torch.rand((1, 3, 17, 24), generator=chance)
    objective, _ = find_target(model, "conv2:3", (17, 24))
    pixels, _, _ = relevances(model, image, "conv2:3", gamma=0.0, epsilon=0.0)
    with scored(model, objective, (17, 24)) as score:
        shown = score.tap.prepare(image).requires_grad_()
        read = {}
        hook = model.module.conv1.register_forward_hook(lambda *given: read.update(z=given[2]))
        (first,) = torch.autograd.grad(score.of_prepared(shown, image).sum(), read["z"])
        hook.remove()
    # Up to the first layer, whose relevance zB spreads over pixels: the sums must agree.
    assert float(pixels.sum()) == pytest.approx(float((first * read["z"]).detach().sum()), rel=1e-3)


def test_a_batchnorm_that_no_convolution_can_take_in_keeps_a_share_too(chance):
    module = seeded(
        lambda: nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.BatchNorm2d(6), nn.Conv2d(6, 4, 3))
    )
    module[2].running_mean.normal_(0, 0.3, generator=chance)
    module[2].running_var.uniform_(0.5, 2, generator=chance)
    image = torch.rand((1, 3, 12, 15), generator=chance)
    pixels, kept, score = relevances(handle(module, (12, 15)), image, "3:1")
    assert float(pixels.double().sum() + kept) == pytest.approx(score, rel=1e-3)
