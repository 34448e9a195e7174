"""The pyramid against torch's own interpolation, and its filter against the pyramid."""

from __future__ import annotations

import time

import pytest
import torch
from torch.nn import functional

import featvis as fv
from featvis.images.color import color_matrix
from featvis.images.filtered_pyramid import _filter
from featvis.images.levels import level_sizes, resizing
from tests.networks import small

CPU = torch.device("cpu")
SIZES = [(17, 24), (24, 17), (32, 32), (1, 9)]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def written_out(levels, size):
    """The sum of enlarged levels, for a square."""
    return {
        "four": [size / 8, size / 4, size / 2, size],
        "octaves": [2**n for n in range(20) if 2**n <= size],
        "fourth": sorted({*range(1, size, 4), size}),
        "all": list(range(1, size + 1)),
    }[levels]


@pytest.mark.parametrize("levels", ["four", "octaves", "fourth", "all"])
def test_levels_are_the_published_ones(levels):
    for size in (32, 64):
        assert [(side, side) for side in written_out(levels, size)] == list(level_sizes(levels, (size, size)))
    assert level_sizes(levels, (17, 24))[-1] == (17, 24)
    assert level_sizes(levels, (1, 1)) == ((1, 1),)
    for height, width in level_sizes(levels, (48, 96)):
        assert abs(2 * height - width) <= 1, "each has the canvas' proportions"


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("levels", ["four", "octaves", "fourth", "all"])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_decode_is_the_sum_of_interpolated_levels(size, levels, interpolation):
    space = fv.PyramidImage(size=size, levels=levels, interpolation=interpolation)
    drawn = [space.draw(generator(seed), 20.0) for seed in range(2)]
    batch = {name: torch.stack([one[name] for one in drawn]) for name in drawn[0]}
    raw = sum(
        functional.interpolate(value.double(), size, mode=interpolation, align_corners=False)
        for value in batch.values()
    )
    mixed = torch.einsum("ij,bjhw->bihw", color_matrix(3, True, CPU).double(), raw)
    found = space.decode(batch)
    torch.testing.assert_close(found.double(), torch.sigmoid(mixed), atol=2e-6, rtol=0)


def explicit_step(space, gradient):
    """Where one SGD step of rate 1 moves the pyramid's raw image that gets this gradient."""
    levels = {name: value[None].requires_grad_() for name, value in space.draw(generator()).items()}
    space.decode_raw(levels).backward(gradient)
    with torch.no_grad():
        return space.decode_raw({name: value.grad for name, value in levels.items()})


def filtered_step(space, gradient):
    rows, columns = _filter(space.levels, space.interpolation, space.canvas, CPU)
    return torch.einsum("kij,bcjl,klm->bcim", rows, gradient, columns)


def pink(gradient):
    height, width = gradient.shape[-2:]
    cycles = torch.hypot(torch.fft.fftfreq(height)[:, None], torch.fft.rfftfreq(width)[None])
    spectrum = torch.fft.rfft2(gradient) / cycles.clamp(min=1 / max(height, width))
    return torch.fft.irfft2(spectrum, s=(height, width))


@pytest.mark.parametrize("size", [(224, 224), (60, 95), (1, 9)], ids=str)
@pytest.mark.parametrize("levels", ["fourth", "all", "octaves", "four"])
def test_the_filter_is_the_pyramid_to_two_percent_and_at_the_borders_too(levels, size):
    if size == (224, 224) and levels != "fourth":
        pytest.skip("the slow test has it")
    check_filter(levels, size)


@pytest.mark.slow
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_the_filter_is_the_whole_pyramid_at_224_pixels(interpolation):
    check_filter("all", (224, 224), interpolation)


