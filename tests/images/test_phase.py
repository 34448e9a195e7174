"""Fixed magnitudes, learned phases: MACO's formula, and the faults that its implementations have."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import featvis as fv
from featvis.images.color import color_matrix
from featvis.images.spectrum import photograph_magnitudes
from tests.networks import small

SIZES = [(17, 24), (24, 17), (33, 20), (64, 64), (7, 1), (1, 8)]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def batch(parameters):
    return {name: value[None] for name, value in parameters.items()}


def template(f):
    """Fixed magnitudes and free phases, number by number."""
    if f == 0 or f > 0.25:
        return 0.0
    return f**-1.3 if f <= 0.06 else 0.06**-1.3 * (f / 0.06) ** -1.8


def corner_energy(image):
    """The share of the energy about the mean in corners that make up 6.25 % of the area."""
    height, width = image.shape[-2:]
    energy = (image - image.mean((-2, -1), keepdim=True)).square().sum(0)
    tall, wide = height // 8, width // 8
    rows = [*range(tall), *range(height - tall, height)]
    columns = [*range(wide), *range(width - wide, width)]
    return float(energy[rows][:, columns].sum() / energy.sum())


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_the_formula_is_the_fitted_power_law(size):
    height, width = size
    found = photograph_magnitudes(3, height, width).numpy()
    for row, down in enumerate(np.fft.fftfreq(height)):
        for column in range(width // 2 + 1):
            expected = template(float(np.hypot(down, column / width)))
            np.testing.assert_allclose(found[:, row, column], np.array([1, 1.035, 0.816]) * expected)
    assert torch.equal(photograph_magnitudes(4, *size)[3], photograph_magnitudes(1, *size)[0])


@pytest.mark.parametrize("channels", [1, 3, 5])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_t27_the_pictures_spectrum_has_the_fixed_magnitudes_in_every_column(size, channels):
    space = fv.PhaseImage(size=size, channels=channels)
    drawn = batch(space.draw(generator()))
    drawn["phases"] *= 40  # as far as a run moves them
    matrix = color_matrix(channels, True, torch.device("cpu"))
    mixed = torch.logit(space.decode(drawn)[0].double())
    raw = mixed if matrix is None else torch.einsum("ij,jhw->ihw", torch.linalg.inv(matrix.double()), mixed)
    assert float(raw.std(correction=0)) == pytest.approx(1, abs=1e-4), "standardized, as in the paper"
    found = np.abs(np.fft.fft2(raw.numpy(), norm="ortho"))
    rows, columns = np.meshgrid(np.fft.fftfreq(size[0]), np.fft.fftfreq(size[1]), indexing="ij")
    expected = np.vectorize(template)(np.hypot(rows, columns))[None].repeat(channels, 0)
    if channels == 3:
        expected *= np.array([1, 1.035, 0.816])[:, None, None]
    alone = (rows % 0.5 == 0) & (columns % 0.5 == 0)  # its own mirror image
    expected[:, alone] = 0
    expected *= np.sqrt(expected.size / np.square(expected).sum())
    np.testing.assert_allclose(found, expected, atol=1e-4 * expected.max(), rtol=1e-4)
    np.testing.assert_allclose(space.magnitudes(), expected[:, :, : size[1] // 2 + 1], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("size", [(6, 9), (7, 8)], ids=str)
def test_the_raw_image_is_the_sum_of_its_waves(size, chance):
    height, width = size
    space = fv.PhaseImage(size=size, channels=1)
    phases = torch.rand(space.draw(generator())["phases"].shape, generator=chance) * 6
    waves = [
        (v, u)
        for v in range(height)
        for u in range(width // 2 + 1)
        if template(float(np.hypot(np.fft.fftfreq(height)[v], u / width))) > 0
        and (0 < v < height / 2 or (u > 0 and 2 * u != width))
    ]
    assert phases.shape == (1, len(waves))
    rows, columns = np.meshgrid(np.arange(height), np.arange(width), indexing="ij")
    raw = np.zeros(size)
    for phase, (v, u) in zip(phases[0].numpy(), waves, strict=True):
        strength = template(float(np.hypot(np.fft.fftfreq(height)[v], u / width)))
        raw += strength * np.cos(2 * np.pi * (rows * v / height + columns * u / width) + phase)
    found = space.decode_raw({"phases": phases[None]})[0, 0]
    np.testing.assert_allclose(found, raw / raw.std(), atol=1e-5)


def test_the_start_is_uniform_and_no_wider_for_a_later_attempt():
    drawn = fv.PhaseImage(size=64).draw(generator())["phases"]
    assert float(drawn.abs().max()) <= np.pi
    assert abs(float(drawn.mean())) < 0.1
    assert float(drawn.std()) == pytest.approx(np.pi / 3**0.5, rel=0.03)
    assert abs(float(torch.exp(1j * drawn).mean().abs())) < 0.05, "no coherent share: no blob in the corners"
    assert torch.equal(drawn, fv.PhaseImage(size=64).draw(generator(), 10.0)["phases"])


def test_t28_no_blob_in_the_corners_at_the_start_or_the_end_of_a_run():
    space = fv.PhaseImage(size=(96, 120))
    drawn = [space.draw(generator(seed)) for seed in range(32)]
    shares = [corner_energy(space.decode_raw(batch(one))[0]) for one in drawn]
    assert np.mean(shares) == pytest.approx(0.0625, abs=0.015), "as much as anywhere else"
    # What other implementations do: normal phases of standard deviation 1.
    blob = torch.randn(space.draw(generator())["phases"].shape, generator=generator())
    assert corner_energy(space.decode_raw({"phases": blob[None]})[0]) > 0.25
    kept = []
    options = {"recipe": "maco", "size": (96, 120), "steps": 40, "lanes": 8, "space": space}
    watch = {"watch": lambda step: kept.append(step.images) if step.number in (0, 39) else None}
    fv.render(small(size=(96, 120)), "norm:0:8", **options, **watch)
    # A single picture has more or less there by chance, as anywhere.
    start, end = (np.mean([corner_energy(image) for image in images]) for images in kept)
    assert start <= 0.10
    assert end <= 0.10
    assert float((kept[0] - kept[1]).abs().mean()) > 0.02, "it was a run"


def test_it_says_that_it_cannot_start_from_an_image_or_grow():
    with pytest.raises(fv.UserError, match="cannot start from an image"):
        fv.render(small(), "norm:1", space="phase", start=torch.rand(3, 17, 24), steps=1)
    with pytest.raises(fv.CanvasError, match="leave out stages"):
        fv.render(small(), "norm:1", space="phase", size=(17, 24), stages=[[(8, 12), 0.5]], steps=4)
    with pytest.raises(fv.CanvasError, match="at least 4 pixels, got 3x2"):
        fv.PhaseImage(size=(3, 2))
    with pytest.raises(fv.CanvasError, match="at least 4 pixels"):
        fv.PhaseImage(size=9).resized((2, 3))


def test_the_recipe_has_the_papers_start_optimizer_steps_and_noise():
    recipe = fv.Recipe.load("maco")
    assert (recipe.space["name"], recipe.optimizer, recipe.steps) == ("phase", "nadam", 256)
    noise = recipe.transforms[1]
    assert noise["sd"] == pytest.approx(0.2 / 12**0.5, abs=0.001), "as wide as uniform on [-0.1, 0.1]"


@pytest.mark.slow
def test_the_recipe_finds_what_a_class_looks_for(lite0):
    options = {"recipe": "maco", "size": 128, "steps": 160, "lanes": 2}
    for picture in fv.render(lite0, ["classifier:340", "classifier:292"], **options):
        assert picture.score > picture.start_score + 5
