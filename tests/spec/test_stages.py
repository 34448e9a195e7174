"""Canvases that grow: every wave is carried over, the optimizer remembers, mistakes are told."""

from __future__ import annotations

import pytest
import torch

import featvis as fv
from featvis.spec.stages import Stage, plan_stages
from tests.networks import small


def lanes_of(space, spread=100.0):
    drawn = [space.draw(torch.Generator().manual_seed(seed), spread) for seed in (0, 1)]
    return {name: torch.stack([one[name] for one in drawn]) for name in drawn[0]}


@pytest.mark.parametrize("size", [(16, 24), (15, 21), (16, 21), (1, 8), (9, 1)])
@pytest.mark.parametrize("times", [(2, 2), (3, 3), (2, 1), (1, 3)])
@pytest.mark.parametrize("exponent", [0.0, 1.0, 1.3])
def test_a_fourier_image_is_carried_over_exactly(size, times, exponent):
    before = fv.FourierImage(size=size, exponent=exponent)
    after = before.resized((size[0] * times[0], size[1] * times[1]))
    parameters = lanes_of(before)
    small_images = before.decode(parameters)
    large_images = after.decode(before.grow(parameters, after))
    assert large_images.shape[2:] == after.canvas
    torch.testing.assert_close(large_images[:, :, :: times[0], :: times[1]], small_images, rtol=0, atol=1e-5)


def test_nothing_shorter_than_the_old_waves_appears():
    before, after = fv.FourierImage(size=(16, 24)), fv.FourierImage(size=(40, 56))
    grown = before.grow(lanes_of(before), after)["spectrum"]
    assert float(grown[:, :, 9:-8].abs().max()) == 0
    assert float(grown[:, :, :, 13:].abs().max()) == 0


def test_a_pixel_image_is_carried_over_smoothly():
    before, after = fv.PixelImage(size=(12, 18)), fv.PixelImage(size=(24, 36))
    image = torch.rand((3, 1, 1)).expand(3, 12, 18) * 0.5 + 0.25
    parameters = {name: value[None] for name, value in before.fit(image).items()}
    grown = after.decode(before.grow(parameters, after))
    torch.testing.assert_close(grown[0], image[:, :1, :1].expand(3, 24, 36), atol=2e-3, rtol=0)


@pytest.mark.parametrize("space", ["fourier", "pixel"])
@pytest.mark.parametrize("optimizer", ["adam", "nadam", "sgd"])
def test_scores_go_on_rising_over_the_stages(space, optimizer):
    stages = [[(16, 16), 0.3], [(20, 28), 0.6]]
    rates = {"adam": 0.05, "nadam": 0.05, "sgd": 5.0}
    picture, = fv.render(
        small(), "norm:1", size=(32, 40), steps=30, space=space, stages=stages, transforms=[],
        optimizer=optimizer, learning_rate=rates[optimizer],
    )  # fmt: skip
    assert picture.size == (32, 40)
    assert picture.score > picture.start_score + 0.001


def test_the_optimizer_remembers():
    sizes, states = [], []
    model = small()
    for step in fv.ascend(
        model, fv.channel("norm", 1), fv.FourierImage(size=(32, 40)), steps=8, stages=[((16, 20), 0.5)]
    ):
        sizes.append(tuple(step.images.shape[2:]))
        states.append(step.images)
    assert sizes == [(16, 20)] * 4 + [(32, 40)] * 4
    # The first step on the large canvas is no jolt: it is about as long as the last on the small one.
    last = (states[3] - states[2]).abs().mean()
    first = (states[4][:, :, ::2, ::2] - states[3]).abs().mean()
    assert float(first / last) < 3


def test_the_shares_of_a_run():
    assert plan_stages([], (9, 5), 3) == [Stage((9, 5), 0, 3)]
    assert plan_stages([((4, 4), 0.01)], (9, 5), 3) == [Stage((9, 5), 0, 3)], "a stage without a step"
    assert plan_stages([((4, 4), 1.0)], (9, 5), 3) == [Stage((4, 4), 0, 3)]


def test_staged_pictures_do_not_depend_on_their_mates():
    options = {"size": (24, 32), "steps": 8, "lanes": 3, "stages": [[(16, 16), 0.5]]}
    together = fv.render(small(), "norm:0:3", **options)
    alone = fv.render(small(), "norm:2", **options)
    assert alone[0].png() == together[2].png()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"stages": [[(64, 64), 0.5]]}, "smaller canvases first"),
        ({"stages": [[(16, 16), 0.5], [(20, 20), 0.2]]}, "share of the run"),
        ({"stages": [[(16, 16), 1.5]]}, "less than or equal to 1"),
        (
            {"stages": [[(16, 16), 0.5]], "start": torch.rand(3, 32, 40), "space": "norm_ball"},
            "whole canvas only",
        ),
    ],
)
def test_mistakes_are_told(changes, told):
    with pytest.raises(fv.UserError, match=told):
        fv.render(small(), "norm:1", **{"size": (32, 40), "steps": 4, **changes})


def test_a_neuron_has_no_smaller_canvas():
    with pytest.raises(fv.UserError, match="one position"):
        fv.render(small(), "norm:1@2,3", size=(32, 40), steps=4, stages=[[(16, 16), 0.5]])
