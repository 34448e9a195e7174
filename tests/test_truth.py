"""Pictures of networks whose answer is known beforehand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn import functional

import featvis as fv
from tests.networks import PLAIN, correlation, handle, seeded, small


@pytest.mark.parametrize("size", [(9, 13), (16, 7)])
def test_a_linear_models_picture_is_its_weight_vector(size):
    std = (0.5, 0.25, 1.0)
    linear = seeded(lambda: nn.Linear(3 * math.prod(size), 4, bias=False))
    nn.init.normal_(linear.weight, generator=torch.Generator().manual_seed(3))
    model = handle(nn.Sequential(nn.Flatten(), linear), size, std=std)
    pictures = fv.render(model, "1:all", size=size, steps=20, learning_rate=0.005, **PLAIN)
    for picture in pictures:
        # What the network sees is (x - mean) / std, so its weights seen from the picture are w / std.
        weight = linear.weight[picture.unit].view(3, *size) / torch.tensor(std)[:, None, None]
        away = picture.image - 0.5
        cosine = functional.cosine_similarity(away.flatten(), weight.flatten(), dim=0)
        assert cosine >= 0.99, picture.target


def gabors(side=11):
    """Gabor filters of several orientations, wavelengths and colours: ``(units, 3, side, side)``."""
    rows, columns = torch.meshgrid(*[torch.arange(side) - side // 2] * 2, indexing="ij")
    filters = []
    kinds = [(0, 4, 0), (35, 5, 1.2), (90, 4, 0.4), (120, 6, 2.0), (160, 3.5, 0.9)]
    colors = torch.tensor([[1, 1, 1], [1, -1, 0], [1, 1, 1], [0.2, -0.5, 1], [-1, 0.5, 0.5]])
    for (degrees, wave, phase), color in zip(kinds, colors, strict=True):
        angle = math.radians(degrees)
        along = columns * math.cos(angle) + rows * math.sin(angle)
        plane = torch.exp(-(rows**2 + columns**2) / 12.5) * torch.cos(2 * math.pi * along / wave + phase)
        filters.append(color[:, None, None] * plane)
    return torch.stack(filters)


@pytest.mark.parametrize("position", [(4, 6), (2, 9), (6, 3)])
def test_a_planted_gabor_filter_comes_back_at_its_row_and_column(position):
    filters, side, stride = gabors(), 11, 3
    conv = nn.Conv2d(3, len(filters), side, stride, padding=2, bias=False)
    conv.weight.data = filters
    model = handle(nn.Sequential(conv, nn.ReLU(inplace=True)), (33, 45))
    height, width = model.layer("1").shape[2:]
    assert height != width
    address = f"1:all@{position[0]},{position[1]}"
    for picture in fv.render(model, address, size=(33, 45), steps=30, learning_rate=0.02, **PLAIN):
        top, left = (stride * place - 2 for place in position)
        window = (slice(None), slice(top, top + side), slice(left, left + side))
        assert correlation(picture.image[window], filters[picture.unit]) >= 0.95, picture.target
        outside = picture.image.clone()
        outside[window] = 0.5
        assert (outside - 0.5).abs().max() < 0.05, "nothing else moves"


class Distance(nn.Module):
    """One logit for each colour: minus the mean squared distance of the pixels from it."""

    def __init__(self, colors):
        super().__init__()
        self.colors = nn.Parameter(torch.tensor(colors))

    def forward(self, images):
        far = images[:, None] - self.colors[None, :, :, None, None]
        return -far.square().mean((2, 3, 4))


COLORS = [(0.85, 0.2, 0.15), (0.1, 0.7, 0.3), (0.2, 0.3, 0.9), (0.9, 0.85, 0.1), (0.5, 0.5, 0.5)]


@pytest.mark.parametrize("space", ["fourier", "pixel"])
@pytest.mark.parametrize("optimizer", ["adam", "nadam"])
def test_a_logit_planted_on_a_color_gives_that_color(space, optimizer):
    model = handle(nn.Sequential(Distance(COLORS)), (12, 17), mean=(0,) * 3, std=(1,) * 3)
    pictures = fv.render(
        model,
        "0:all",
        size=(12, 17),
        steps=400,
        learning_rate=0.3,
        schedule="cosine",
        space=space,
        optimizer=optimizer,
        lanes=5,
    )
    for picture, color in zip(pictures, COLORS, strict=True):
        found = picture.image.mean((1, 2))
        assert (found - torch.tensor(color)).abs().max() < 0.06, f"{color} gave {found.tolist()}"


def test_opposite_directions_give_different_pictures(chance):
    model = small()
    vector = torch.randn(6, generator=chance)
    options = {**PLAIN, "steps": 12, "learning_rate": 5.0, "size": (17, 24)}
    there, back = fv.render(model, [fv.direction("conv1", vector), fv.direction("conv1", -vector)], **options)
    assert correlation(there.image, back.image) < -0.9
    assert there.score > there.start_score
    assert back.score > back.start_score


@pytest.mark.parametrize(
    ("name", "weight"), [("total_variation", 2.0), ("l1", 5.0), ("l2", 5.0), ("batchnorm", 20.0)]
)
@pytest.mark.parametrize("target", ["norm:1", "relu2:3@2,7"])
def test_t01_a_penalty_lowers_what_it_penalizes(name, weight, target):
    model = small()
    measure = parts_of(name, model, target.partition(":")[0])
    values = []
    for used in (0.0, weight):
        (picture,) = fv.render(
            model,
            target,
            size=(17, 24),
            steps=40,
            lanes=1,
            learning_rate=0.05,
            transforms=[],
            penalties=[{"name": name, "weight": used}],
        )
        values.append(measure(picture.image[None]))
    assert values[1] < 0.9 * values[0]


def parts_of(name, model, layer):
    """The penalized quantity of an image, by formulas of the test's own."""
    if name == "total_variation":
        return lambda x: float(x.diff(dim=2).abs().mean() + x.diff(dim=3).abs().mean())
    if name == "l1":
        return lambda x: float((x - 0.5).abs().mean())
    if name == "l2":
        return lambda x: float((x - 0.5).square().mean().sqrt())
    net = model.module

    @torch.no_grad()
    def measure(image):
        inputs = net.conv2(functional.relu(net.conv1((image - 0.5) / 0.5)))[0].flatten(1)
        mean, variance = inputs.mean(1), inputs.var(1, correction=0)
        m, v = net.norm.running_mean, net.norm.running_var + net.norm.eps
        return float(((mean - m) ** 2 / v).mean() + ((variance + 0.001 * v) / v).log().square().mean() / 4)

    return measure


def test_a_picture_of_a_class_is_a_picture_of_that_class_alone():
    model = small()
    for picture in fv.render(model, "fc:all", size=(17, 24), steps=30, lanes=5, transforms=[], penalties=[]):
        with torch.no_grad():
            scores = model.module.eval()(picture.image[None] * 2 - 1)[0]
        assert scores[picture.unit] == pytest.approx(picture.score, abs=1e-4)
        assert picture.score > picture.start_score
