"""Naturalness by hand: BatchNorm statistics, spectra of a known slope, light and colour."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from featvis.errors import UserError
from featvis.trust.naturalness import (
    PHOTOGRAPHS,
    Appearance,
    clipped,
    contrast,
    is_unlike,
    measure_appearance,
    naturalness,
    outside,
    range_of,
    saturation,
)
from featvis.trust.references import noise_images
from featvis.trust.spectra import luminance, spectrum
from tests.networks import handle, seeded, small


class Norms(nn.Module):
    """Two BatchNorms whose inputs are known: the images, and half of them."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.BatchNorm2d(3), nn.BatchNorm2d(3, eps=0.01)
        for norm in (self.first, self.second):
            norm.running_mean.normal_(0, 0.3)
            norm.running_var.uniform_(0.02, 2)

    def forward(self, images):
        return self.first(images).mean((2, 3)) + self.second(images / 2).mean((2, 3))


def distances(batch, module):
    """D_μ and D_σ of a batch as the definition says, in numpy."""
    shifts, spreads = [], []
    for norm, values in ((module.first, batch), (module.second, batch / 2)):
        rows = values.numpy().astype(np.float64).transpose(1, 0, 2, 3).reshape(3, -1)
        trained = norm.running_var.numpy().astype(np.float64)
        shifts.append(((rows.mean(1) - norm.running_mean.numpy()) ** 2 / (trained + norm.eps)).mean())
        spreads.append(np.abs(np.log((rows.var(1) + norm.eps) / (trained + norm.eps))).mean())
    return np.mean(shifts), np.mean(spreads)


def test_batchnorm_distances_are_those_of_the_definition(chance):
    judge = handle(seeded(Norms), (9, 14), mean=(0,) * 3, std=(1,) * 3)
    images = torch.rand((7, 3, 9, 14), generator=chance)
    found = naturalness(list(images), judge, batch=3)
    # The last batch is filled up with pictures before it.
    expected = [distances(images[start : start + 3], judge.module) for start in (0, 3, 4)]
    assert (found.shift, found.spread) == pytest.approx(np.mean(expected, axis=0), rel=1e-4)
    assert found.batch == 3
    singles = [distances(one[None], judge.module)[1] for one in images]
    assert found.alone == pytest.approx(singles, rel=1e-4)


def test_fewer_pictures_than_a_batch_make_one_smaller_batch(chance):
    judge = handle(seeded(Norms), (9, 14), mean=(0.4,) * 3, std=(0.2,) * 3)
    images = torch.rand((2, 3, 9, 14), generator=chance)
    found = naturalness(list(images), judge, batch=8)
    shown = (images - 0.4) / 0.2
    assert (found.shift, found.spread) == pytest.approx(distances(shown, judge.module), rel=1e-4)
    assert found.batch == 2
    assert found.to_json()["pictures"] == 2
    assert found.to_json()["alone"] == pytest.approx(np.mean(found.alone))


def test_images_that_have_the_trained_statistics_have_no_distance(chance):
    module = seeded(Norms)
    images = torch.rand((4, 3, 9, 14), generator=chance)
    for norm, values in ((module.first, images), (module.second, images / 2)):
        norm.running_mean.copy_(values.mean((0, 2, 3)))
        norm.running_var.copy_(values.var((0, 2, 3), correction=0))
    found = naturalness(list(images), handle(module, (9, 14), mean=(0,) * 3, std=(1,) * 3), batch=4)
    assert (found.shift, found.spread) == pytest.approx((0, 0), abs=1e-5)


def test_the_judge_is_given_back_as_it_was(chance):
    judge = small()
    judge.module.train()
    before = {name: value.clone() for name, value in judge.module.state_dict().items()}
    naturalness([torch.rand((3, 17, 24), generator=chance)], judge)
    assert judge.module.training
    assert all(torch.equal(value, before[name]) for name, value in judge.module.state_dict().items())
    assert not any(one._forward_pre_hooks for one in judge.module.modules())


def test_a_judge_without_batchnorm_tells_nothing_and_mistakes_are_told():
    judge = handle(nn.Sequential(nn.Conv2d(3, 4, 3)))
    assert naturalness([torch.zeros(3, 17, 24)], judge) is None
    with pytest.raises(UserError, match="batch is at least 1, got 0"):
        naturalness([torch.zeros(3, 17, 24)], judge, batch=0)
    with pytest.raises(UserError, match="no picture"):
        naturalness([], judge)
    with pytest.raises(UserError, match="shape \\(C, H, W\\)"):
        naturalness([torch.zeros(1, 3, 17, 24)], judge)