def check_filter(levels, size, interpolation="bicubic"):
    options = {"size": size, "channels": 1, "levels": levels, "interpolation": interpolation}
    white = torch.randn((1, 1, *size), generator=generator(1))
    for gradient in (white, pink(white)):
        expected = explicit_step(fv.PyramidImage(**options), gradient)
        off = filtered_step(fv.FilteredPyramidImage(**options), gradient) - expected
        assert float(off.norm() / expected.norm()) < 0.01
        height, width = (max(1, side // 8) for side in size)
        border = torch.ones(size, dtype=torch.bool)
        border[height : size[0] - height, width : size[1] - width] = False
        assert float(off[0, 0][border].norm() / expected[0, 0][border].norm()) < 0.02


def test_a_run_of_sgd_gives_the_same_pictures():
    options = {"size": (17, 24), "levels": "all", "interpolation": "bicubic"}
    kept = {}
    model, climbed = small(), fv.channel("norm", 1)
    run = {"optimizer": "sgd", "learning_rate": 1.0, "steps": 12, "lanes": 2}
    spaces = fv.PyramidImage(**options), fv.FilteredPyramidImage(**options), fv.PixelImage(size=(17, 24))
    for space in spaces:
        steps = fv.ascend(model, climbed, space, transforms=[fv.Warp(shift=0.1)], **run)
        images = [torch.logit(step.images) for step in steps]
        kept[space.part_name] = images[0], images[-1]
    (start, end), (_, end_again) = kept["pyramid"], kept["filtered_pyramid"]
    rise = end - start
    assert float(rise.abs().max()) > 0.5, "it was a run"
    assert float((end_again - end).norm() / rise.norm()) < 0.02
    plain = kept["pixel"][1] - kept["pixel"][0]
    assert float((plain - rise).norm() / rise.norm()) > 0.5, "and no other space does"


def test_the_start_is_the_pyramids():
    options = {"size": (17, 24), "levels": "all", "interpolation": "bicubic"}
    pyramid, filtered = fv.PyramidImage(**options), fv.FilteredPyramidImage(**options)
    drawn = {name: value[None] for name, value in pyramid.draw(generator(), 3.0).items()}
    again = {name: value[None] for name, value in filtered.draw(generator(), 3.0).items()}
    assert torch.equal(pyramid.decode(drawn), filtered.decode(again))


def test_the_filters_gain_falls_as_measured():
    # |K(f)| falls as f^-1.02 from 2 to 8 cycles per image, as f^-1.22 from 8 to 32.
    length, slopes = 224, []
    ups = [resizing(length, side, "bicubic", CPU) for side in range(1, length + 1)]
    for first, last in ((2, 8), (8, 32)):
        gains = []
        for cycles in (first, last):
            wave = torch.cos(2 * torch.pi * cycles * (torch.arange(length) + 0.5) / length)
            across = [float((up.T @ wave).square().sum() / wave.square().sum()) for up in ups]
            flat = [float((up.T @ torch.ones(length)).square().sum() / length) for up in ups]
            gains.append(sum(a * b for a, b in zip(across, flat, strict=True)))
        slopes.append(torch.log(torch.tensor(gains[1] / gains[0])) / torch.log(torch.tensor(last / first)))
    assert float(slopes[0]) == pytest.approx(-1.02, abs=0.1)
    assert float(slopes[1]) == pytest.approx(-1.22, abs=0.1)


@pytest.mark.slow
def test_the_filter_is_ten_times_cheaper_at_224_pixels():
    options = {"size": 224, "levels": "all", "interpolation": "bicubic"}
    ratios = []
    spaces = fv.PyramidImage(**options), fv.FilteredPyramidImage(**options)
    batches = [
        {name: value[None].requires_grad_() for name, value in space.draw(generator()).items()}
        for space in spaces
    ]
    for turn in range(4):
        took = []
        for space, batch in zip(spaces, batches, strict=True):
            began = time.process_time()
            space.decode(batch).sum().backward()
            took.append(time.process_time() - began)
        if turn:  # the first makes the matrices
            ratios.append(took[0] / took[1])
    assert sorted(ratios)[1] >= 10, ratios
