"""The loop: every argument counts, scores rise, nothing but the optimizer moves the picture."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import featvis as fv
from featvis.engine.optimizers import rate
from tests.networks import handle, layouts, scores_of, small

SIZE = (17, 24)
OPTIONS = {"steps": 5, "redirect_steps": 0}
VECTOR = [1.0, -1.0, 0.5, 2.0, -0.3, 0.1, 0.7, -1.2]


def climb(objective, model=None, space=None, **options):
    return list(
        fv.ascend(model or small(), objective, space or fv.PixelImage(size=SIZE), **{**OPTIONS, **options})
    )


def final(objective=None, **options):
    return climb(objective or fv.channel("norm", 1), **options)[-1].images


OBJECTIVES = {
    "channel": lambda: fv.channel("norm", 1),
    "neuron": lambda: fv.neuron("norm", 1),
    "position": lambda: fv.neuron("conv1", 2, (3, 20)),
    "logit": lambda: fv.logit(2),
    "direction": lambda: fv.direction("norm", VECTOR),
    "power": lambda: fv.direction("norm", VECTOR, power=2),
    "sum": lambda: fv.channel("norm", 1) + 0.5 * fv.channel("conv1", 2) - 0.1 * fv.total_variation(),
    "l1": fv.l1,
    "l2": fv.l2,
    "total variation": fv.total_variation,
    "custom": lambda: fv.objective(layers=["norm"], name="mine")(
        lambda a: a["norm"].square().mean((1, 2, 3))
    ),
}


@pytest.mark.parametrize("name", OBJECTIVES)
@pytest.mark.parametrize("space", [fv.PixelImage, fv.FourierImage])
def test_t01_a_score_rises_in_20_steps_and_its_negative_falls(name, space):
    # Pixels move at another pace than waves; deviation: an image that is grey all over has no direction.
    options = {"space": space(size=SIZE, deviation=0.1), "steps": 20, "lanes": 2, "learning_rate": 0.05}
    up = torch.stack([step.scores for step in climb(OBJECTIVES[name](), **options)])
    assert (up[-1] > up[0]).all()
    assert float((up.diff(dim=0) > 0).float().mean()) > 0.7
    down = torch.stack([-step.scores for step in climb(-OBJECTIVES[name](), **options)])
    assert (down[-1] < down[0]).all(), "the objective itself falls when its negative is climbed"
    torch.testing.assert_close(up[0], down[0], rtol=0.5, atol=0.2)


def test_the_scores_are_those_of_what_the_network_saw_before_the_step():
    model, objective = small(), fv.channel("norm", 1)
    steps = fv.ascend(model, objective, fv.PixelImage(size=SIZE), lanes=2, **OPTIONS)
    first = next(steps)
    images = first.images
    second = next(steps)
    steps.close()
    bound = objective.bind(model.at(SIZE))
    with model.tap(["norm"], size=SIZE) as activations:
        torch.testing.assert_close(
            second.scores, bound(activations(images), images).detach(), rtol=1e-4, atol=1e-5
        )
    assert (first.number, second.number) == (0, 1)
    assert not second.scores.requires_grad


def test_the_images_of_a_step_are_what_the_network_sees_next():
    for step in fv.ascend(small(), fv.channel("norm", 1), fv.FourierImage(size=SIZE), lanes=3, **OPTIONS):
        assert step.images.shape == (3, 3, *SIZE)
        assert not step.images.requires_grad
        assert 0 <= step.images.min() <= step.images.max() <= 1


def test_t26_the_parameters_change_by_the_optimizer_alone():
    # Plain SGD by hand: transforms must never be worked into the image.
    model, space = small(), fv.PixelImage(size=SIZE, decorrelate=False)
    pixels = space.draw(torch.Generator().manual_seed(1))["pixels"][None]
    objective = fv.channel("norm", 1).bind(model.at(SIZE))
    steps = list(
        fv.ascend(
            model,
            objective,
            space,
            start={"pixels": pixels.clone()},
            optimizer="sgd",
            momentum=0.0,
            learning_rate=20.0,
            **OPTIONS,
        )
    )
    mine = pixels.clone()
    for _ in steps:
        mine.requires_grad_()
        images = torch.sigmoid(mine)
        with model.tap(["norm"], size=SIZE) as activations:
            score = objective(activations(images), images).sum()
            (gradient,) = torch.autograd.grad(score, mine)
        mine = (mine + 20.0 * gradient).detach()
    torch.testing.assert_close(steps[-1].images, torch.sigmoid(mine), rtol=1e-4, atol=1e-5)
    assert (mine - pixels).abs().max() > 0.01


def test_t26_a_rate_of_almost_nothing_leaves_the_image_whatever_the_transforms():
    start = {"pixels": torch.randn((1, 3, *SIZE), generator=torch.Generator().manual_seed(1))}
    transforms = [fv.Warp(scale=(0.5, 1.2), degrees=20, jitter=3), fv.Noise(sd=0.5)]
    last = final(start={"pixels": start["pixels"].clone()}, transforms=transforms, learning_rate=1e-9)
    expected = fv.PixelImage(size=SIZE).decode(start)
    torch.testing.assert_close(last, expected, atol=1e-6, rtol=0)


def test_t32_steps_smaller_than_a_level_add_up():
    levels = []
    for steps in (1, 60):
        model = small()
        last = climb(fv.channel("norm", 1), model, steps=steps, learning_rate=5e-4)[-1].images
        levels.append((last * 255).round())
    assert (levels[0] != levels[1]).float().mean() > 0.3


CHANGED = {
    "steps": 6,
    "transforms": [fv.Warp(scale=(0.5, 0.9))],
    "seed": 1,
    "optimizer": "nadam",
    "learning_rate": 0.03,
    "momentum": 0.5,
    "second_momentum": 0.5,
    "schedule": "cosine",
    "precision": "bfloat16",
    "input_size": (20, 30),
    "start": {"pixels": torch.ones(1, 3, *SIZE)},
    "streams": [lambda purpose: torch.Generator().manual_seed(9)],
}


@pytest.mark.parametrize("argument", CHANGED)
def test_t43_every_argument_changes_the_picture(argument):
    assert not torch.equal(final(), final(**{argument: CHANGED[argument]}))


def test_t43_redirect_steps_change_the_picture():
    with torch.no_grad():
        model = small()
        model.module.conv1.bias.fill_(-9.0)
    first, second = (final(fv.channel("relu1", 0), model=model, redirect_steps=n) for n in (0, 3))
    assert not torch.equal(first, second)


def test_t43_lanes_are_pictures_of_their_own():
    images = final(lanes=3)
    assert images.shape[0] == 3
    for lane in range(3):
        torch.testing.assert_close(images[lane], final(seed=lane)[0], atol=1e-4, rtol=0)


def test_a_picture_moves_no_slower_in_a_wider_batch():
    # Sums, not means: plain SGD shows the factor that Adam would hide.
    options = {"optimizer": "sgd", "momentum": 0.0, "learning_rate": 500.0}
    alone, beside = final(**options), final(lanes=4, **options)
    assert (alone - 0.5).abs().max() > 0.05
    torch.testing.assert_close(beside[0], alone[0], atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    "wrong",
    [
        {"optimizer": "adm"},
        {"schedule": "cosin"},
        {"precision": "float16"},
        {"steps": 0},
        {"steps": -1},
        {"lanes": 0},
        {"learning_rate": 0.0},
        {"learning_rate": -1.0},
        {"momentum": 1.5},
        {"second_momentum": 1.0},
        {"redirect_steps": -1},
    ],
    ids=str,
)
def test_t43_an_argument_that_cannot_be_is_refused(wrong):
    with pytest.raises(fv.RecipeError):
        final(**wrong)


def test_a_space_of_other_channels_than_the_network_is_refused():
    with pytest.raises(fv.CanvasError, match="3 channels"):
        climb(fv.channel("norm", 1), space=fv.PixelImage(size=SIZE, channels=1))


def test_schedules_follow_their_formulas():
    for step in range(10):
        assert rate("constant", step, 10) == 1
        assert rate("linear", step, 10) == pytest.approx(1 - step / 10)
        assert rate("cosine", step, 10) == pytest.approx((1 + math.cos(math.pi * step / 10)) / 2)
    assert [rate("warmup", step, 40) for step in range(5)] == pytest.approx([0.25, 0.5, 0.75, 1, 1])
    assert rate("warmup", 0, 3) == 1
    both = [rate("warmup_cosine", step, 40) for step in range(40)]
    assert both[:5] == pytest.approx([0.25, 0.5, 0.75, 1, 1])
    assert both[4:] == pytest.approx([(1 + math.cos(math.pi * step / 36)) / 2 for step in range(36)])
    assert rate("warmup_cosine", 0, 1) == 1


def test_a_schedule_scales_the_steps_of_the_optimizer():
    # One linear map: with plain SGD each step moves the raw pixels by rate times the same gradient.
    model = handle(nn.Sequential(nn.Flatten(), nn.Linear(3 * 4 * 5, 1)), (4, 5))
    start = torch.zeros(1, 3, 4, 5)
    moved = []
    for schedule in ("constant", "linear"):
        steps = fv.ascend(
            model,
            fv.channel("1", 0),
            fv.PixelImage(size=(4, 5), decorrelate=False),
            steps=4,
            start={"pixels": start.clone()},
            optimizer="sgd",
            momentum=0.0,
            learning_rate=1e-3,
            schedule=schedule,
        )
        moved.append([float(torch.logit(step.images.double()).abs().sum()) for step in steps])
    constant, linear = (torch.tensor(each).diff(prepend=torch.zeros(1)) for each in moved)
    torch.testing.assert_close(linear / constant, torch.tensor([1.0, 0.75, 0.5, 0.25]), rtol=0.02, atol=0.01)


def test_an_objective_of_the_images_alone_runs_no_network():
    model, ran = small(), []
    model.at(SIZE)
    hook = model.module.conv1.register_forward_hook(lambda *_: ran.append(1))
    steps = fv.ascend(model, fv.l1(), fv.PixelImage(size=SIZE), **OPTIONS)
    next(steps)
    ran.clear()
    next(steps)
    steps.close()
    hook.remove()
    assert ran == []


@pytest.mark.parametrize("layer", ["map", "map_last", "tokens", "signal", "vector"])
def test_every_layout_is_climbed(layer):
    scores = [
        float(step.scores[0]) for step in climb(fv.channel(layer, 1), layouts(), fv.PixelImage(size=(17, 10)))
    ]
    assert scores[-1] > scores[0]


@pytest.mark.parametrize("name", ["adam", "nadam", "sgd"])
def test_the_steps_are_those_of_torchs_own_optimizer(name):
    model, space = small(), fv.PixelImage(size=SIZE)
    start = torch.randn((2, 3, *SIZE), generator=torch.Generator().manual_seed(4)) * 0.1
    pixels = start.clone().requires_grad_()
    kind = {"adam": torch.optim.Adam, "nadam": torch.optim.NAdam, "sgd": torch.optim.SGD}[name]
    pace = 200.0 if name == "sgd" else 0.05  # the gradients are small
    optimizer = kind([pixels], lr=pace, **({"momentum": 0.8} if name == "sgd" else {"betas": (0.8, 0.95)}))
    objective = fv.channel("norm", 1)
    options = {"optimizer": name, "learning_rate": pace, "momentum": 0.8, "second_momentum": 0.95}
    options |= {"steps": 5, "lanes": 2, "redirect_steps": 0, "start": {"pixels": start.clone()}}
    for step in fv.ascend(model, objective, space, **options):
        optimizer.zero_grad()
        (-scores_of(model, objective, space.decode({"pixels": pixels})).sum()).backward()
        optimizer.step()
        expected = space.decode({"pixels": pixels.detach()})
        torch.testing.assert_close(step.images, expected, atol=1e-4, rtol=0)
    assert (expected - space.decode({"pixels": start})).abs().mean() > 0.01, "it moved"


@pytest.mark.slow
def test_no_compiler_is_imported_for_it():
    program = """