def falling(exponent, size, seed):
    """Noise whose amplitude falls as f^-exponent, in [0, 1]."""
    white = np.random.default_rng(seed).standard_normal(size)
    rows, columns = np.fft.fftfreq(size[0])[:, None], np.fft.fftfreq(size[1])[None]
    radius = np.hypot(rows, columns)
    radius[0, 0] = np.inf
    plane = np.fft.ifft2(np.fft.fft2(white) * radius**-exponent).real
    plane = 0.5 + 0.1 * plane / plane.std()
    return torch.from_numpy(np.stack([plane] * 3))


@pytest.mark.parametrize("size", [(128, 128), (97, 150), (160, 111)])
@pytest.mark.parametrize("exponent", [0.0, 0.7, 1.35])
def test_the_slope_of_noise_of_a_known_spectrum(exponent, size):
    slopes = [spectrum(falling(exponent, size, seed))[0] for seed in range(4)]
    assert np.mean(slopes) == pytest.approx(-exponent, abs=0.12)


def test_white_noise_has_the_share_of_the_plane_that_lies_outside_a_quarter_cycle(chance):
    shares = [spectrum(torch.rand((3, 75, 102), generator=chance))[1] for _ in range(4)]
    assert np.mean(shares) == pytest.approx(1 - math.pi / 16, abs=0.01)


@pytest.mark.parametrize(("cycles", "expected"), [(0.1, 0), (0.24, 0), (0.27, 1), (0.4, 1)])
def test_a_wave_lies_on_its_own_side_of_a_quarter_cycle(cycles, expected):
    wave = 0.5 + 0.4 * torch.sin(2 * math.pi * cycles * torch.arange(200.0))
    assert spectrum(wave.expand(3, 90, 200))[1] == pytest.approx(expected, abs=0.01)
    assert spectrum(wave[:, None].expand(1, 200, 77))[1] == pytest.approx(expected, abs=0.01)


def test_a_diagonal_wave_counts_by_its_radius():
    rows, columns = torch.meshgrid(torch.arange(120.0), torch.arange(120.0), indexing="ij")
    wave = 0.5 + 0.4 * torch.sin(2 * math.pi * 0.2 * (rows + columns))  # .283 cycles a pixel
    assert spectrum(wave.expand(3, 120, 120))[1] == pytest.approx(1, abs=0.01)


def test_an_image_of_one_value_has_no_spectrum_and_looks_unlike_photographs():
    seen = measure_appearance(torch.full((3, 20, 30), 0.3))
    assert math.isnan(seen.slope)
    assert seen.to_json()["slope"] is None
    assert "slope" in outside(seen)
    assert is_unlike(seen)


def test_light_and_color_by_hand():
    image = torch.zeros(3, 2, 2)
    image[:, 0, 0] = 1.0
    image[0, 1, 1] = 0.5
    assert luminance(image).flatten().tolist() == pytest.approx([1, 0, 0, 0.1063])
    assert contrast(image) == pytest.approx(np.std([1, 0, 0, 0.1063]), abs=1e-4)
    assert saturation(image) == pytest.approx(0.5 / 4)
    assert clipped(image) == pytest.approx(11 / 12)
    levels = torch.tensor([0, 2, 3, 252, 253, 255]) / 255
    assert clipped(levels.view(1, 2, 3)) == pytest.approx(4 / 6)


def test_ranges_are_the_middle_95_percent_and_what_is_outside_is_named():
    looks = [Appearance(-n / 100, n / 1000, n / 1000, 0.2, 0.0) for n in range(101)]
    ranges = range_of(looks)
    assert ranges["slope"] == pytest.approx((-0.975, -0.025))
    assert ranges["high_share"] == pytest.approx((0.0025, 0.0975))
    assert outside(Appearance(-0.5, 0.05, 0.05, 0.2, 0.0), ranges) == []
    few = range_of([Appearance(-2.5, 0.05, 0.2, 0.2, 0.0)])
    assert few == {**PHOTOGRAPHS, "slope": (-2.5, -0.95)}
    assert outside(Appearance(-0.5, 0.2, 0.001, 0.2, 0.1), ranges) == ["high_share", "contrast", "clipped"]


def test_photographs_of_scenes_look_like_photographs_and_noise_does_not():
    data = pytest.importorskip("skimage.data")

    def image_of(name):
        return torch.from_numpy(getattr(data, name)()[:224, :224].copy()).permute(2, 0, 1) / 255

    for name in ("astronaut", "chelsea", "coffee", "rocket"):
        assert not is_unlike(measure_appearance(image_of(name))), name
    for image in noise_images(4, 3, (60, 84))[::2]:
        assert is_unlike(measure_appearance(image))
    # What a judge's BatchNorm layers say counts, whatever the spectrum.
    assert is_unlike(measure_appearance(image_of("astronaut")), alone=1.6)


def test_noise_with_photographs_spectrum_is_not_told_from_them_by_its_spectrum():
    for image in noise_images(6, 3, (96, 130))[1::2]:
        low, high = PHOTOGRAPHS["slope"]
        assert low < measure_appearance(image).slope < high
        assert 0.15 < contrast(image) < 0.25
