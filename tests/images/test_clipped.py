"""The image space in which faint and idle pixels are grey."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import featvis as fv
from featvis.images.clipped import least
from tests.networks import handle, small

SIZE = (17, 24)


def one(space, seed=0):
    drawn = space.draw(torch.Generator().manual_seed(seed))
    return {name: value[None] for name, value in drawn.items()}


@pytest.mark.parametrize("faint", [0.0, 0.25, 0.7, 1.0])
@pytest.mark.parametrize("inner", [{"name": "pixel", "deviation": 1.0}, "fourier", "cppn"])
def test_the_faintest_pixels_are_grey(inner, faint):
    space = fv.ClippedImage(size=SIZE, inner=inner, faint=faint)
    parameters = one(space)
    shown = space.decode(parameters)[0]
    whole = fv.ClippedImage(size=SIZE, inner=inner, faint=0.0).decode(parameters)[0]
    lengths = (whole - 0.5).double().square().sum(0).flatten()
    order = lengths.argsort()
    count = int(faint * lengths.numel())
    grey = (shown == 0.5).all(0).flatten()
    assert grey[order[:count]].all()
    assert not grey[order[count:]].any()
    assert (shown.flatten(1)[:, ~grey] == whole.flatten(1)[:, ~grey]).all()


def test_of_equal_ones_none_is_among_the_least():
    assert not least(torch.ones(1, 3, 4), 0.5).any()
    assert least(torch.ones(2, 3, 4), 1.0).all()


def test_gradients_are_the_spaces_own_and_of_idle_pixels_lead_back(chance):
    space = fv.ClippedImage(
        size=SIZE, inner={"name": "pixel", "decorrelate": False, "deviation": 1.0}, idle=0.4
    )
    images = torch.rand((2, 3, *SIZE), generator=chance).requires_grad_()
    around = torch.full_like(images, 0.5)
    slope = torch.randn(images.shape, generator=chance)
    (space.near(images, around) * slope).sum().backward()
    away = (images - 0.5).detach()
    for picture in range(2):
        contribution = (away[picture] * slope[picture]).sum(0).abs().flatten()
        idle = torch.zeros(contribution.numel(), dtype=torch.bool)
        idle[contribution.argsort()[: int(0.4 * contribution.numel())]] = True
        found, own = images.grad[picture].flatten(1), slope[picture].flatten(1)
        assert (found[:, ~idle] == own[:, ~idle]).all(), "of faint ones, too"
        back = away[picture].flatten(1) * (own.square().mean() / away[picture].square().mean()).sqrt()
        torch.testing.assert_close(found[:, idle], back[:, idle])


class Left(nn.Module):
    """One unit, the sum over the left half: the right half does not matter."""

    def __init__(self):
        super().__init__()
        self.flat, self.fc = nn.Flatten(), nn.Linear(3 * SIZE[0] * SIZE[1], 2)
        seen = torch.zeros(2, 3, *SIZE)
        seen[0, ..., : SIZE[1] // 2] = 0.1
        self.fc.weight.data, self.fc.bias.data = seen.flatten(1), torch.zeros(2)

    def forward(self, images):
        return self.fc(self.flat(images))


def distances(**told):
    space = {"name": "clipped", "inner": {"name": "pixel", "decorrelate": False, "deviation": 0.5}, **told}
    plain = {"steps": 30, "transforms": [], "lanes": 1, "learning_rate": 0.03}
    (picture,) = fv.render(handle(Left(), SIZE), "fc:0", space=space, size=SIZE, **plain)
    away = (picture.image - 0.5).abs().mean(0)
    return float(away[:, : SIZE[1] // 2].mean()), float(away[:, SIZE[1] // 2 :].mean()), picture


def test_what_does_not_matter_goes_back_to_grey():
    matters, idle, _ = distances(faint=0.0, idle=0.5)
    before = distances(faint=0.0, idle=0.0)
    assert matters == pytest.approx(before[0], rel=0.1)
    assert idle < before[1] / 3
    _, _, both = distances(faint=0.5, idle=0.5)
    grey = (both.levels == 128).all(0)
    assert grey[:, SIZE[1] // 2 :].mean() > 0.85
    assert grey[:, : SIZE[1] // 2].mean() < 0.15


@pytest.mark.parametrize("inner", ["fourier", "pixel", "pyramid"])
def test_a_unit_is_climbed_and_a_start_image_is_kept_where_nothing_matters(inner):
    model = small()
    told = {"space": {"name": "clipped", "inner": inner}, "size": SIZE, "steps": 12, "transforms": []}
    (picture,) = fv.render(model, "norm:1", **told)
    assert picture.score > picture.start_score
    photo = torch.rand((3, *SIZE), generator=torch.Generator().manual_seed(3))
    (near,) = fv.render(model, "norm:1", start=photo, **{**told, "space": {**told["space"], "faint": 1.0}})
    assert ((near.image - photo).abs() <= 0.6 / 255).all()
