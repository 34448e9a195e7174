"""Views: the mean of a judge's answers, by hand; and who is asked how often."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

import featvis as fv
from featvis.errors import ModelError
from featvis.trust.known import known_judge
from featvis.trust.transfer import transfer
from featvis.trust.views import logits, views_of
from tests.networks import handle
from tests.trust.planted import SIZE, judge, plain


class Corner(nn.Module):
    """Three classes that depend on where a picture is bright, so that each view says something else."""

    def forward(self, images):
        left, right = images[..., : images.shape[3] // 3], images[..., images.shape[3] // 3 :]
        small = functional.avg_pool2d(images, 3, 1).amax((1, 2, 3))
        return 5 * torch.stack((left.mean((1, 2, 3)), right.mean((1, 2, 3)), small), 1)


def resized(image, size):
    if tuple(image.shape[1:]) == size:
        return image
    return functional.interpolate(image[None], size, mode="bicubic", antialias=True).clamp(0, 1)[0]


def test_eight_views_are_three_sizes_and_a_crop_each_mirrored(chance):
    network = handle(nn.Sequential(Corner()), (20, 30), mean=(0,) * 3, std=(1,) * 3)
    pictures = [torch.rand((3, 40, 64), generator=chance), torch.rand((3, 20, 30), generator=chance)]
    found = logits(pictures, network, 8)
    for image, row in zip(pictures, found, strict=True):
        height, width = round(image.shape[1] * 0.875), round(image.shape[2] * 0.875)
        top, left = (image.shape[1] - height) // 2, (image.shape[2] - width) // 2
        views = [resized(image, size) for size in ((20, 30), (23, 34), (25, 38))]
        views.append(resized(image[:, top : top + height, left : left + width], (20, 30)))
        views += [view.flip(2) for view in views]
        said = torch.cat([Corner()(view[None]) for view in views]).double()
        assert torch.allclose(row.softmax(0).double(), said.softmax(1).mean(0), atol=1e-5)
        assert row.logsumexp(0) == pytest.approx(said.logsumexp(1).mean().item(), abs=1e-4)


def test_of_views_that_agree_the_logits_are_those_of_one(chance):
    even = [torch.rand((3, 1, 1), generator=chance).expand(3, *SIZE) for _ in range(3)]
    assert torch.allclose(logits(even, judge(), 8), logits(even, judge(), 1), atol=1e-3)


class Map(nn.Module):
    """A class layer that is a map of one position, as in fully convolutional networks; or of more."""

    def __init__(self, grid):
        super().__init__()
        self.map, self.pool = nn.Conv2d(3, 4, 1), nn.AdaptiveAvgPool2d(grid)

    def forward(self, images):
        return self.pool(self.map(images))


def test_a_map_of_one_position_names_classes_and_a_larger_one_does_not(chance):
    images = [torch.rand((3, *SIZE), generator=chance)]
    network = plain(Map(1))
    expected = network.module(images[0][None]).detach().flatten(1)
    assert torch.allclose(logits(images, network), expected, atol=1e-5)
    assert transfer(images, [2], network)[0].logit == pytest.approx(float(expected[0, 2]), abs=1e-5)
    with pytest.raises(ModelError, match="names no classes"):
        logits(images, plain(Map(2)))


def test_a_judge_that_takes_one_size_is_shown_that_size(chance):
    class OneSize(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(3 * SIZE[0] * SIZE[1], 4)

        def forward(self, images):
            return self.linear(images.flatten(1))

    found = logits([torch.rand((3, 30, 40), generator=chance)], plain(OneSize()), 8)
    assert found.shape == (1, 4)


def test_who_is_not_known_looks_once_and_nothing_but_one_or_eight_is_taken():
    assert (views_of(judge()), views_of(judge(), 8)) == (1, 8)
    with pytest.raises(fv.UserError, match="1 view of a picture or 8, got 3"):
        views_of(judge(), 3)


@pytest.mark.parametrize(("name", "views"), [("efficientnet_lite1", 1), ("squeezenet1_1", 8)])
def test_what_is_known_is_known_of_these_very_weights(name, views):
    try:
        network = fv.load_model(name, device="cpu")
    except ModelError as error:
        pytest.skip(str(error))
    known = known_judge(network)
    assert known is not None
    assert (known.views, known.norms is None) == (views, views == 8)
    assert views_of(network) == views
    with torch.no_grad():
        next(network.module.parameters()).view(-1)[0] += 1
    assert known_judge(network) is None
    assert views_of(network) == 1
