"""Transforms in a row."""

from __future__ import annotations

import pytest
import torch

import featvis as fv
from featvis import draws
from featvis.transforms.chain import Chain


def chain(transforms, canvas=(17, 24), shown_size=None, steps=3):
    return Chain(
        transforms,
        [lambda purpose: draws.stream(0, "layer:0", 0, purpose)],
        steps=steps,
        channels=3,
        canvas=canvas,
        shown_size=shown_size or canvas,
        device=torch.device("cpu"),
    )


@pytest.fixture
def image(chance):
    return torch.rand((1, 3, 17, 24), generator=chance)


def test_without_transforms_the_image_is_what_is_seen(image):
    assert chain([])(image, 0) is image


def test_they_run_in_their_order(image):
    noisy_last = chain([fv.Warp(scale=(0.4, 0.4)), fv.Noise(sd=0.3)])(image, 0)
    noisy_first = chain([fv.Noise(sd=0.3), fv.Warp(scale=(0.4, 0.4))])(image, 0)
    rough = [float(shown.diff(dim=3).abs().mean()) for shown in (noisy_last, noisy_first)]
    assert rough[0] > 1.3 * rough[1], "noise before the zoom is magnified with the image"


def test_two_of_a_kind_have_draws_of_their_own(image):
    once, twice = chain([fv.Noise(sd=0.2)])(image, 0), chain([fv.Noise(sd=0.2), fv.Noise(sd=0.2)])(image, 0)
    first = once - image
    second = twice - image - first
    both = torch.stack([first.flatten(), second.flatten()])
    assert abs(float(torch.corrcoef(both)[0, 1])) < 0.15


@pytest.mark.parametrize(
    "transforms",
    [
        [],
        [fv.Noise(sd=0.1)],
        [fv.Warp(scale=(0.5, 1.0))],
        [fv.Noise(), fv.Warp(), fv.Noise(), fv.Warp(jitter=2)],
    ],
    ids=len,
)
@pytest.mark.parametrize("shown_size", [(9, 30), (34, 48)], ids=str)
def test_whatever_their_order_the_network_is_shown_its_size(transforms, shown_size, image):
    assert chain(transforms, shown_size=shown_size)(image, 2).shape == (1, 3, *shown_size)


def test_a_schedule_reaches_its_end_at_the_last_step(image):
    shown = chain([fv.Noise(sd=(0.0, 0.4))], steps=5)
    assert torch.equal(shown(image, 0), image)
    assert float((shown(image, 4) - image).std()) == pytest.approx(0.4, rel=0.1)


def test_a_run_of_one_step_is_at_the_schedules_start(image):
    assert float((chain([fv.Noise(sd=(0.4, 0.0))], steps=1)(image, 0) - image).std()) == pytest.approx(
        0.4, rel=0.1
    )
