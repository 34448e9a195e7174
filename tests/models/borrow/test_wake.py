"""Gradients through dead ReLUs, and units that stay dead."""

from __future__ import annotations

import itertools
import json
import math

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

import featvis as fv
from featvis.models.borrow.wake import RedirectedReLU
from tests.networks import handle


def rule(inputs, climb, ceiling):
    """Lucid's rule, one number at a time; ``climb`` is the gradient of the score that is climbed."""
    given = torch.zeros_like(climb)
    for lane in range(len(inputs)):
        places = list(zip(inputs[lane].flatten().tolist(), climb[lane].flatten().tolist(), strict=True))
        plain = [g if 0 < u < ceiling else 0.0 for u, g in places]
        if not any(plain):
            plain = [g if (u <= ceiling if g > 0 else u >= 0) else 0.0 for u, g in places]
        given[lane] = torch.tensor(plain).view(inputs[lane].shape)
    return given


def fresh(inputs):
    """What in-place functions may write on: not a leaf."""
    return inputs * 1


RELUS = {
    "module": lambda u: nn.ReLU()(u),
    "module in place": lambda u: nn.ReLU(inplace=True)(fresh(u)),
    "functional": lambda u: functional.relu(u),
    "functional in place": lambda u: functional.relu(fresh(u), inplace=True),
    "functional.relu_": lambda u: functional.relu_(fresh(u)),
    "torch": lambda u: torch.relu(u),
    "torch.relu_": lambda u: torch.relu_(fresh(u)),
    "method": lambda u: u.relu(),
    "method in place": lambda u: fresh(u).relu_(),
}
RELU6S = {
    "module": lambda u: nn.ReLU6()(u),
    "module in place": lambda u: nn.ReLU6(inplace=True)(fresh(u)),
    "functional": lambda u: functional.relu6(u),
    "functional in place": lambda u: functional.relu6(fresh(u), inplace=True),
    "hardtanh": lambda u: functional.hardtanh(u, 0.0, 6.0),
    "hardtanh by name": lambda u: functional.hardtanh(u, min_val=0.0, max_val=6.0),
    "hardtanh_": lambda u: functional.hardtanh_(fresh(u), 0.0, 6.0),
    "hardtanh module": lambda u: nn.Hardtanh(0.0, 6.0)(u),
}
EVERY = [(name, relu, math.inf) for name, relu in RELUS.items()]
EVERY += [("relu6 " + name, relu, 6.0) for name, relu in RELU6S.items()]


def cases(chance):
    """Six images at once: alive, all below, all above, both, one pixel alive, gradients of one sign."""
    inputs = torch.randn((6, 2, 3, 4), generator=chance) * 4 + 3
    inputs[1] = -inputs[1].abs() - 0.1
    inputs[2] = inputs[2].abs() + 6.1
    inputs[3] = torch.where(inputs[3] > 3, inputs[3].abs() + 6.1, -inputs[3].abs() - 0.1)
    inputs[4] = -inputs[4].abs() - 0.1
    inputs[4, 1, 2, 3] = 0.5
    inputs[5] = -inputs[5].abs() - 0.1
    climb = torch.randn(inputs.shape, generator=chance)
    climb[5] = -climb[5].abs()
    return inputs, climb


@pytest.mark.parametrize(("name", "relu", "ceiling"), EVERY, ids=[name for name, *_ in EVERY])
def test_every_relu_follows_the_written_rule_for_each_image(name, relu, ceiling, chance):
    inputs, climb = cases(chance)
    inputs.requires_grad_()
    with RedirectedReLU():
        given = relu(inputs)
    assert torch.equal(given, inputs.detach().clamp(0, ceiling)), "the forward pass is the true one"
    given.backward(-climb)  # the loop descends on minus the score
    assert torch.equal(-inputs.grad, rule(inputs.detach(), climb, ceiling))


