"""A step recorded once and replayed: the same logic on the CPU, with a stand-in for the recording."""

from __future__ import annotations

import json
import warnings
from functools import cache

import pytest
import torch

import featvis as fv
from featvis.engine import replay
from featvis.engine.replay import WARM_UP
from featvis.errors import FeatvisWarning
from tests.networks import small
from tests.standin import Played, StandIn, standing_in

OPTIONS = {
    "steps": 12,
    "lanes": 2,
    "redirect_steps": 2,
    "schedule": "cosine",
    "transforms": [fv.Warp(scale=(0.5, 1.1), degrees=20, shift=0.1), fv.Noise(sd=(0.3, 0.02))],
}
PLAIN = OPTIONS["redirect_steps"] + WARM_UP


@cache
def network():
    """One for all climbs: it comes back as it was, and what is measured of it is measured once."""
    return small()


def climb(monkeypatch=None, kind=None, objective=None, **changes):
    """Every step's scores, and the last images; recorded by a stand-in of a kind, or never."""
    objective = objective or fv.channel("norm", 1)
    options = {**OPTIONS, **changes}

    def run():
        steps = list(fv.ascend(network(), objective, fv.FourierImage(size=(17, 24)), **options))
        return torch.stack([step.scores for step in steps]), steps[-1].images, steps

    if kind is None:
        return run()[:2]
    with standing_in(monkeypatch, kind):
        return run()


@pytest.mark.parametrize("optimizer", ["adam", "nadam"])
def test_replayed_steps_are_the_steps(monkeypatch, optimizer):
    scores, images = climb(optimizer=optimizer)
    again, replayed, steps = climb(monkeypatch, StandIn, optimizer=optimizer)
    assert torch.equal(again, scores)
    assert torch.equal(replayed, images)
    assert (StandIn.recorded, StandIn.replayed) == (1, 12 - PLAIN)
    assert [step.replayed for step in steps] == [False] * PLAIN + [True] * (12 - PLAIN)


@pytest.mark.parametrize(
    "change",
    [
        {"copies": 3},
        {"average": 0.8},
        {"gradient_norm": 2.0},
        {"gradient_clip": 0.01},
        {"hold": 5},
        {"precision": "bfloat16"},
        {"copies": 2, "average": 0.5, "hold": 2, "gradient_clip": 0.1, "pool_gradients": "l2"},
        {"residual_gradients": 0.5},
    ],
    ids=lambda change: " ".join(change),
)
def test_so_are_those_of_every_option(monkeypatch, change):
    scores, images = climb(**change)
    again, replayed, _ = climb(monkeypatch, StandIn, **change)
    assert torch.equal(again, scores)
    assert torch.equal(replayed, images)
    assert (StandIn.recorded, StandIn.replayed) == (1, 12 - PLAIN)


def test_so_are_those_of_stages_each_recorded_anew(monkeypatch):
    change = {"steps": 24, "stages": [[[9, 12], 0.5]]}
    scores, images = climb(**change)
    again, replayed, _ = climb(monkeypatch, StandIn, **change)
    assert torch.equal(again, scores)
    assert torch.equal(replayed, images)
    assert StandIn.recorded == 2


def test_transparency_is_gathered_once_for_each_step(monkeypatch):
    """The check takes a step twice; what it gathers must not count twice."""
    options = {"size": (17, 24), "steps": 12, "transparency": True, "redirect_steps": 0}
    (plain,) = fv.render(small(), "norm:1", **options)
    with standing_in(monkeypatch):
        (replayed,) = fv.render(small(), "norm:1", **options)
    assert (replayed.transparency == plain.transparency).all()
    assert replayed.png() == plain.png()
    assert StandIn.replayed == 12 - WARM_UP


@pytest.mark.parametrize(
    "change", [{"optimizer": "sgd"}, {"optimizer": "lbfgs", "schedule": "constant"}], ids=str
)
def test_other_optimizers_are_never_recorded(monkeypatch, change):
    climb(monkeypatch, StandIn, **change)
    assert StandIn.recorded == 0


