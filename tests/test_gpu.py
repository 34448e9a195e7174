"""On a CUDA device: the same engine, without a single wait for the device in the loop."""

import pytest
import torch

import featvis as fv

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
        steps=24,
        lanes=4,
    )
    next(steps)  # drawing and moving to the device come before the loop
    try:
        torch.cuda.set_sync_debug_mode("error")
        for _ in steps:
            pass
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


def test_a_step_is_replayed(monkeypatch):
    from featvis.engine.replay import Replaying

    recorded = []
    record = Replaying._record
    monkeypatch.setattr(Replaying, "_record", lambda self: recorded.append(self) or record(self))
    model = fv.load_model(device="cuda")
    picture, = fv.render(model, "blocks.3:1", size=(64, 80), steps=40, redirect_steps=4)  # fmt: skip
    assert len(recorded) == 1
    assert not recorded[0]._refused
    assert picture.score > picture.start_score