@pytest.mark.parametrize(("name", "relu", "ceiling"), EVERY, ids=[name for name, *_ in EVERY])
def test_without_it_a_relu_is_a_relu(name, relu, ceiling, chance):
    inputs, climb = cases(chance)
    inputs.requires_grad_()
    relu(inputs).backward(-climb)
    blocked = (inputs <= 0) | (inputs >= ceiling)
    assert torch.equal(-inputs.grad, climb.masked_fill(blocked.detach(), 0))


@pytest.mark.parametrize("change", ["relu_", "functional", "hardtanh_"])
def test_an_in_place_relu_whose_result_is_not_used_still_happens(change, chance):
    inputs = torch.randn((2, 3, 4, 5), generator=chance, requires_grad=True)
    with RedirectedReLU():
        found = inputs * 4
        if change == "relu_":
            found.relu_()
        elif change == "functional":
            functional.relu(found, inplace=True)
        else:
            functional.hardtanh_(found, 0.0, 6.0)
    assert torch.equal(found, (inputs * 4).clamp(0, 6.0 if change == "hardtanh_" else None))
    found.sum().backward()
    assert inputs.grad.abs().sum() > 0


def test_another_clamp_is_left_alone(chance):
    inputs = torch.randn((2, 5), generator=chance, requires_grad=True)
    with RedirectedReLU():
        functional.hardtanh(inputs, -1.0, 0.1).sum().backward()
    assert torch.equal(inputs.grad, ((inputs > -1) & (inputs < 0.1)).float())


def test_a_live_image_does_not_switch_the_rescue_off_for_a_dead_one(chance):
    inputs = torch.randn((2, 3, 4, 5), generator=chance)
    inputs[0] = -inputs[0].abs() - 0.1
    inputs.requires_grad_()
    with RedirectedReLU():
        (-functional.relu(inputs).sum()).backward()
    assert (inputs.grad[0] == -1).all(), "the dead image is woken"
    assert torch.equal(inputs.grad[1], -(inputs[1] > 0).float()), "the live one has the true gradient"


def planted(bias, weight=None):
    """One ReLU unit for each bias, over the mean colour of a 3 × 3 window."""
    conv = nn.Conv2d(3, len(bias), 3)
    with torch.no_grad():
        conv.weight.fill_(1 / 27)
        if weight is not None:
            conv.weight.mul_(torch.tensor(weight)[:, None, None, None])
        conv.bias.copy_(torch.tensor(bias))
    return handle(nn.Sequential(conv, nn.ReLU(inplace=True)), (12, 17))


OPTIONS = {
    "recipe": "channel",
    "size": (12, 17),
    "steps": 40,
    "learning_rate": 0.1,
    "lanes": 2,
    "transforms": [],
}


def test_a_unit_asleep_on_grey_is_woken():
    # The window's mean is in [-1, 1] as the network sees it: grey gives -.5, white gives +.5.
    model = planted([-0.5])
    (picture,) = fv.render(model, "1:0", **OPTIONS)
    assert picture.status == "ok"
    assert picture.attempt == 0
    assert picture.start_score == 0
    assert picture.score > 0.2


def test_without_the_redirection_it_stays_asleep():
    (picture,) = fv.render(planted([-0.5]), "1:0", **{**OPTIONS, "redirect_steps": 0, "attempts": 1})
    assert picture.status == "dead"


def test_a_unit_that_can_never_live_is_tried_again_and_then_said_to_be_dead(tmp_path):
    model, steps, said = planted([-0.5, -1e6, -1e6]), [], []
    pictures = fv.render(
        model, "1:all", attempts=4, out=tmp_path, watch=lambda step: steps.append(step.number), **OPTIONS
    )
    assert [picture.status for picture in pictures] == ["ok", "dead", "dead"]
    assert [picture.attempt for picture in pictures] == [0, 3, 3]
    jobs = 2 + 3  # two jobs of two lanes, then three more attempts at the two dead units
    assert len(steps) == jobs * OPTIONS["steps"], said
    assert [path.name for path in sorted((tmp_path / "1").glob("0*.png"))] == ["0000.png"], (
        "no file for the dead"
    )
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    told = {entry["unit"]: (entry["status"], entry["file"]) for entry in manifest["pictures"]}
    assert told == {0: ("ok", "1/0000.png"), 1: ("dead", None), 2: ("dead", None)}
    steps.clear()
    again = fv.render(
        model, "1:all", attempts=4, out=tmp_path, watch=lambda step: steps.append(step.number), **OPTIONS
    )
    assert steps == [], "a dead unit is not tried for ever"
    assert [picture.status for picture in again] == ["ok", "dead", "dead"]