def test_redirected_steps_are_never_replayed_and_the_warm_up_comes_after_them(monkeypatch):
    *_, steps = climb(monkeypatch, StandIn, redirect_steps=7)
    assert [step.replayed for step in steps] == [False] * (7 + WARM_UP) + [True] * (12 - 7 - WARM_UP)


class Refusing(StandIn):
    def record(self, take):
        raise RuntimeError("operation not permitted when stream is capturing")


def test_a_step_that_cannot_be_recorded_is_told_once_and_computed(monkeypatch):
    scores, images = climb()
    with pytest.warns(FeatvisWarning, match="not permitted") as told:
        again, computed, steps = climb(monkeypatch, Refusing)
    assert len(told) == 1
    assert torch.equal(again, scores)
    assert torch.equal(computed, images)
    assert not any(step.replayed for step in steps)


class Breaking(StandIn):
    """Fails as a capture does in the middle: the backward pass has left gradients that nobody computed."""

    def record(self, take):
        parameters = self.parameters()
        for value in parameters:
            value.grad = torch.full_like(value, 1e9)
        raise RuntimeError("CUDA error: operation failed due to a previous error during capture")


def test_what_a_failed_recording_left_behind_is_not_climbed(monkeypatch):
    scores, images = climb()
    made = replay.Replaying.__init__

    def init(self, *args, parameters, **options):
        monkeypatch.setattr(Breaking, "parameters", staticmethod(lambda: parameters), raising=False)
        made(self, *args, parameters=parameters, **options)

    monkeypatch.setattr(replay.Replaying, "__init__", init)
    with pytest.warns(FeatvisWarning, match="previous error"):
        again, computed, _ = climb(monkeypatch, Breaking)
    assert torch.equal(again, scores)
    assert torch.equal(computed, images)


class Full(StandIn):
    def record(self, take):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")


def test_no_memory_for_a_recording_is_no_memory(monkeypatch):
    with pytest.raises(torch.OutOfMemoryError):
        climb(monkeypatch, Full)


def test_so_a_render_goes_on_with_fewer_lanes(monkeypatch):
    class FullOfLanes(StandIn):
        def record(self, take):
            if type(self).recorded == 0:
                type(self).recorded += 1
                raise RuntimeError("CUDNN_STATUS_ALLOC_FAILED")
            return super().record(take)

    with standing_in(monkeypatch, FullOfLanes):
        pictures = fv.render(small(), "norm:0:4", size=(17, 24), steps=8, lanes=4, redirect_steps=0)
    assert [picture.recipe["lanes"] for picture in pictures] == [2] * 4


def test_a_refusal_is_remembered_for_jobs_of_its_kind_and_said_once(monkeypatch):
    class Counting(Refusing):
        def record(self, take):
            type(self).recorded += 1
            return super().record(take)

    with standing_in(monkeypatch, Counting), warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        for units in ("norm:0:2", "norm:2:6", "norm:7"):
            fv.render(small(), units, size=(17, 24), steps=8, lanes=2, redirect_steps=0)
        assert Counting.recorded == 1
        fv.render(small(), "norm:0", size=(17, 24), steps=8, lanes=2, redirect_steps=0, learning_rate=0.1)
        assert Counting.recorded == 2  # another recipe may be another matter
    assert len([one for one in told if issubclass(one.category, FeatvisWarning)]) == 1


def test_a_waiting_objective_is_never_recorded(monkeypatch):
    """On the CPU nothing waits, so that a look at the device of the stand-in is looked at here."""

    @fv.objective(layers=["norm"])
    def halves(activations):
        return activations["norm"].mean((1, 2, 3)) / (1 + float(activations["norm"].detach().abs().max()))

    scores, images = climb(objective=halves)
    with pytest.warns(FeatvisWarning, match=r"waits for the device.*test_replay.py:\d+") as told:
        again, computed, _ = climb(monkeypatch, StandIn, objective=halves)
    assert len(told) == 1
    assert StandIn.recorded == 0
    assert torch.equal(again, scores)
    assert torch.equal(computed, images)


