"""The CPPN against a formula written out for one pixel, its classic test, and sizes without end."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import featvis as fv
from tests.networks import small


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def drawn_batch(space, lanes=2, spread=20.0):
    drawn = [space.draw(generator(seed), spread) for seed in range(lanes)]
    return {name: torch.stack([one[name] for one in drawn]) for name in drawn[0]}


def slow_pixel(weights, row, column, activation):
    """Lucid's network, neuron by neuron."""
    found = [row, column]
    for name, matrix in weights.items():
        sums = [sum(w * x for w, x in zip(line[:-1], found, strict=True)) + line[-1] for line in matrix]
        arcs = [math.atan(u) for u in sums]
        if name == "output":
            return [1 / (1 + math.exp(-u)) for u in sums]
        if activation == "relu":
            found = [(max(u, 0) - 0.4) / 0.58 for u in sums]
        elif activation == "atan":
            found = [a / 0.67 for a in arcs] + [a * a / 0.6 for a in arcs]
        else:
            found = [a / 0.67 for a in arcs] + [(a * a - 0.45) / 0.396 for a in arcs]
    return None


@pytest.mark.parametrize("activation", ["atan", "unbiased", "relu"])
@pytest.mark.parametrize("size", [(5, 4), (3, 8), (1, 6)], ids=str)
def test_t33_every_pixel_is_its_pictures_own_network(size, activation):
    space = fv.CPPNImage(size=size, activation=activation, layers=3, width=5)
    batch = {name: value + 0.1 for name, value in drawn_batch(space).items()}  # biases too
    images = space.decode(batch)
    assert (images[0] - images[1]).abs().max() > 0.05, "not one network for the batch"
    for lane in range(2):
        weights = {name: value[lane].double().tolist() for name, value in batch.items()}
        for row in range(size[0]):
            for column in range(size[1]):
                place = [
                    -math.sqrt(3) + 2 * math.sqrt(3) * at / max(1, side - 1)
                    for at, side in zip((row, column), size, strict=True)
                ]
                expected = slow_pixel(weights, *place, activation)
                np.testing.assert_allclose(images[lane, :, row, column], expected, atol=1e-5)


def test_the_network_is_the_published_one():
    drawn = fv.CPPNImage(size=8).draw(generator())
    shapes = [tuple(value.shape) for value in drawn.values()]
    assert shapes == [(24, 3), *[(24, 49)] * 7, (3, 49)]
    hidden = torch.stack([drawn[f"layer{n}"] for n in range(1, 8)])
    assert float(hidden[..., :-1].std()) == pytest.approx(48**-0.5, rel=0.03), "N(0, 1 / inputs)"
    assert float(hidden[..., -1].abs().max()) == 0


@pytest.mark.parametrize("activation", ["atan", "unbiased", "relu"])
def test_what_is_passed_on_keeps_its_size_from_layer_to_layer(activation):
    # The constants are such that a standard normal sum gives inputs of size 1.
    from featvis.images.cppn import _passed_on

    passed = _passed_on(torch.randn((1, 2, 200000), generator=generator()), activation)
    second_moment = float(passed.square().mean())
    assert second_moment == pytest.approx(1, abs=0.03)
    if activation != "atan":
        assert float(passed.mean()) == pytest.approx(0, abs=0.02)


def test_it_learns_the_xor_of_four_corners():
    space = fv.CPPNImage(size=(5, 8), channels=1)
    batch = {name: value.requires_grad_() for name, value in drawn_batch(space, 2, 1.0).items()}
    optimizer = torch.optim.Adam(batch.values(), lr=0.005)
    for _ in range(60):
        image = space.decode(batch)[:, 0]
        score = image[:, 0, 0] + image[:, -1, -1] - image[:, 0, -1] - image[:, -1, 0]
        (-score.sum()).backward()
        optimizer.step()
        optimizer.zero_grad()
    for size in ((5, 8), (2, 2), (41, 30)):
        corners = space.resized(size).decode(batch)[:, 0, [0, 0, -1, -1], [0, -1, 0, -1]]
        expected = torch.tensor([[1.0, 0.0, 0.0, 1.0]]).expand(2, -1)
        torch.testing.assert_close(corners, expected, atol=0.1, rtol=0)


def test_a_run_is_drawn_at_any_size_afterwards():
    kept = []
    options = {"size": (17, 24), "steps": 6, "lanes": 2, "learning_rate": 0.01}
    space = fv.CPPNImage(layers=4, width=12)
    pictures = fv.render(small(), ["norm:1", "norm:4"], space=space, watch=kept.append, **options)
    step = kept[-1]
    large = step.images_at((33, 47))  # twice as many steps from border to border
    assert large.shape == (2, 3, 33, 47)
    torch.testing.assert_close(large[:, :, ::2, ::2], step.images, atol=1e-6, rtol=0)
    shown = torch.stack([picture.image for picture in pictures])
    assert float((large[:, :, ::2, ::2] - shown).abs().max()) <= 0.51 / 255
    assert all(picture.score > picture.start_score for picture in pictures)


def test_other_spaces_say_that_they_have_one_size():
    steps = list(fv.ascend(small(), fv.channel("norm", 1), fv.PixelImage(size=(17, 24)), steps=1))
    assert torch.equal(steps[0].images_at((17, 24)), steps[0].images)
    with pytest.raises(fv.CanvasError, match="'pixel' is drawn at the size that it was climbed at, 17x24"):
        steps[0].images_at((34, 48))


def test_it_grows_without_a_seam():
    (picture,) = fv.render(
        small(), "norm:1", space="cppn", size=(17, 24), stages=[[(8, 12), 0.5]], steps=6, lanes=1
    )
    assert picture.score > picture.start_score
    with pytest.raises(fv.UserError, match="cannot start from an image"):
        fv.render(small(), "norm:1", space="cppn", start=torch.rand(3, 17, 24), steps=1)
