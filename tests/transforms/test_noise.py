"""The noise: mean, strength, whiteness."""

from __future__ import annotations

import math

import pytest
import torch

import featvis as fv
from featvis import draws
from featvis.transforms import noise as noise_module
from featvis.transforms.base import between
from featvis.transforms.chain import Chain

SIZE = (33, 48)


def noises(sd, steps=12, seeds=(0, 1), channels=3, size=SIZE):
    """The noise of each step and picture: ``(steps, lanes, C, H, W)``."""
    streams = [lambda purpose, seed=seed: draws.stream(seed, "layer:0", 0, purpose) for seed in seeds]
    chain = Chain(
        [fv.Noise(sd=sd)],
        streams,
        steps=steps,
        channels=channels,
        canvas=size,
        shown_size=size,
        device=torch.device("cpu"),
    )
    images = torch.full((len(seeds), channels, *size), 0.5)
    return torch.stack([chain(images, step) - images for step in range(steps)])


def corr(one, other):
    return float(torch.corrcoef(torch.stack([one.flatten(), other.flatten()]))[0, 1])


def test_t24_its_mean_is_zero():
    found = noises(0.2, steps=60, seeds=range(8))
    per_step = found.flatten(1).mean(1)
    expected = 0.2 / math.sqrt(found[0].numel())
    assert float(per_step.abs().max()) < 5 * expected
    # The sign is drawn, so that the mean over the run vanishes too, picture by picture.
    assert float(found.mean((0, 2, 3, 4)).abs().max()) < 5 * 0.2 / math.sqrt(found[0, 0].numel())
    assert abs(float(found.mean((0, 1)).mean())) < 1e-3


@pytest.mark.parametrize("sd", [(0.3, 0.02), (0.0, 0.1), (0.15, 0.15)])
def test_its_deviation_follows_the_schedule(sd):
    found = noises(sd)
    for step, noise in enumerate(found):
        scheduled = sd[0] + (sd[1] - sd[0]) * step / 11
        assert float(noise.std()) == pytest.approx(scheduled, rel=0.03, abs=1e-7)


def test_a_number_is_a_constant_schedule():
    assert fv.Noise(sd=0.2).sd == (0.2, 0.2)
    assert between((0.2, 0.2), torch.linspace(0, 1, 3)).tolist() == pytest.approx([0.2] * 3)


def test_its_values_are_normal():
    found = noises(1.0, steps=2)[0].flatten()
    for level, share in ((1, 0.3173), (2, 0.0455)):
        assert float((found.abs() > level).float().mean()) == pytest.approx(share, rel=0.1)


def test_it_is_white_across_pixels_and_channels():
    noise = noises(0.2, steps=3)[1, 0]
    limit = 4.5 / math.sqrt(noise[0].numel())
    for down, right in [(0, 1), (1, 0), (1, 1), (2, 3), (5, 0), (0, 7)]:
        assert abs(corr(noise[0], noise[0].roll((down, right), (0, 1)))) < limit
    assert abs(corr(noise[0], noise[1])) < limit
    power = torch.fft.rfft2(noise, norm="ortho").abs().square().mean(0)
    low, high = power[:8, :8].mean(), power[12:20, 16:].mean()
    assert 0.6 < float(low / high) < 1.6


def test_pictures_and_steps_have_noise_of_their_own():
    found = noises(0.2, steps=6, seeds=(0, 1, 2))
    limit = 4.5 / math.sqrt(found[0, 0].numel())
    for step in range(6):
        assert abs(corr(found[step, 0], found[step, 1])) < limit, "two pictures"
        for later in range(step):
            assert abs(corr(found[step, 0], found[later, 0])) < limit, "two steps"


def test_it_rolls_over_the_whole_field_on_a_size_that_is_not_square():
    values = fv.Noise().prepare(
        torch.rand((1, 5000, 3), generator=torch.Generator().manual_seed(0)),
        torch.zeros(5000),
        (9, 14),
        (9, 14),
    )[0]
    assert set(values[:, 0].long().tolist()) == set(range(9)), "rows"
    assert set(values[:, 1].long().tolist()) == set(range(14)), "columns"
    assert float((values[:, 2] > 0).float().mean()) == pytest.approx(0.5, abs=0.03)


def test_a_negative_deviation_is_refused():
    with pytest.raises(fv.RecipeError, match="greater than or equal to 0"):
        fv.Noise(sd=-0.1)


@pytest.mark.parametrize("size", [(17, 24), (1, 5), (8, 8)])
def test_the_cpus_way_to_roll_is_the_gpus(size):
    noise = fv.Noise(sd=(0.3, 0.1))
    drawn = torch.rand((3, 6, 3), generator=torch.Generator().manual_seed(4))
    values = noise.prepare(drawn, torch.linspace(0, 1, 6), size, size)
    field = torch.stack([noise.draw_field(torch.Generator().manual_seed(n), 3, size) for n in range(3)])
    for step in range(6):
        rolled = noise_module._rolled(field, values[:, step])
        images = torch.rand(field.shape, requires_grad=True)
        shown = noise.apply(images, values[:, step], noise.keep_fields(field), size)
        torch.testing.assert_close(shown, images + rolled)
        (gradient,) = torch.autograd.grad((shown * rolled).sum(), images)
        assert torch.equal(gradient, rolled)
        for lane, (row, column, strength) in enumerate(values[:, step].tolist()):
            slow = torch.roll(field[lane], (-int(row), -int(column)), (1, 2)) * strength
            torch.testing.assert_close(rolled[lane], slow)


def test_power_lets_the_noise_fall_early():
    progress = torch.linspace(0, 1, 5)
    drawn = torch.rand((1, 5, 3), generator=torch.Generator().manual_seed(4))
    strengths = fv.Noise(sd=(0.5, 0.1), power=2).prepare(drawn, progress, (4, 4), (4, 4))[0, :, 2].abs()
    torch.testing.assert_close(strengths, 0.1 + 0.4 * (1 - progress) ** 2)
