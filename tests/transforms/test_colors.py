"""Colour transforms against torchvision's, and against a slow matrix exponential."""

from __future__ import annotations

import math

import pytest
import torch
from torchvision.transforms import functional as tv

import featvis as fv
from featvis.transforms.color_jitter import ColorJitter
from featvis.transforms.color_shift import ColorShift

STILL = {"brightness": 0, "contrast": 0, "saturation": 0, "hue": 0, "offset": 0}


@pytest.fixture
def images(chance):
    return 0.4 + 0.2 * torch.rand((2, 3, 7, 10), generator=chance, dtype=torch.float64)


def values(**told):
    order = {"brightness": 1.0, "contrast": 1.0, "saturation": 1.0, "hue": 0.0}
    row = [told.get(name, still) for name, still in order.items()]
    return torch.tensor([row + list(told.get("offset", (0.0,) * 4))] * 2, dtype=torch.float64)


@pytest.mark.parametrize("factor", [0.7, 1.0, 1.4])
@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation"])
def test_factors_are_torchvisions_where_it_does_not_clip(name, factor, images):
    shown = ColorJitter().apply(images, values(**{name: factor}), None, (7, 10))
    expected = torch.stack([getattr(tv, f"adjust_{name}")(image, factor) for image in images])
    assert torch.allclose(shown, expected, atol=1e-4)


@pytest.mark.parametrize("degrees", [-50.0, 20.0, 120.0])
def test_hue_turns_colours_about_the_grey_axis(degrees, images):
    x, y, z = (1 / math.sqrt(3),) * 3
    axis = torch.tensor([[0, -z, y], [z, 0, -x], [-y, x, 0]], dtype=torch.float64)
    turn = torch.linalg.matrix_exp(axis * math.radians(degrees))
    shown = ColorJitter().apply(images, values(hue=math.radians(degrees)), None, (7, 10))
    assert torch.allclose(shown, torch.einsum("ij,bjhw->bihw", turn, images))


def test_a_third_of_a_turn_of_hue_moves_red_to_green():
    red = torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64).view(1, 3, 1, 1).repeat(2, 1, 2, 2)
    shown = ColorJitter().apply(red, values(hue=2 * math.pi / 3), None, (2, 2))
    assert torch.allclose(shown[0, :, 0, 0], torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64), atol=1e-12)


def test_offset_is_added_to_each_channel(images):
    shown = ColorJitter().apply(images, values(offset=(0.1, -0.2, 0.3, 9.0)), None, (7, 10))
    assert torch.allclose(shown - images, torch.tensor([0.1, -0.2, 0.3]).double().view(1, 3, 1, 1))


@pytest.mark.parametrize(
    ("option", "column", "center", "amount"),
    [("brightness", 0, 1, 0.4), ("contrast", 1, 1, 0.4), ("saturation", 2, 1, 0.4), ("hue", 3, 0, 90),
     ("offset", 5, 0, 0.4)],
)  # fmt: skip
def test_each_amount_is_even_about_none_and_may_fall_over_the_run(option, column, center, amount, chance):
    uniform = torch.rand((1, 4000, 8), generator=chance)
    one = ColorJitter(**{**STILL, option: [amount, 0]})
    drawn = one.prepare(uniform, torch.linspace(0, 1, 4000), (4, 4), (4, 4))[0, :, column] - center
    most = math.radians(amount) if option == "hue" else amount
    early, late = drawn[:200], drawn[-200:]
    assert 0.9 * most < early.abs().max() <= most
    assert late.abs().max() < 0.06 * most
    assert abs(drawn.mean()) < 0.05 * most


def test_ghiasis_color_shift(images, chance):
    uniform = torch.rand((2, 3000, 8), generator=chance)
    drawn = ColorShift().prepare(uniform, torch.linspace(0, 1, 3000), (7, 10), (7, 10))
    means, logs = drawn[..., :4], drawn[..., 4:].log()
    for numbers in (means, logs):
        assert numbers.abs().max() <= 1 + 1e-6
        assert abs(float(numbers.mean())) < 0.02
        assert float(numbers.var()) == pytest.approx(1 / 3, rel=0.05)
    shown = ColorShift().apply(images, drawn[:, 0], None, (7, 10))
    for lane in range(2):
        for channel in range(3):
            mean, deviation = drawn[lane, 0, channel], drawn[lane, 0, 4 + channel]
            assert torch.allclose(shown[lane, channel], (images[lane, channel] - mean) / deviation)


@pytest.mark.parametrize("one", [ColorJitter(), ColorShift()])
def test_more_channels_than_draws_are_refused(one):
    with pytest.raises(fv.CanvasError, match="1 to 4 channels, these have 5"):
        one.apply(torch.zeros(1, 5, 2, 2), torch.ones(1, 8), None, (2, 2))
