"""Resampling: the ordered form that a GPU uses is grid_sample, and adds up the same way in any order."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

import featvis as fv
from featvis.transforms.resample import _MODES, _looked_up, _means, _Ordered, averaged, make_grid


def drawn(size, shown_size, lanes=3):
    warp = fv.Warp(scale=(0.4, 1.6), degrees=180, shift=0.7)
    uniform = torch.rand((lanes, 1, 6), generator=torch.Generator().manual_seed(5))
    values = warp.prepare(uniform, torch.zeros(1), size, shown_size)[:, 0]
    images = torch.rand((lanes, 3, *size), generator=torch.Generator().manual_seed(6))
    return images.requires_grad_(), values


@pytest.mark.parametrize("shown_size", [(17, 24), (31, 9)])
def test_the_grid_is_affine_grids(shown_size):
    _, values = drawn((17, 24), shown_size)
    expected = functional.affine_grid(values.view(3, 2, 3), [3, 3, *shown_size], align_corners=False)
    torch.testing.assert_close(make_grid(values, shown_size), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("pad", ["reflect", "edge", "gray"])
@pytest.mark.parametrize(
    ("size", "shown_size"), [((17, 24), (17, 24)), ((24, 17), (31, 9)), ((1, 8), (5, 5))]
)
def test_the_ordered_form_is_grid_sample(size, shown_size, pad):
    images, values = drawn(size, shown_size)
    grid = make_grid(values, shown_size)
    plain = functional.grid_sample(images, grid, padding_mode=_MODES[pad], align_corners=False)
    weights = torch.randn(plain.shape, generator=torch.Generator().manual_seed(7))
    (expected,) = torch.autograd.grad((plain * weights).sum(), images)
    # As a CUDA GPU does it, and as Apple's.
    for form in (_Ordered.apply, _looked_up):
        other = form(images, grid, pad)
        torch.testing.assert_close(other, plain, rtol=1e-4, atol=2e-5)
        (gradient,) = torch.autograd.grad((other * weights).sum(), images)
        torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("size", [(51, 72), (40, 90), (35, 24)])
def test_means_as_products_are_the_means(size):
    images = torch.rand((2, 3, *size), generator=torch.Generator().manual_seed(8))
    shrink = int(min(size[0] / 17, size[1] / 12))
    down, across = (_means(side, side // shrink, torch.device("cpu")) for side in size)
    torch.testing.assert_close(
        down @ images @ across.mT, averaged(images, 1.0, (17, 12)), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("strength", [1e-30, 1e-9, 1.0, 1e12])
def test_small_and_large_gradients_keep_their_digits(strength):
    images, values = drawn((17, 24), (17, 24))
    grid = make_grid(values, (17, 24))
    weights = torch.randn((3, 3, 17, 24)) * strength
    plain = functional.grid_sample(images, grid, padding_mode="reflection", align_corners=False)
    (expected,) = torch.autograd.grad((plain * weights).sum(), images)
    (gradient,) = torch.autograd.grad((_Ordered.apply(images, grid, "reflect") * weights).sum(), images)
    assert float((gradient - expected).double().norm() / expected.double().norm()) < 1e-4


def test_a_pictures_gradient_does_not_depend_on_its_mates():
    images, values = drawn((17, 24), (17, 24))
    grid = make_grid(values, (17, 24))
    weights = torch.randn((3, 3, 17, 24)) * torch.tensor([1.0, 1e6, 1e-6])[:, None, None, None]
    (together,) = torch.autograd.grad((_Ordered.apply(images, grid, "reflect") * weights).sum(), images)
    alone = images[:1].detach().requires_grad_()
    (own,) = torch.autograd.grad((_Ordered.apply(alone, grid[:1], "reflect") * weights[:1]).sum(), alone)
    assert torch.equal(own[0], together[0])


def test_the_order_of_the_terms_does_not_matter():
    images, values = drawn((17, 24), (40, 40), lanes=1)
    grid = make_grid(values, (40, 40))
    weights = torch.randn((1, 3, 40, 40))
    turned = torch.flip(grid, (1, 2)), torch.flip(weights, (2, 3))
    (one,) = torch.autograd.grad((_Ordered.apply(images, grid, "reflect") * weights).sum(), images)
    (other,) = torch.autograd.grad((_Ordered.apply(images, turned[0], "reflect") * turned[1]).sum(), images)
    assert torch.equal(one, other)
    # which plain floating point sums do not promise