class Empty(StandIn):
    """What was recorded on the wrong device or stream: a replay does nothing."""

    class graph(Played):
        def replay(self):
            if self._recorder.replayed == 0:
                number = self._take.__self__._number
                before = number.clone()
                states = [(one, one.detach().clone()) for one in self._take.__self__._state()]
                self._take()  # so that there are scores, as after a capture; then all is as before
                with torch.no_grad():
                    number.copy_(before)
                    for one, value in states:
                        one.copy_(value)
            self._recorder.replayed += 1


class Wrong(StandIn):
    """Reads what is not there any more: another step's draws."""

    class graph(Played):
        def replay(self):
            self._recorder.replayed += 1
            number = self._take.__self__._number
            number.sub_(3)
            self._take()
            number.add_(3)


class NotANumber(StandIn):
    class graph(Played):
        def replay(self):
            super().replay()
            with torch.no_grad():
                for value in self._take.__self__._parameters:
                    value.fill_(torch.nan)


@pytest.mark.parametrize(
    ("kind", "why"),
    [(Empty, "does not move"), (Wrong, "differ"), (NotANumber, "not finite")],
    ids=["empty", "wrong", "not a number"],
)
@pytest.mark.parametrize("change", [{}, {"average": 0.8, "copies": 2}], ids=str)
def test_a_replay_that_is_not_the_step_is_found_said_once_and_undone(monkeypatch, kind, why, change):
    scores, images = climb(**change)
    options = {**OPTIONS, **change}
    with standing_in(monkeypatch, kind), warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        for _ in range(2):
            space = fv.FourierImage(size=(17, 24))
            steps = list(fv.ascend(small(), fv.channel("norm", 1), space, **options))
            assert torch.equal(torch.stack([step.scores for step in steps]), scores)
            assert torch.equal(steps[-1].images, images)
            assert not any(step.replayed for step in steps)
        assert kind.recorded == 1
    (line,) = [str(one.message) for one in told]
    assert "replayed steps differ from computed ones on cpu" in line
    assert why in line


def test_a_sound_replay_is_checked_once_for_jobs_of_its_kind(monkeypatch):
    with standing_in(monkeypatch):
        taken = []
        check = replay.Replaying._check
        monkeypatch.setattr(
            replay.Replaying, "_check", lambda self, graph: taken.append(1) or check(self, graph)
        )
        for units in ("norm:0:2", "norm:2:6"):
            fv.render(small(), units, size=(17, 24), steps=8, lanes=2, redirect_steps=0)
    assert len(taken) == 1


def test_a_step_that_is_not_finite_proves_nothing_of_its_kind(monkeypatch):
    broken = fv.objective(layers=["norm"])(lambda maps: maps["norm"].mean((1, 2, 3)) * torch.nan)
    with standing_in(monkeypatch):
        fv.render(small(), broken, size=(17, 24), steps=8, lanes=2, redirect_steps=0)
        assert StandIn.recorded == 1
        assert not replay._checked


def test_the_rate_and_the_step_count_of_a_replayed_step_are_tensors():
    from featvis.engine.optimizers import make_optimizer

    value = torch.zeros(3, requires_grad=True)
    recipe = fv.Recipe(optimizer="nadam", learning_rate=0.1)
    group = make_optimizer(recipe, [value], capturable=True).param_groups[0]
    assert torch.equal(group["lr"], torch.tensor(0.1))
    assert group["capturable"]


def test_a_folders_manifest_counts_replayed_and_computed_steps(monkeypatch, tmp_path):
    options = {"size": (17, 24), "steps": 10, "lanes": 2, "redirect_steps": 0, "out": tmp_path}
    with standing_in(monkeypatch):
        fv.render(small(), "norm:0:2", **options)
        fv.render(small(), "norm:2:3", **options)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["steps"] == {"replayed": 3 * (10 - WARM_UP), "computed": 3 * WARM_UP}
    fv.render(small(), "norm:3", **options)
    assert json.loads((tmp_path / "manifest.json").read_text())["steps"] == manifest["steps"]


def test_on_a_cpu_there_is_nothing_to_count(tmp_path):
    fv.render(small(), "norm:0", size=(17, 24), steps=2, out=tmp_path)
    assert "steps" not in json.loads((tmp_path / "manifest.json").read_text())
