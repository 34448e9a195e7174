"""A generator as an image space: its input is learned, the module is borrowed, the digest is in the key."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import featvis as fv
from tests.networks import seeded, small


class Toy(nn.Module):
    """From 5 numbers to images of 17 × 24; BatchNorm would mix pictures if it were training."""

    def __init__(self, channels=3):
        super().__init__()
        self.first = nn.Linear(5, 12)
        self.norm = nn.BatchNorm1d(12)
        self.last = nn.Linear(12, channels * 17 * 24)
        self.channels = channels

    def forward(self, latent):
        found = self.last(self.norm(self.first(latent)).relu())
        return torch.tanh(found).view(-1, self.channels, 17, 24)


def toy(seed=7, channels=3):
    return seeded(lambda: Toy(channels), seed)


def test_the_image_is_what_the_generator_gives():
    module = toy()
    space = fv.generator_image(module, (5,), low=-1, high=1)
    latent = torch.randn((2, 5), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = (module.eval()(latent) + 1) / 2
    assert space.canvas == (17, 24)
    torch.testing.assert_close(space.decode({"latent": latent}), expected, atol=1e-6, rtol=0)
    larger = fv.generator_image(module, (5,), low=-1, high=1, size=(40, 30)).decode({"latent": latent})
    resized = torch.nn.functional.interpolate(expected, (40, 30), mode="bilinear", align_corners=False)
    torch.testing.assert_close(larger, resized, atol=1e-5, rtol=0)


def test_a_run_climbs_and_stays_within_what_the_generator_can_give():
    module = toy()
    space = fv.generator_image(module, (5,), low=-1, high=1)
    options = {"space": space, "steps": 12, "lanes": 2, "learning_rate": 0.1, "transforms": []}
    pictures = fv.render(small(), ["norm:1", "norm:4"], **options)
    assert all(picture.score > picture.start_score for picture in pictures)
    (alone,) = fv.render(small(), "norm:4", **options)
    assert (alone.levels == pictures[1].levels).all(), "whatever the mates"
    assert alone.recipe["space"]["generator"].startswith("sha256:")
    # All the generator's images before tanh lie in an affine space of 12 dimensions.
    shown = torch.atanh((alone.image.double() * 2 - 1).clamp(-0.99, 0.99)).flatten()
    basis = module.last.weight.detach().double()
    off = shown - module.last.bias.detach().double()
    left = off - basis @ torch.linalg.lstsq(basis, off[:, None]).solution[:, 0]
    assert float(left.norm() / off.norm()) < 0.05, "to within what 8 bits round"


def test_the_module_is_left_as_it_was():
    module = toy()
    module.first.weight.grad = torch.ones_like(module.first.weight)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    space = fv.generator_image(module, (5,), low=-1, high=1)
    fv.render(small(), "norm:1", space=space, steps=2, lanes=1)
    assert module.training
    assert all(value.requires_grad for value in module.parameters())
    assert torch.equal(module.first.weight.grad, torch.ones_like(module.first.weight))
    for name, value in module.state_dict().items():
        assert torch.equal(value, before[name])


def test_the_key_tells_weights_apart_and_a_picture_renders_again(tmp_path):
    spaces = [fv.generator_image(toy(seed), (5,), low=-1, high=1) for seed in (7, 8, 7)]
    pictures = [fv.render(small(), "norm:1", space=space, steps=2, lanes=1)[0] for space in spaces]
    assert pictures[0].key == pictures[2].key != pictures[1].key
    path = pictures[0].save(tmp_path / "a.png")
    assert (fv.reproduce(path, small()).levels == pictures[0].levels).all()
    recipe = dict(pictures[0].recipe)
    recipe["space"] = {**recipe["space"], "generator": "sha256:0"}
    with pytest.raises(fv.RecipeError, match="in this program first"):
        fv.render(small(), "norm:1", recipe=fv.Recipe(**recipe))


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: fv.generator_image(toy(), (6,)), "does not run"),
        (lambda: fv.generator_image(nn.Linear(5, 4), (5,)), r"gives images \(B, C, H, W\)"),
        (lambda: fv.generator_image(toy(), (5,), low=1, high=1), "from low to high"),
        (lambda: fv.generator_image(toy(), (5,), size=(8, 24)), "17x24"),
        (lambda: fv.generator_image(toy(), (5,), deviation=0), "greater than 0"),
        (
            lambda: fv.render(small(), "norm:1", space=fv.generator_image(toy(channels=1), (5,)), steps=1),
            "have 1 channels, not 3",
        ),
        (
            lambda: fv.render(
                small(),
                "norm:1",
                space=fv.generator_image(toy(), (5,)),
                start=torch.rand(3, 17, 24),
                steps=1,
            ),
            "cannot start from an image",
        ),
    ],
)
def test_mistakes_are_one_line(make, says):
    with pytest.raises(fv.UserError, match=says) as caught:
        make()
    assert "\n" not in str(caught.value)
