"""Lp, Linf, blur and boundary penalties, pixel by pixel."""

from __future__ import annotations

import pytest
import torch

import featvis as fv
from tests.networks import layouts, scores_of

SIZE = (17, 10)


def score(objective, images):
    return scores_of(layouts(), objective, images)


@pytest.mark.parametrize("p", [2, 3, 6])
def test_d2_lp_is_the_mean_of_powers(p, chance):
    images = torch.rand((2, 3, *SIZE), generator=chance)
    expected = [
        ((sum(abs(2 * float(x) - 1) ** p for x in image.flatten()) / 510 + 1e-6) ** (1 / p)) / 2
        for image in images
    ]
    assert score(fv.lp(p), images).tolist() == pytest.approx(expected, rel=1e-5)


def test_d2_linf_is_the_farthest_pixel(chance):
    images = 0.5 + 0.1 * torch.rand((2, 3, *SIZE), generator=chance)
    images[1, 2, 4, 5] = 0.05
    expected = [max(float(image.max()) - 0.5, 0.5 - float(image.min())) for image in images]
    assert score(fv.linf(), images).tolist() == pytest.approx(expected)
    assert expected[1] == pytest.approx(0.45)


@pytest.mark.parametrize("penalty", [fv.lp(6), fv.l2(), fv.linf(), fv.l1(), fv.blur(), fv.boundary(2)])
def test_every_slope_is_finite_at_mid_grey(penalty):
    images = torch.full((1, 3, *SIZE), 0.5, requires_grad=True)
    (slope,) = torch.autograd.grad(penalty({}, images).sum(), images)
    assert slope.isfinite().all()


def blurred(image, width):
    """A mean of the neighbours where the middle counts twice, the edge repeated; pixel by pixel."""
    out = torch.zeros_like(image)
    channels, height, columns = image.shape
    reach = width // 2
    for channel in range(channels):
        for row in range(height):
            for column in range(columns):
                total = weights = 0.0
                for down in range(-reach, reach + 1):
                    for right in range(-reach, reach + 1):
                        weight = 1.0 if (down, right) == (0, 0) else 0.5
                        y = min(max(row + down, 0), height - 1)
                        x = min(max(column + right, 0), columns - 1)
                        total += weight * float(image[channel, y, x])
                        weights += weight
                out[channel, row, column] = total / weights
    return out


def test_d4_blur_is_half_the_distance_from_the_blurred(chance):
    images = torch.rand((2, 3, 7, 9), generator=chance)
    expected = [float((image - blurred(image, 3)).square().mean()) / 2 for image in images]
    assert fv.blur()({}, images).tolist() == pytest.approx(expected, rel=1e-4)


def test_d4_its_slope_is_a_step_of_blur(chance):
    images = torch.rand((1, 3, 7, 9), generator=chance).requires_grad_()
    (slope,) = torch.autograd.grad(fv.blur()({}, images).sum(), images)
    moved = images.detach() - images.numel() * slope
    torch.testing.assert_close(moved[0], blurred(images[0].detach(), 3), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("width", "rows", "columns"), [(2, 2, 2), (20, 5, 3)])
def test_d5_the_boundary_is_the_border_alone(width, rows, columns, chance):
    images = torch.rand((2, 3, 11, 8), generator=chance)
    inside = torch.zeros(11, 8, dtype=torch.bool)
    inside[rows : 11 - rows, columns : 8 - columns] = True
    expected = []
    for image in images:
        rough = (image - blurred(image, 5)).square() + 0.8 * (image - 0.5).square()
        expected.append(float(rough[:, ~inside].mean()))
    assert fv.boundary(width)({}, images).tolist() == pytest.approx(expected, rel=1e-4)
    changed = images.clone()
    changed[:, :, inside] = changed[:, :, inside]  # blurred borders see two pixels of the inside
    changed[:, :, rows + 2 : 11 - rows - 2, columns + 2 : 8 - columns - 2] = 0
    torch.testing.assert_close(fv.boundary(width)({}, changed), fv.boundary(width)({}, images))


@pytest.mark.parametrize("size", [(1, 1), (2, 1), (3, 3)])
def test_penalties_do_for_the_smallest_canvases(size):
    images = torch.rand((2, 3, *size), generator=torch.Generator().manual_seed(0))
    for one in (fv.blur(), fv.boundary(), fv.lp(), fv.linf()):
        assert one({}, images).isfinite().all()


def test_a_recipe_sets_their_options():
    recipe = fv.Recipe(penalties=[{"name": "lp", "p": 3}, {"name": "boundary", "width": 5, "weight": 2}])
    assert recipe.penalties[0]["p"] == 3
    assert recipe.penalties[1] == {"name": "boundary", "width": 5, "weight": 2.0}
    with pytest.raises(fv.RecipeError, match="p"):
        fv.Recipe(penalties=[{"name": "lp", "p": 1}])


def test_d5_the_penalty_calms_the_border_of_a_picture():
    shared = {"size": (24, 24), "steps": 16, "lanes": 1, "transforms": []}
    (plain,) = fv.render(layouts(size=(24, 24)), "map:0", **shared)
    penalties = [{"name": "boundary", "width": 4, "weight": 30}]
    (calm,) = fv.render(layouts(size=(24, 24)), "map:0", penalties=penalties, **shared)
    border = torch.ones(24, 24, dtype=torch.bool)
    border[4:-4, 4:-4] = False
    rough = [float((one.image - 0.5)[:, border].square().mean()) for one in (plain, calm)]
    middle = [float((one.image - 0.5)[:, ~border].square().mean()) for one in (plain, calm)]
    assert rough[1] / middle[1] < rough[0] / middle[0] / 2