def test_the_grid_shows_a_dead_unit_as_dead_never_as_a_picture():
    pictures = fv.render(planted([-0.5, -1e6]), "1:all", **OPTIONS)
    dead = pictures[1]
    sheet = fv.grid([dead], captions=False)
    shown = {color for _, color in sheet.getcolors(1 << 16)}
    assert max(shown) == (255, 255, 255), "crossed out on white paper"
    grey = sum(n for n, (r, g, b) in sheet.getcolors(1 << 16) if abs(r - 128) < 10 > abs(g - b))
    assert grey < 0.2 * sheet.width * sheet.height, "its grey start is not shown"


def test_a_later_attempt_may_find_a_unit_that_the_first_did_not():
    # Alive only on strong contrast, which the first, narrow start has not and the redirection cannot give.
    net = nn.Sequential(nn.Conv2d(3, 1, 2, bias=True), nn.ReLU())
    with torch.no_grad():
        net[0].weight.copy_(torch.tensor([[1.0, -1.0], [-1.0, 1.0]]).expand(1, 3, 2, 2))
        net[0].bias.fill_(-0.5)
    options = {**OPTIONS, "redirect_steps": 0, "space": fv.PixelImage(decorrelate=False), "attempts": 4}
    (picture,) = fv.render(handle(net, (12, 17)), "1:0", **options)
    assert picture.status == "ok"
    assert picture.attempt > 0
    assert picture.score > picture.start_score


def test_the_redirection_ends_after_redirect_steps():
    model = planted([-0.5])
    moved = []
    for count in (0, 3):
        climb = fv.ascend(
            model,
            fv.channel("1", 0),
            fv.PixelImage(size=(12, 17)),
            steps=6,
            redirect_steps=count,
            optimizer="sgd",
            momentum=0.0,
            learning_rate=1.0,
        )
        images = [step.images for step in climb]
        moved.append([not torch.equal(one, other) for one, other in itertools.pairwise(images)])
    assert moved == [[False] * 5, [True, True, False, False, False]]


@pytest.mark.parametrize("method", ["saliency", "guided-backprop", "grad-cam"])
def test_within_a_checkpoint_what_was_saved_is_unpacked_once(method):
    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.block = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU6())
            self.last, self.saves = nn.Conv2d(8, 4, 3), True

        def forward(self, images):
            if self.saves:
                return self.last(checkpoint(self.block, images, use_reentrant=False))
            return self.last(self.block(images))

    torch.manual_seed(0)
    model = handle(Network())
    options = {"size": (17, 24), "steps": 3, "lanes": 1}
    saving = fv.render(model, "last:1", **options)[0]
    photograph = torch.rand(3, 17, 24)
    seen = fv.attribute(model, photograph, "last:1", method)
    model.module.saves = False
    plain = handle(model.module)
    assert fv.render(plain, "last:1", **options)[0].png() == saving.png()
    assert (fv.attribute(plain, photograph, "last:1", method).values == seen.values).all()


def test_lrp_says_that_it_cannot_follow_a_checkpoint():
    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.block, self.last = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU()), nn.Conv2d(8, 4, 3)

        def forward(self, images):
            return self.last(checkpoint(self.block, images, use_reentrant=False))

    with pytest.raises(fv.ModelError, match=r"torch\.utils\.checkpoint.*LRP cannot follow"):
        fv.attribute(handle(Network()), torch.rand(3, 17, 24), "last:1", "lrp")
