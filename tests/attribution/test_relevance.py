from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import featvis as fv
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


class Turned(nn.Module):
    """Two convolutions of any number of axes over what ``turn`` makes of the images, and a classifier."""

    def __init__(self, conv, channels, turn=lambda shown: shown, bias=True):
        super().__init__()
        self.first = conv(channels, 6, 3, padding=1, bias=bias)
        self.second = conv(6, 5, 3, stride=2, bias=bias)
        self.fc, self.turn = nn.Linear(5, 4, bias=bias), turn

    def forward(self, shown):
        found = functional.relu(self.second(torch.relu(self.first(self.turn(shown)))))
        return self.fc(found.flatten(2).mean(2))


SIGNAL, VIDEO = {"signal": True}, {"frames": 4}
TURNED = {
    "(B, C, T)": (nn.Conv1d, SIGNAL, lambda shown: shown),
    "(B, T)": (nn.Conv1d, SIGNAL, lambda shown: shown.view(len(shown), 1, shown.shape[1])),
    "(B, C, T, H, W)": (nn.Conv3d, VIDEO, lambda shown: shown),
    "(B, T, C, H, W)": (nn.Conv3d, VIDEO, lambda shown: shown.transpose(1, 2)),
}


@pytest.mark.parametrize(
    ("axes", "channels"),
    [(axes, count) for axes in TURNED for count in (1, 2, 3) if axes != "(B, T)" or count == 1],
)
@pytest.mark.parametrize("bias", [False, True])
def test_no_relevance_of_signals_and_videos_is_lost(chance, axes, channels, bias):
    """All pixels' and the biases' relevance is what the network itself says, run by hand on its own axes."""
    conv, told, turn = TURNED[axes]
    size = (1, 37) if told is SIGNAL else (9, 12)
    frames = told.get("frames", 1)
    module = seeded(lambda: Turned(conv, channels, turn, bias))
    model = handle(module, size, channels, **told)
    assert model.form.axes == axes
    image = (torch.rand((1, channels * frames, *size), generator=chance) * 255).round() / 255
    pixels, kept, _ = relevances(model, image, "fc:2")
    shown = (image - 0.5) / 0.5
    if told is SIGNAL:
        shown = shown[:, :, 0] if axes == "(B, C, T)" else shown[:, 0, 0]
    else:
        shown = torch.stack(torch.chunk(shown, frames, 1), 2)  # (B, C, T, H, W)
        shown = shown if axes == "(B, C, T, H, W)" else shown.movedim(2, 1)
    with torch.no_grad():
        score = float(module.eval()(shown)[0, 2])
    assert pixels.shape == image.shape
    assert (abs(float(kept)) > 0) == bias
    assert float(pixels.double().sum() + kept) == pytest.approx(score, rel=1e-3)
    found = fv.attribute(model, image[0], "fc:2", "lrp")
    assert found.values.shape == size
    assert np.allclose(found.values, pixels[0].sum(0), atol=1e-6)


@pytest.mark.parametrize(
    "turn",
    [
        lambda shown: shown[:, None],
        lambda shown: shown.unsqueeze(1),
        lambda shown: torch.unsqueeze(shown, 1),
        lambda shown: shown.view(len(shown), 37).unflatten(1, (1, 37)),
    ],
)
def test_a_waveform_s_relevance_is_that_of_a_signal_of_one_channel(chance, turn):
    image = torch.rand((1, 1, 1, 37), generator=chance)
    plain, turned = (
        handle(seeded(lambda made=made: Turned(nn.Conv1d, 1, made)), (1, 37), 1, signal=True)
        for made in (lambda shown: shown, turn)
    )
    expected, found = (relevances(model, image, "fc:1")[0] for model in (plain, turned))
    assert torch.allclose(found, expected, atol=1e-6 * float(expected.abs().max()))


def test_each_frame_has_its_own_relevance_whatever_the_order_of_axes(chance):
    """One network in both forms; and what a frame alone is asked of is found in that frame alone."""
    image = torch.rand((1, 2 * 4, 9, 12), generator=chance)
    first, last = (
        handle(seeded(lambda turn=turn: Turned(nn.Conv3d, 2, turn)), (9, 12), 2, frames=4)
        for turn in (lambda shown: shown, lambda shown: shown.transpose(1, 2))
    )
    assert (first.form.axes, last.form.axes) == ("(B, C, T, H, W)", "(B, T, C, H, W)")
    expected, found = (relevances(model, image, "fc:1")[0] for model in (first, last))
    assert torch.allclose(found, expected, atol=1e-6 * float(expected.abs().max()))

    class Third(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.fc = nn.Conv3d(2, 3, (1, 3, 3)), nn.Linear(3, 2)

        def forward(self, shown):
            return self.fc(torch.relu(self.conv(shown))[:, :, 2].mean((2, 3)))

    pixels, _, _ = relevances(handle(seeded(Third), (9, 12), 2, frames=4), image, "fc:1")
    assert [bool(frame.any()) for frame in torch.chunk(pixels, 4, 1)] == [False, False, True, False]


def test_a_network_of_bgr_reads_pixels_between_black_and_white_too(chance):
    image = torch.rand((1, 3, 12, 15), generator=chance)
    pixels = []
    for order in ("rgb", "bgr"):
        module = seeded(lambda: nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 4, 3)))
        if order == "bgr":
            with torch.no_grad():
                module[0].weight.copy_(module[0].weight.flip(1))
        pixels.append(relevances(handle(module, (12, 15), channel_order=order), image, "2:1")[0])
    assert torch.allclose(*pixels, atol=1e-6 * float(pixels[0].abs().max()))