import sys
import featvis as fv
from tests.networks import small
for optimizer in ("adam", "nadam", "sgd"):
    fv.render(small(), "norm:1", size=(17, 24), steps=2, optimizer=optimizer)
assert "torch._dynamo" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True, cwd=Path(__file__).parents[2])


def test_bfloat16_is_what_the_network_computes_in_and_nothing_else():
    model, seen = small(), set()
    hook = model.module.norm.register_forward_hook(lambda module, given, made: seen.add(made.dtype))
    start = {"pixels": torch.randn((1, 3, *SIZE), generator=torch.Generator().manual_seed(1))}
    options = {"start": start, "steps": 3, "redirect_steps": 0, "learning_rate": 1e-3}
    told = {}
    for precision in ("bfloat16", "float32"):
        space = fv.PixelImage(size=SIZE)
        steps = fv.ascend(model, fv.channel("norm", 1), space, precision=precision, **options)
        told[precision] = [(step.scores.float(), step.images) for step in steps]
    hook.remove()
    assert seen == {torch.bfloat16, torch.float32}
    for (half, images), (whole, _) in zip(*told.values(), strict=True):
        assert images.dtype == torch.float32
        assert half != whole
        torch.testing.assert_close(half, whole, rtol=0.02, atol=0.02)
    # Steps that small would be lost in bfloat16's 8 bits.
    (_, second), (_, third) = told["bfloat16"][1:]
    assert float((third != second).float().mean()) > 0.9


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"objective": "norm:0:3"}, "one unit"),
        ({"objective": ["norm:1"]}, "takes an objective"),
        ({"space": "pixel"}, "made image space"),
        ({"space": fv.PixelImage}, "made image space"),
        ({"transforms": ["warp"]}, "list of made transforms"),
        ({"transforms": fv.Noise(sd=0.1)}, "list of made transforms"),
        ({"seed": "a"}, "a seed is"),
        ({"start": torch.zeros(2, 16, 16)}, "a start image"),
        ({"model": torch.nn.Conv2d(3, 4, 3)}, "give mean and std"),
    ],
)
def test_what_cannot_be_climbed_is_told_in_one_line(given, told):
    asked = {"model": small(), "objective": "norm:1", "space": fv.PixelImage(size=16), "steps": 1, **given}
    with pytest.raises(fv.UserError, match=told) as caught:
        list(fv.ascend(asked.pop("model"), asked.pop("objective"), asked.pop("space"), **asked))
    assert "\n" not in str(caught.value)


def test_an_address_is_climbed_as_its_objective():
    model, space = small(), fv.PixelImage(size=16)
    by_address, by_objective = (
        [float(step.scores) for step in fv.ascend(model, one, space, steps=2, seed=np.int64(3))]
        for one in ("norm:1", fv.channel("norm", 1))
    )
    assert by_address == by_objective
