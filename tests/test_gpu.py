"""On a CUDA device: the same engine, without a single wait for the device in the loop."""

import pytest
import torch

import featvis as fv
from featvis.engine.replay import WARM_UP

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine"),
]


def test_t39_a_step_does_not_wait_for_the_device():
    model = fv.load_model(device="cuda")
    steps = fv.ascend(
        model,
        fv.channel("blocks.2", 3),
        fv.FourierImage(size=(64, 80)),
        transforms=[fv.Warp(scale=(0.5, 1.1), degrees=10, shift=0.1), fv.Noise(sd=(0.3, 0.02))],
        steps=40,
        lanes=4,
        redirect_steps=0,
    )
    # Moving to the device, warming up, recording and checking the recording come first.
    while not next(steps).replayed:
        pass
    try:
        torch.cuda.set_sync_debug_mode("error")
        assert all(step.replayed for step in steps)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_scores_rise_as_on_the_cpu(precision):
    model = fv.load_model(device="cuda")
    pictures = fv.render(model, "blocks.2:0:4", size=(48, 64), steps=40, precision=precision)
    assert all(picture.score > picture.start_score for picture in pictures)
    assert model.device.type == "cuda"


def test_batch_mates_change_nothing():
    model = fv.load_model(device="cuda")
    together = fv.render(model, "blocks.2:0:6", size=(48, 64), steps=12, lanes=4)
    alone = fv.render(model, "blocks.2:5", size=(48, 64), steps=12, lanes=4)
    assert abs(together[5].levels.astype(int) - alone[0].levels.astype(int)).mean() < 2


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("target", ["blocks.3:0:4", "classifier:263,7"])
def test_the_same_bytes_twice(target, precision):
    model = fv.load_model(device="cuda")
    options = {"size": (64, 80), "steps": 40, "precision": precision, "lanes": 4}
    once, twice = (fv.render(model, target, **options) for _ in (0, 1))
    assert [picture.png() for picture in once] == [picture.png() for picture in twice]


def test_a_step_is_replayed():
    model = fv.load_model(device="cuda")
    (picture,) = fv.render(model, "blocks.3:1", size=(64, 80), steps=40, redirect_steps=4)
    assert picture.replayed == 40 - 4 - WARM_UP
    assert picture.score > picture.start_score


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="one CUDA device only")
def test_on_the_second_device_as_on_the_first():
    options = {"size": (64, 80), "steps": 40, "redirect_steps": 4}
    first, second = (
        fv.render(fv.load_model(device=f"cuda:{index}"), "blocks.3:1", **options)[0] for index in (0, 1)
    )
    assert second.replayed == first.replayed > 0
    assert second.png() == first.png()
