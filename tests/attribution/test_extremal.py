from __future__ import annotations

import pytest
import torch

from featvis.attribution.attribute import attribute
from featvis.attribution.extremal import Pyramid, SmoothMask, extremal
from featvis.attribution.scoring import find_target, scored
from featvis.errors import FeatvisWarning
from tests.attribution.planted import SIZE, detector, hits, photograph, share_inside


def test_a_mask_of_the_patch_preserves_what_a_mask_of_the_rest_loses(chance):
    model, image = detector(), photograph(chance)[None]
    objective, _ = find_target(model, "fc:0", SIZE)
    with scored(model, objective, SIZE) as score:
        found = extremal(score, image, area=0.1, steps=40)
        blurred = Pyramid(image, 20 / 224 * SIZE[0])
        shown = float(score.values(blurred(found.mask)))
        rest = float(score.values(blurred(1 - found.mask)))
    assert hits(found.mask.numpy())
    assert share_inside(found.mask.numpy()) > 0.3
    assert found.mask.mean().item() == pytest.approx(0.1, abs=0.05)
    assert found.kept == pytest.approx(shown, rel=1e-3)
    assert found.kept > 0.7 * found.whole
    assert rest < 0.1 * found.whole
    assert found.blurred < 0.1 * found.whole
    assert not found.missed


@pytest.mark.parametrize("steps", [20, pytest.param(60, marks=pytest.mark.slow)])
@pytest.mark.parametrize("area", [0.1, 0.3])
def test_the_area_is_met_by_few_steps_too(chance, area, steps):
    model, image = detector(), photograph(chance)[None]
    objective, _ = find_target(model, "fc:0", SIZE)
    with scored(model, objective, SIZE) as score:
        found = extremal(score, image, area=area, steps=steps)
    assert found.mask.mean().item() == pytest.approx(area, abs=0.05)
    assert not found.missed
    assert found.kept > 0.7 * found.whole


def test_a_mask_that_misses_its_area_says_so(chance):
    model, photo = detector(), photograph(chance)
    with pytest.warns(FeatvisWarning, match=r"keeps \d+% of the canvas, not the 10% .* after 2 steps"):
        told = attribute(model, photo, "fc:0", "extremal", area=0.1, steps=2).to_json()
    assert told["area_missed"] is True
    assert told["area_wanted"] == 0.1
    assert told["area"] > 0.15
    told = attribute(model, photo, "fc:0", "extremal", area=0.1, steps=40).to_json()
    assert told["area_missed"] is False


def test_the_mask_is_the_smooth_maximum_of_kernels_about_cells():
    size, cell, sigma = (23, 30), 4, 12.0
    smooth = SmoothMask(size, cell, sigma, torch.device("cpu"))
    assert torch.allclose(smooth(smooth.cells), torch.ones(size), atol=0.02)
    cells = torch.zeros_like(smooth.cells)
    cells[2, 5] = 1.0
    mask = smooth(cells)
    assert mask.shape == size
    # One cell alone: its kernel, exp(-2 max(d/σ - ½, 0)²), a little less where the maximum is soft.
    rows, columns = torch.meshgrid(torch.arange(23) + 0.5, torch.arange(30) + 0.5, indexing="ij")
    distance = ((rows - 10) ** 2 + (columns - 22) ** 2).sqrt()
    kernel = torch.exp(-2 * (distance / sigma - 0.5).clamp(min=0) ** 2)
    near = distance < 0.9 * sigma
    assert (mask - kernel)[near].abs().max() < 0.05
    assert mask.max() <= 1


def test_the_pyramid_goes_from_the_blurred_to_the_image_itself(chance):
    image = torch.rand((1, 3, 20, 31), generator=chance)
    shown = Pyramid(image, 3.0)
    assert torch.allclose(shown(torch.ones(20, 31)), image, atol=1e-6)
    spreads = [shown(torch.full((20, 31), level)).std().item() for level in (0.0, 0.3, 0.6, 0.9, 1.0)]
    assert spreads == sorted(spreads)
    half = torch.zeros(20, 31)
    half[:, 15:] = 1
    assert torch.equal(shown(half)[..., 15:], shown(torch.ones(20, 31))[..., 15:])
