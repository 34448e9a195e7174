"""A step recorded once and replayed: the same logic on the CPU, with a stand-in for the recording."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch

import featvis as fv
from featvis.engine import lanes
from featvis.engine.replay import WARM_UP, Replaying
from featvis.errors import FeatvisWarning
from tests.networks import small


class Played:
    """Replays by computing the recorded step again, which reads its number where a device would."""

    def __init__(self, body):
        self.replay = body


class OnCpu(Replaying):
    recorded = 0
    replayed = 0

    def _record(self):
        type(self).recorded += 1
        own = self._take_on_device

        def replay():
            type(self).replayed += 1
            own()

        return Played(replay)

    def _aside(self):
        return nullcontext()


class Refusing(OnCpu):
    def _record(self):
        raise RuntimeError("operation not permitted when stream is capturing")


OPTIONS = {
    "steps": 12,
    "lanes": 2,
    "redirect_steps": 2,
    "schedule": "cosine",
    "transforms": [fv.Warp(scale=(0.5, 1.1), degrees=20, shift=0.1), fv.Noise(sd=(0.3, 0.02))],
}


def until(self):
    return max(self.stage.first + WARM_UP, self.recipe.redirect_steps), torch.device("cpu")


def climb(monkeypatch=None, kind=None, **changes):
    if kind is not None:
        kind.recorded = kind.replayed = 0
        # As on a GPU, but for Adam's capturable state.
        monkeypatch.setattr(lanes.Lanes, "_recorded", lambda self, take: kind(take, *until(self)))
    steps = list(
        fv.ascend(small(), fv.channel("norm", 1), fv.FourierImage(size=(17, 24)), **{**OPTIONS, **changes})
    )
    if kind is not None:
        monkeypatch.undo()
    return torch.stack([step.scores for step in steps]), steps[-1].images


@pytest.mark.parametrize("optimizer", ["adam", "nadam", "sgd"])
def test_replayed_steps_are_the_steps(monkeypatch, optimizer):
    scores, images = climb(optimizer=optimizer)
    again, replayed = climb(monkeypatch, OnCpu, optimizer=optimizer)
    assert torch.equal(again, scores)
    assert torch.equal(replayed, images)
    assert (OnCpu.recorded, OnCpu.replayed) == (1, 12 - WARM_UP)


@pytest.mark.parametrize(
    "change",
    [
        {"copies": 3},
        {"average": 0.8},
        {"gradient_norm": 2.0},
        {"gradient_clip": 0.01},
        {"hold": 5},
        {"copies": 2, "average": 0.5, "hold": 2, "gradient_clip": 0.1, "pool_gradients": "l2"},
    ],
    ids=lambda change: " ".join(change),
)
def test_so_are_those_of_every_option(monkeypatch, change):
    scores, images = climb(**change)
    again, replayed = climb(monkeypatch, OnCpu, **change)
    assert torch.equal(again, scores)
    assert torch.equal(replayed, images)
    assert (OnCpu.recorded, OnCpu.replayed) == (1, 12 - WARM_UP)


def test_redirected_steps_are_never_replayed(monkeypatch):
    climb(monkeypatch, OnCpu, redirect_steps=7)
    assert OnCpu.replayed == 12 - 7


def test_a_step_that_cannot_be_recorded_is_told_once_and_computed(monkeypatch):
    scores, images = climb()
    with pytest.warns(FeatvisWarning, match="not permitted") as told:
        again, computed = climb(monkeypatch, Refusing)
    assert len(told) == 1
    assert torch.equal(again, scores)
    assert torch.equal(computed, images)


def test_the_rate_and_the_step_count_of_a_replayed_step_are_tensors():
    from featvis.engine.optimizers import make_optimizer

    value = torch.zeros(3, requires_grad=True)
    recipe = fv.Recipe(optimizer="nadam", learning_rate=0.1)
    group = make_optimizer(recipe, [value], capturable=True).param_groups[0]
    assert torch.equal(group["lr"], torch.tensor(0.1))
    assert group["capturable"]
