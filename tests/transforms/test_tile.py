"""Tiles: a canvas larger than what the network is shown, without seams."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import featvis as fv
from featvis.transforms.tile import Tile
from tests.networks import handle, scores_of, seeded

TILE, CANVAS = (24, 24), (96, 72)


class Texture(nn.Module):
    """Two convolutions: detail that is the same everywhere."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 5, padding=2)
        self.conv2 = nn.Conv2d(8, 6, 5, padding=2)

    def forward(self, images):
        return self.conv2(torch.relu(self.conv1(images)))


def test_a_tile_is_the_canvas_s_pixels_and_goes_on_at_the_opposite_edge(chance):
    images = torch.rand((2, 3, 10, 13), generator=chance)
    values = torch.tensor([[7.0, 11.0], [0.0, 2.0]])
    shown = Tile().apply(images, values, None, (5, 6))
    wide = images.repeat(1, 1, 2, 2)
    assert torch.equal(shown[0], wide[0, :, 7:12, 11:17])
    assert torch.equal(shown[1], images[1, :, 0:5, 2:8])


def test_tiles_come_from_everywhere_alike():
    uniform = torch.rand((1, 20000, 2), generator=torch.Generator().manual_seed(0))
    places = Tile().prepare(uniform, torch.linspace(0, 1, 20000), (5, 8), (3, 3))[0]
    for axis, side in enumerate((5, 8)):
        counts = torch.bincount(places[:, axis].long(), minlength=side).float() / 20000
        assert len(counts) == side
        assert float((counts - 1 / side).abs().max()) < 0.01
    last = Tile().prepare(torch.full((1, 1, 2), 1 - 2**-24), torch.zeros(1), (5, 8), (3, 3))
    assert last.tolist() == [[[4, 7]]]


def large(**options):
    model = handle(seeded(Texture), TILE)
    told = {"size": CANVAS, "input_size": TILE, "lanes": 1, "transforms": [Tile()], **options}
    return fv.render(model, "conv2:2", **told)[0]


def test_the_canvas_is_filled_and_no_border_of_tiles_shows():
    """Differences between neighbours are no larger at tile borders or where the canvas closes on itself."""
    image = large(steps=400, learning_rate=0.05).image
    assert image.shape == (3, *CANVAS)
    for axis, side in ((1, TILE[0]), (2, TILE[1])):
        jumps = (image.roll(-1, axis) - image).abs().mean(0).mean(2 - axis)
        borders = torch.arange(side - 1, CANVAS[axis - 1], side)
        assert float(jumps[borders].mean() / jumps.mean()) == pytest.approx(1, abs=0.2)
        assert float(jumps[-1] / jumps.mean()) < 1.5, "where the canvas closes on itself"
    blocks = image.unfold(1, *TILE[:1] * 2).unfold(2, *TILE[1:] * 2)
    contrast = blocks.std((0, 3, 4))
    assert float(contrast.min()) > 0.6 * float(contrast.mean()), "no part is left empty"


def kept(canvas, **options):
    """Bytes that a step keeps from its forward to its backward pass."""
    model = handle(seeded(Texture), TILE)
    found = {}

    def note(value):
        found[value.untyped_storage().data_ptr()] = value.untyped_storage().nbytes()
        return value

    space = fv.FourierImage(size=canvas)
    with torch.autograd.graph.saved_tensors_hooks(note, lambda value: value):
        next(fv.ascend(model, fv.channel("conv2", 2), space, steps=1, **options))
    return sum(found.values())


def test_a_step_s_memory_is_a_tile_s():
    whole, tiled = kept((192, 240)), kept((192, 240), transforms=[Tile()], input_size=TILE)
    pixels = 192 * 240
    assert whole > pixels * 4 * (3 + 8), "the image and the activations of the first layer, at least"
    # The image and its spectrum's gain grow with the canvas; what the network keeps does not.
    assert tiled - kept((96, 120), transforms=[Tile()], input_size=TILE) < 0.75 * pixels * 4 * (3 + 1 + 2)
    assert whole > 2 * tiled


def test_a_tiled_picture_is_scored_in_its_middle_at_its_own_resolution():
    picture = large(steps=40, learning_rate=0.05)
    middle = picture.image[None, :, 48 - 12 : 48 + 12, 36 - 12 : 36 + 12]
    model = handle(seeded(Texture), TILE)
    assert picture.score == pytest.approx(
        float(scores_of(model, fv.channel("conv2", 2), middle)[0]), abs=1e-5
    )
    assert picture.score > picture.start_score
