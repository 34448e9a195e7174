"""The deep image prior against a network put together from torch's own layers, and what it is known for."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import featvis as fv
from featvis.images.deep import _noise
from tests.networks import small

CPU = torch.device("cpu")


def drawn_batch(space, lanes=2, spread=20.0):
    drawn = [space.draw(torch.Generator().manual_seed(seed), spread) for seed in range(lanes)]
    return {name: torch.stack([one[name] for one in drawn]) for name in drawn[0]}


def layer_of(weights, side):
    outputs, inputs = weights.shape[0], (weights.shape[1] - 1) // side**2
    layer = nn.Conv2d(inputs, outputs, side, padding=side // 2, padding_mode="replicate")
    with torch.no_grad():
        layer.weight.copy_(weights[:, :-1].view_as(layer.weight))
        layer.bias.copy_(weights[:, -1])
    return layer


def slow_image(weights, size, depth):
    """One picture alone, with modules: convolution, GroupNorm(1), SiLU, AvgPool, Upsample."""

    def block(name, found):
        normal = nn.GroupNorm(1, weights[name].shape[0], affine=False)
        return nn.SiLU()(normal(layer_of(weights[name], 3)(found)))

    found, passed = _noise(*size, CPU)[None], []
    for level in range(depth):
        found = block(f"down{level}", found)
        passed.append(found)
        found = nn.AvgPool2d(2, ceil_mode=True)(found)
    found = block("bottom", found)
    for level in reversed(range(depth)):
        height, width = passed[level].shape[2:]
        larger = nn.Upsample(scale_factor=2)(found)[:, :, :height, :width]
        found = block(f"up{level}", torch.cat([larger, passed[level]], 1))
    return torch.sigmoid(layer_of(weights["output"], 1)(found))[0]


@pytest.mark.parametrize("size", [(17, 24), (9, 6), (1, 5)], ids=str)
@pytest.mark.parametrize("depth", [1, 3])
def test_each_picture_is_its_own_network(size, depth):
    space = fv.DeepImage(size=size, depth=depth, width=6)
    batch = {name: value + 0.02 for name, value in drawn_batch(space).items()}  # biases too
    images = space.decode(batch)
    for lane in range(2):
        alone = slow_image({name: value[lane] for name, value in batch.items()}, size, depth)
        torch.testing.assert_close(images[lane], alone.detach(), atol=2e-5, rtol=0)


def test_it_takes_to_shapes_and_not_to_noise():
    # What makes it a prior (Ulyanov et al. 2018, figure 2): in as many steps it comes closer to an image.
    size = (32, 40)
    chance = torch.Generator().manual_seed(5)
    coarse = torch.randn((1, 3, 5, 6), generator=chance)
    shapes = torch.nn.functional.interpolate(coarse, size, mode="bicubic")
    noise = torch.randn((1, 3, *size), generator=chance)
    wanted = torch.cat([each / each.std() * 0.15 + 0.5 for each in (shapes, noise)]).clamp(0, 1)
    left = {}
    for space in (fv.DeepImage(size=size), fv.PixelImage(size=size, decorrelate=False)):
        batch = {name: value.requires_grad_() for name, value in drawn_batch(space, 2, 1.0).items()}
        optimizer = torch.optim.Adam(batch.values(), lr=space.usual_rate)
        for _ in range(24):
            off = (space.decode(batch) - wanted).square().mean((1, 2, 3))
            off.sum().backward()
            optimizer.step()
            optimizer.zero_grad()
        left[space.part_name] = (off.detach() / (wanted - 0.5).square().mean((1, 2, 3))).tolist()
    image, nothing = left["deep"]
    assert image < 0.25 < 3 * image < nothing
    image, nothing = left["pixel"]
    assert nothing == pytest.approx(image, rel=0.25), "without the prior both come alike"


def test_a_run_and_what_it_refuses():
    options = {"size": (17, 24), "steps": 8, "lanes": 2, "learning_rate": 0.01, "space": "deep"}
    first = fv.render(small(), ["norm:1", "norm:4"], **options)
    assert all(picture.score > picture.start_score for picture in first)
    (again,) = fv.render(small(), "norm:4", **options)
    assert (again.levels == first[1].levels).all(), "seeded, and whatever the mates"
    with pytest.raises(fv.UserError, match="cannot start from an image"):
        fv.render(small(), "norm:1", space="deep", start=torch.rand(3, 17, 24), steps=1)
