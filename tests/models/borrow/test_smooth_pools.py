"""Gradients of smoother pools: the formulas, the same forward pass, nothing left behind."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

import featvis as fv
from featvis.models.borrow.smooth_pools import SmoothedPool
from tests.networks import handle, seeded

SIZE = (17, 23)
WINDOWS = [
    {"kernel_size": 2},
    {"kernel_size": 3, "stride": 2, "padding": 1},
    {"kernel_size": (3, 2), "stride": (2, 3), "ceil_mode": True},
]


def pooled_by_hand(images, kind, kernel_size, stride=None, padding=0, ceil_mode=False):
    """Window by window; what lies outside the image is not there."""
    rows, columns = kernel_size if isinstance(kernel_size, tuple) else (kernel_size,) * 2
    down, right = stride if isinstance(stride, tuple) else (stride,) * 2 if stride else (rows, columns)
    shape = functional.max_pool2d(images, kernel_size, stride, padding, ceil_mode=ceil_mode).shape
    found = torch.zeros(shape, dtype=images.dtype)
    for row in range(shape[2]):
        for column in range(shape[3]):
            top, left = row * down - padding, column * right - padding
            part = images[:, :, max(top, 0) : top + rows, max(left, 0) : left + columns]
            if kind == "average":
                value = part.mean((2, 3))
            else:
                value = part.square().mean((2, 3)) / (0.01 + part.abs().mean((2, 3)))
            found[:, :, row, column] = value
    return found


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("kind", ["average", "l2"])
@pytest.mark.parametrize("called", ["module", "function", "torch"])
def test_the_pool_is_the_max_and_its_gradient_the_formulas(kind, window, called):
    generator = torch.Generator().manual_seed(4)
    images = torch.randn(2, 3, *SIZE, generator=generator, dtype=torch.double).requires_grad_()
    expected = functional.max_pool2d(images.detach(), **window)
    weights = torch.randn(expected.shape, generator=generator, dtype=torch.double)
    pools = {
        "module": nn.MaxPool2d(**window),
        "function": lambda given: functional.max_pool2d(given, **window),
        "torch": lambda given: torch.max_pool2d(given, **{"stride": [], **window}),
    }
    with SmoothedPool(kind):
        found = pools[called](images)
    assert torch.equal(found, expected)
    (gradient,) = torch.autograd.grad((found * weights).sum(), images)
    by_hand = (pooled_by_hand(images, kind, **window) * weights).sum()
    torch.testing.assert_close(gradient, torch.autograd.grad(by_hand, images)[0])
    after = pools[called](images)
    (plain,) = torch.autograd.grad((after * weights).sum(), images)
    assert not torch.allclose(plain, gradient), "outside it is the max-pool's own again"


def test_dilated_pools_and_those_with_indices_keep_their_own():
    images = torch.randn(1, 2, *SIZE, requires_grad=True)
    for options in ({"dilation": 2}, {"return_indices": True}):
        gradients = []
        for context in (SmoothedPool("l2"), None):
            if context is None:
                found = functional.max_pool2d(images, 3, **options)
            else:
                with context:
                    found = functional.max_pool2d(images, 3, **options)
            found = found[0] if isinstance(found, tuple) else found
            gradients.append(torch.autograd.grad(found.sum(), images)[0])
        assert torch.equal(*gradients)


class Pooled(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.pool = nn.MaxPool2d(4)
        self.last = nn.Conv2d(4, 5, 1)

    def forward(self, images):
        return self.last(functional.max_pool2d(self.pool(torch.relu(self.conv(images))), 2))


OPTIONS = {
    "size": (24, 40),
    "steps": 12,
    "learning_rate": 0.2,
    "lanes": 2,
    "redirect_steps": 0,
    "transforms": [],
}


@pytest.mark.parametrize("patience", [0, 20])
def test_in_a_run_more_pixels_get_a_gradient_and_the_scores_are_the_networks(patience):
    model = handle(seeded(Pooled), (24, 40))
    space = fv.PixelImage(decorrelate=False)
    sgd = {"optimizer": "sgd", "momentum": 0.0, "learning_rate": 300.0, "space": space}
    options = {**OPTIONS, "patience": patience, **sgd, "steps": 1}
    start = torch.rand((3, 24, 40), generator=torch.Generator().manual_seed(1)) * 0.4 + 0.3
    touched = {}
    for kind in ("max", "average", "l2"):
        (picture,) = fv.render(model, "last:2", start=start, pool_gradients=kind, **options)
        touched[kind] = int((picture.image - (start * 255).round() / 255).abs().gt(1e-6).sum())
        (plain,) = fv.render(model, "last:2", start=start, **{**options, "learning_rate": 1e-9})
        assert picture.trace[0] == pytest.approx(plain.trace[0], rel=1e-5)
        assert picture.start_score == plain.start_score
    assert touched["average"] > 1.5 * touched["max"]
    assert touched["l2"] > 1.5 * touched["max"]


def test_pictures_still_rise_and_differ():
    model = handle(seeded(Pooled), (24, 40))
    pictures = {
        kind: fv.render(model, "last:2", pool_gradients=kind, **OPTIONS)[0]
        for kind in ("max", "average", "l2")
    }
    assert all(picture.score > picture.start_score + 0.1 for picture in pictures.values())
    assert len({picture.png() for picture in pictures.values()}) == 3
