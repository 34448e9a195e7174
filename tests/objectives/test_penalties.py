"""Penalties against formulas written out, each picture alone."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from torch import nn

import featvis as fv
from featvis.objectives.batchnorm import BatchNormStatistics
from featvis.spec import register
from tests.networks import Small, activations_of, handle, scores_of, seeded, small


@pytest.fixture
def images(chance):
    return torch.rand((3, 3, 5, 8), generator=chance)


def slow_total_variation(image):
    down = [
        abs(a - b)
        for one in image
        for above, below in itertools.pairwise(one)
        for a, b in zip(above, below, strict=True)
    ]
    across = [abs(a - b) for one in image for row in one for a, b in itertools.pairwise(row)]
    return sum(down) / len(down) + sum(across) / len(across)


def slow_contrast(image, limit=0.2):
    squares = []
    for one in image:
        mean = sum(v for row in one for v in row) / 40
        squares += [(v - mean) ** 2 for row in one for v in row]
    return max(0.0, math.sqrt(1e-6 + sum(squares) / 120) / limit - 1)


def slow_local_contrast(image, limit=0.2, size=16):
    """By blocks of at most ``size``, half a block apart, that lie within the picture."""
    gray = np.array(image).mean(0)
    high, wide = min(size, gray.shape[0]), min(size, gray.shape[1])
    tops = range(0, gray.shape[0] - high + 1, max(1, high // 2))
    lefts = range(0, gray.shape[1] - wide + 1, max(1, wide // 2))
    blocks = [gray[top : top + high, left : left + wide] for top in tops for left in lefts]
    return sum(max(0.0, math.sqrt(1e-6 + block.var()) / limit - 1) for block in blocks) / len(blocks)


def slow_colorfulness(image, limit=0.16):
    red, green, blue = (np.array(one) for one in image)
    apart = red - green, (red + green) / 2 - blue
    spread = math.sqrt(1e-6 + sum(one.var() for one in apart))
    return max(0.0, (spread + 0.3 * math.sqrt(1e-6 + sum(one.mean() ** 2 for one in apart))) / limit - 1)


SLOW = {
    "colorfulness": slow_colorfulness,
    "contrast": slow_contrast,
    "local_contrast": slow_local_contrast,
    "total_variation": slow_total_variation,
    "l1": lambda image: sum(abs(v - 0.5) for one in image for row in one for v in row) / 120,
    "l2": lambda image: math.sqrt(
        1e-6 + sum((v - 0.5) ** 2 for one in image for row in one for v in row) / 120
    ),
}


@pytest.mark.parametrize("name", SLOW)
def test_a_penalty_follows_its_formula(name, images):
    found = getattr(fv, name)()({}, images)
    assert found.tolist() == pytest.approx([SLOW[name](image) for image in images.tolist()], rel=1e-5)


def test_contrast_leaves_a_picture_below_its_limit_alone(images):
    soft = (0.5 + 0.1 * images).requires_grad_()
    found = fv.contrast()({}, soft)
    found.sum().backward()
    assert found.tolist() == [0, 0, 0]
    assert not soft.grad.any()
    harder = fv.contrast(0.01)({}, soft.detach()).tolist()
    assert harder == pytest.approx([slow_contrast(one, 0.01) for one in soft.tolist()], rel=1e-4)
    with pytest.raises(fv.RecipeError, match="limit"):
        fv.contrast(0)


@pytest.mark.parametrize("size", [2, 3, 4, 16])
def test_local_contrast_is_measured_in_blocks(size, chance):
    images = torch.rand((2, 3, 11, 14), generator=chance)
    found = fv.local_contrast(0.05, size)({}, images)
    assert found.tolist() == pytest.approx(
        [slow_local_contrast(one, 0.05, size) for one in images.tolist()], rel=1e-5
    )
    halves = torch.zeros(1, 3, 24, 32)
    halves[..., 16:] = 1  # of the greatest contrast, but within a block only where it meets the edge
    assert fv.contrast(0.2)({}, halves).item() == pytest.approx(1.5, rel=1e-4)
    assert fv.local_contrast(0.2, 4)({}, halves).item() == pytest.approx(1.5 / 15, rel=1e-4)
    with pytest.raises(fv.RecipeError, match="limit"):
        fv.local_contrast(0)
    with pytest.raises(fv.RecipeError, match="size"):
        fv.local_contrast(0.2, 1)


def test_what_has_no_colours_is_not_colorful(images):
    assert fv.colorfulness(0.01)({}, images[:, :1]).tolist() == [0, 0, 0]
    assert fv.colorfulness()({}, images[:, :1].expand(-1, 3, -1, -1)).tolist() == [0, 0, 0]
    alpha = torch.cat([images, torch.rand(3, 1, 5, 8)], 1)
    assert torch.equal(fv.colorfulness()({}, alpha), fv.colorfulness()({}, images))


@pytest.mark.parametrize("name", SLOW)
def test_t21_a_picture_is_penalized_alone(name, images):
    penalty = getattr(fv, name)()
    alone = [penalty({}, images[lane : lane + 1])[0] for lane in range(3)]
    torch.testing.assert_close(penalty({}, images), torch.stack(alone))


@pytest.mark.parametrize("name", SLOW)
def test_a_penalty_has_a_gradient_on_a_grey_image_or_none_but_never_nan(name):
    images = torch.full((1, 3, 5, 8), 0.5, requires_grad=True)
    getattr(fv, name)()({}, images).sum().backward()
    assert images.grad.isfinite().all()


@pytest.mark.parametrize("size", [(1, 8), (5, 1), (1, 1)], ids=str)
def test_t08_total_variation_of_a_canvas_of_one_row_or_column(size, chance):
    images = torch.rand((2, 3, *size), generator=chance)
    found = fv.total_variation()({}, images)
    expected = sum(
        images.diff(dim=axis).abs().flatten(1).mean(1) for axis in (2, 3) if images.shape[axis] > 1
    )
    torch.testing.assert_close(found, expected if isinstance(expected, torch.Tensor) else torch.zeros(2))


def slow_distance(inputs, norm):
    """The mean over layers, channel by channel."""
    scores = []
    for image in inputs.double():
        shifts, spreads = [], []
        for channel, m, v in zip(image, norm.running_mean.double(), norm.running_var.double(), strict=True):
            v = float(v) + norm.eps
            mean = float(channel.mean())
            variance = float(((channel - mean) ** 2).mean())
            shifts.append((mean - float(m)) ** 2 / v)
            spreads.append(math.log((variance + 0.001 * v) / v) ** 2)
        scores.append(sum(shifts) / len(shifts) + sum(spreads) / len(spreads) / 4)
    return torch.tensor(scores, dtype=torch.float64)


def distances(norm, inputs):
    """The penalty of a network that is one BatchNorm, for inputs ``(B, C, H, W)``."""
    channels = inputs.shape[1]
    alone = nn.Sequential(norm)
    model = handle(alone, tuple(inputs.shape[2:]), channels, mean=(0,) * channels, std=(1,) * channels)
    return scores_of(model, BatchNormStatistics().beside(("0",)), inputs).detach()


def test_batchnorm_distance_follows_its_formula(chance):
    norm = seeded(Small).norm
    inputs = torch.randn((3, 8, 4, 7), generator=chance) * 2
    expected = slow_distance(inputs, norm).float()
    torch.testing.assert_close(distances(norm, inputs), expected, rtol=1e-3, atol=1e-4)


class TwoNorms(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True))
        self.b = nn.Sequential(nn.Conv2d(4, 5, 3), nn.BatchNorm2d(5), nn.ReLU(inplace=True))
        for norm in (self.a[1], self.b[1]):
            norm.running_mean.normal_()
            norm.running_var.uniform_(0.5, 2)

    def forward(self, images):
        return self.b(self.a(images))


@pytest.mark.parametrize(
    ("layer", "read"), [("a.1", ["a"]), ("a", ["a"]), ("b.0", ["a"]), ("b.2", ["a", "b"])]
)
def test_the_penalty_is_the_mean_over_the_layers_up_to_the_target(layer, read, chance):
    model = handle(seeded(TwoNorms), (12, 15))
    images = torch.rand((2, 3, 12, 15), generator=chance)
    found = scores_of(model, BatchNormStatistics().beside((layer,)), images)
    each = [
        slow_distance(activations_of(model, f"{name}.0", images), getattr(model.module, name)[1])
        for name in read
    ]
    expected = (sum(each) / len(read)).float()
    torch.testing.assert_close(found.detach(), expected, rtol=1e-3, atol=1e-4)


def test_every_second_batchnorm_is_counted_from_the_last(chance):
    model = handle(seeded(TwoNorms), (12, 15))
    images = torch.rand((2, 3, 12, 15), generator=chance)
    penalty = register.make("objectives", {"name": "batchnorm", "every": 2}).beside(("b.2",))
    found = scores_of(model, penalty, images)
    alone = slow_distance(activations_of(model, "b.0", images), model.module.b[1])
    torch.testing.assert_close(found.detach(), alone.float(), rtol=1e-3, atol=1e-4)


def test_t21_the_batchnorm_penalty_does_not_mix_pictures(chance):
    model = small()
    images = torch.rand((3, 3, 17, 24), generator=chance)
    penalty = BatchNormStatistics().beside(("norm",))
    alone = torch.cat([scores_of(model, penalty, images[lane : lane + 1]) for lane in range(3)])
    torch.testing.assert_close(scores_of(model, penalty, images), alone)


def scaled(factor):
    """A network whose logits are so many times as large, and that is otherwise the same."""
    net = seeded(Small)
    with torch.no_grad():
        for parameter in net.fc.parameters():
            parameter.mul_(factor)
    return handle(net)


@pytest.mark.parametrize("relative", [True, False])
def test_a_relative_penalty_does_for_logits_of_any_scale(relative):
    penalty = {"name": "batchnorm", "weight": 2.0, "relative": relative}
    one, other = (
        fv.render(
            scaled(factor),
            "fc:0:2",
            size=(17, 24),
            steps=8,
            lanes=2,
            transforms=[],
            learning_rate=0.1,
            gradient_norm=1.0,  # Adam's epsilon has a scale of its own
            schedule="constant",
            space="fourier",
            penalties=[penalty],
        )
        for factor in (1.0, 0.01)
    )
    for large, tiny in zip(one, other, strict=True):
        apart = np.abs(large.levels.astype(int) - tiny.levels.astype(int))
        assert (apart.max() <= 1) if relative else (apart.mean() > 1)
        if relative:
            assert tiny.score == pytest.approx(large.score / 100, rel=1e-2)


def test_a_relative_distance_is_that_times_the_size_of_the_targets_own_layer(chance):
    model = small()
    images = torch.rand((3, 3, 17, 24), generator=chance)
    plain = scores_of(model, BatchNormStatistics().beside(("fc",)), images)
    relative = BatchNormStatistics(relative=True).beside(("fc",))
    logits = activations_of(model, "fc", images)
    torch.testing.assert_close(scores_of(model, relative, images), plain * logits.square().mean(1).sqrt())
    alone = [scores_of(model, relative, images[lane : lane + 1]) for lane in range(3)]
    torch.testing.assert_close(torch.cat(alone), scores_of(model, relative, images))
    # A constant factor: it has no slope of its own.
    images.requires_grad_()
    slopes = [
        torch.autograd.grad(scores_of(model, one, images).sum(), images)[0]
        for one in (relative, BatchNormStatistics().beside(("fc",)))
    ]
    size = logits.square().mean(1).sqrt()[:, None, None, None]
    torch.testing.assert_close(slopes[0], slopes[1] * size, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("said", [{}, {"relative": False}])
def test_an_option_that_came_later_leaves_old_keys_as_they_were(said):
    assert fv.Recipe(penalties=[{"name": "batchnorm", **said}]).penalties == (
        {"name": "batchnorm", "every": 1, "weight": 1.0},
    )
    relative = fv.Recipe(penalties=[{"name": "batchnorm", "relative": True}])
    assert relative.penalties[0]["relative"] is True
    with pytest.raises(fv.RecipeError, match="relative"):
        fv.Recipe(penalties=[{"name": "batchnorm", "relative": "very"}])


def test_statistics_of_the_real_thing_are_nearer_than_others():
    # Images whose activations have the running statistics themselves are at distance (almost) 0.
    norm = seeded(Small).norm
    inputs = torch.randn((2, 8, 20, 25), generator=torch.Generator().manual_seed(0))
    inputs = (inputs - inputs.mean((2, 3), keepdim=True)) / inputs.std((2, 3), correction=0, keepdim=True)
    fitting = inputs * norm.running_var.sqrt()[:, None, None] + norm.running_mean[:, None, None]
    assert distances(norm, fitting).max() < 1e-4 < 0.01 < distances(norm, fitting * 2).min()


def test_the_penalty_of_a_large_map_is_that_of_all_its_positions_nearly(chance):
    # A map may be read on a grid; on noise that is smooth the moments hardly differ.
    norm = seeded(Small).norm
    coarse = torch.randn((2, 8, 20, 31), generator=chance)
    inputs = nn.functional.interpolate(coarse, (140, 170), mode="bicubic")
    torch.testing.assert_close(
        distances(norm, inputs), slow_distance(inputs, norm).float(), rtol=0.1, atol=0.01
    )


@pytest.mark.parametrize("layer", ["conv1", "conv2"])
def test_a_target_before_any_batchnorm_is_refused_for_this_penalty(layer):
    with pytest.raises(fv.RecipeError, match="no BatchNorm2d runs before"):
        fv.render(small(), f"{layer}:0", size=(17, 24), steps=1, penalties=[{"name": "batchnorm"}])


def test_a_batchnorm_without_statistics_is_refused():
    net = seeded(lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, track_running_stats=False)))
    with pytest.raises(fv.RecipeError, match="no running statistics"):
        fv.render(handle(net), "1:0", size=(17, 24), steps=1, penalties=[{"name": "batchnorm"}])


def test_pooled_statistics_are_those_of_the_whole_set(chance):
    """As if all positions of all pictures were one picture's: one μ, one s², one distance for all."""
    norm = seeded(Small).norm
    inputs = torch.randn((3, 8, 4, 7), generator=chance) * torch.tensor([0.5, 1, 3])[:, None, None, None]
    alone = nn.Sequential(norm)
    model = handle(alone, (4, 7), 8, mean=(0,) * 8, std=(1,) * 8)
    penalty = register.make("objectives", {"name": "batchnorm", "pooled": 3}).beside(("0",))
    assert penalty.coupled
    found = scores_of(model, penalty, inputs).detach()
    side_by_side = torch.cat(list(inputs), dim=2)[None]
    expected = slow_distance(side_by_side, norm).float().expand(3)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)
    assert float(found[0]) < float(distances(norm, inputs).mean()), "between them they are less special"


def test_each_picture_of_a_set_is_moved_by_what_the_set_lacks(chance):
    images = torch.rand((4, 3, 17, 24), generator=chance).requires_grad_()
    penalty = register.make("objectives", {"name": "batchnorm", "pooled": 4}).beside(("fc",))
    found = scores_of(small(), penalty, images)
    (slope,) = torch.autograd.grad(found.sum(), images)
    assert all(bool(one.any()) for one in slope)
    assert len(set(found.tolist())) == 1
