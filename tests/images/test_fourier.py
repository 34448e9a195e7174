"""The Fourier image against a formula written out, and its gain against the published one."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import featvis as fv
from featvis.images.fourier import _gain
from featvis.images.spectrum import falling_amplitudes, frequencies
from tests.networks import small


def amplitude(k, longer, exponent):
    return max(k, 1 / longer) ** -exponent


def slow_decode(spectrum, height, width, exponent, color_exponent=None):
    """Sum the waves one by one: Lucid's ¼ · irfft2(s · z), orthonormal; a colour's by its own exponent."""
    longer = max(height, width)
    rows, columns = np.meshgrid(np.arange(height), np.arange(width), indexing="ij")
    raw = np.zeros((height, width))
    for v in range(height):
        for u in range(width // 2 + 1):
            down = (v if v <= height // 2 else v - height) / height
            across = u / width
            z = complex(*spectrum[v, u]) * amplitude(np.hypot(down, across), longer, exponent) / 4
            z *= (224 / longer) ** (exponent - 1)
            if color_exponent is not None:
                z *= max(1.0, np.hypot(down, across) * longer / 2) ** (exponent - color_exponent)
            # Every wave but those that are their own mirror images stands for its conjugate too.
            twice = 1 if u == 0 or (width % 2 == 0 and u == width // 2) else 2
            raw += twice * (z * np.exp(2j * np.pi * (rows * v / height + columns * u / width))).real
    return raw / np.sqrt(height * width)


@pytest.mark.parametrize("exponent", [0.0, 1.0, 1.3])
@pytest.mark.parametrize("size", [(5, 8), (6, 7), (9, 4), (1, 7), (6, 1)], ids=str)
def test_decode_is_the_sum_of_its_waves(size, exponent, chance):
    space = fv.FourierImage(size=size, channels=1, exponent=exponent)
    spectrum = torch.randn((1, 1, size[0], size[1] // 2 + 1, 2), generator=chance)
    raw = slow_decode(spectrum[0, 0].double().numpy(), *size, exponent)
    found = torch.logit(space.decode({"spectrum": spectrum / 8})[0, 0].double())
    np.testing.assert_allclose(found.numpy() * 8, raw, atol=2e-4 * np.abs(raw).max())


@pytest.mark.parametrize("color", [0.8, 1.9])
@pytest.mark.parametrize("size", [(5, 8), (9, 4)], ids=str)
def test_colours_fall_by_their_own_exponent(size, color, chance):
    space = fv.FourierImage(size=size, exponent=1.3, color_exponent=color)
    spectrum = torch.randn((1, 3, size[0], size[1] // 2 + 1, 2), generator=chance)
    found = space.decode_raw({"spectrum": spectrum})[0].double().numpy()
    waves = spectrum[0].double().numpy()
    for channel, own in enumerate([None, color, color]):
        slow = slow_decode(waves[channel], *size, 1.3, own)
        np.testing.assert_allclose(found[channel], slow, atol=2e-5 * np.abs(slow).max())


def test_colours_of_the_same_exponent_are_the_plain_space():
    spectrum = torch.randn((1, 3, 17, 13, 2), generator=torch.Generator().manual_seed(0))
    plain, same = fv.FourierImage(size=(17, 24)), fv.FourierImage(size=(17, 24), color_exponent=1.3)
    torch.testing.assert_close(*(space.decode({"spectrum": spectrum}) for space in (plain, same)))


def test_colours_that_fall_by_themselves_are_fitted_carried_over_and_differentiated(chance):
    space = fv.FourierImage(size=(12, 17), color_exponent=1.8)
    larger = fv.FourierImage(size=(24, 34), color_exponent=1.8)
    photo = torch.rand((3, 12, 17), generator=chance)
    spectrum = space.fit(photo)["spectrum"][None]
    torch.testing.assert_close(space.decode({"spectrum": spectrum})[0], photo, atol=2e-3, rtol=0)
    grown = larger.decode_raw(space.grow({"spectrum": spectrum}, larger))
    torch.testing.assert_close(
        grown[:, :, ::2, ::2], space.decode_raw({"spectrum": spectrum}), atol=1e-3, rtol=1e-3
    )
    exact = torch.randn((1, 3, 12, 9, 2), generator=chance, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda values: space.decode_raw({"spectrum": values}), exact)


@pytest.mark.parametrize("options", [{"channels": 1}, {"decorrelate": False}, {"channels": 4}])
def test_channels_that_are_no_colours_fall_alike(options, chance):
    spectrum = torch.randn((1, options.get("channels", 3), 9, 4, 2), generator=chance)
    plain, same = (
        fv.FourierImage(size=(9, 6), color_exponent=exponent, **options) for exponent in (None, 1.9)
    )
    assert torch.equal(plain.decode({"spectrum": spectrum}), same.decode({"spectrum": spectrum}))


@pytest.mark.parametrize("size", [(224, 224), (17, 24), (33, 20), (1, 9)], ids=str)
def test_the_gain_at_exponent_1_is_the_published_one(size):
    height, width = size
    rows = np.fft.fftfreq(height)[:, None]
    columns = np.fft.rfftfreq(width)[None]
    lucid = 0.25 / np.maximum(np.sqrt(rows**2 + columns**2), 1 / max(height, width))
    gain = _gain(height, width, 1.0, torch.device("cpu"), torch.float64)
    np.testing.assert_allclose(gain[..., 0].numpy(), lucid, rtol=1e-12)


def test_the_gain_at_the_reference_canvas_is_the_published_power_law():
    gain = _gain(224, 224, 1.3, torch.device("cpu"), torch.float64)[..., 0]
    np.testing.assert_allclose(gain.numpy(), 0.25 * falling_amplitudes(224, 224, 1.3).numpy(), rtol=1e-12)


@pytest.mark.parametrize("exponent", [0.7, 1.3, 2.0])
def test_a_wave_of_so_many_cycles_per_image_moves_alike_at_every_canvas(exponent):
    # One Adam step moves a coefficient by the learning rate; in pixels its wave then has amplitude
    # gain / side (orthonormal), which should not depend on the canvas.
    heights = []
    for side in (56, 112, 224, 448):
        gain = _gain(side, side, exponent, torch.device("cpu"), torch.float64)[..., 0]
        heights.append([float(gain[0, cycles]) / side for cycles in (1, 3, 7)])
    np.testing.assert_allclose(heights, np.broadcast_to(heights[0], (4, 3)), rtol=1e-9)


@pytest.mark.parametrize("size", [(6, 9), (5, 4), (1, 6)], ids=str)
def test_frequencies_are_in_cycles_per_pixel(size):
    found = frequencies(*size)
    for v in range(size[0]):
        for u in range(size[1] // 2 + 1):
            down = min(v, size[0] - v) / size[0]
            assert float(found[v, u]) == pytest.approx(np.hypot(down, u / size[1]))


def test_the_starts_spectrum_has_the_documented_deviation():
    drawn = fv.FourierImage(size=(64, 90), deviation=0.03).draw(torch.Generator().manual_seed(0))["spectrum"]
    assert drawn.shape == (3, 64, 46, 2)
    assert float(drawn.std()) == pytest.approx(0.03, rel=0.02)
    assert abs(float(drawn.mean())) < 0.001


def test_a_larger_exponent_gives_smoother_pictures():
    model = small()
    rough = []
    for exponent in (0.5, 1.0, 2.0):
        space = fv.FourierImage(exponent=exponent)
        (picture,) = fv.render(model, "conv1:2", size=(17, 24), steps=30, space=space, lanes=1, transforms=[])
        image = picture.image - picture.image.mean()
        rough.append(float(image.diff(dim=2).norm() / image.norm()))
    assert rough[0] > rough[1] > rough[2]


def test_looking_at_an_image_without_gradients_does_not_spoil_a_later_run():
    # The gains are kept between calls; a size that no other test has, so that this call makes them.
    space = fv.FourierImage(size=(19, 26))
    parameters = {"spectrum": space.draw(torch.Generator().manual_seed(0))["spectrum"][None]}
    with torch.inference_mode():
        space.decode(parameters)
    (picture,) = fv.render(small(), "norm:1", size=(19, 26), steps=2, lanes=1)
    assert picture.levels.shape == (3, 19, 26)
