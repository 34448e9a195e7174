"""Lanes and precision by measurement: the fastest is taken, shown, and kept by the folder for ever."""

from __future__ import annotations

import json

import pytest
import torch

import featvis as fv
from featvis.cli import main
from featvis.plan.make import make_plan
from featvis.plan.wanted import make_jobs
from featvis.run import tuning
from tests.networks import small
from tests.standin import Played, StandIn, standing_in

OPTIONS = {"size": (17, 24), "steps": 3}


@pytest.fixture
def clock(monkeypatch):
    """Instead of a measurement: milliseconds by (lanes, precision), and what was asked."""
    asked = []
    speeds = {}

    def measure(wanted, lanes, precision, model, weights):
        asked.append((lanes, precision))
        found = speeds[lanes, precision]
        if isinstance(found, Exception):
            raise found
        return found

    monkeypatch.setattr(tuning, "_milliseconds", measure)
    return speeds, asked


def chosen(**asked):
    plan = make_plan(small(), "norm:all", **OPTIONS)
    return tuning.choose(plan.wanted, plan.model, plan.weights, **{"lanes": True, "precision": True, **asked})


def test_the_fastest_is_taken(clock):
    speeds, asked = clock
    speeds |= {(4, "float32"): 3.0, (8, "float32"): 2.0, (4, "bfloat16"): 1.5, (8, "bfloat16"): 2.5}
    choice = chosen()
    assert (choice.lanes, choice.precision) == (4, "bfloat16")
    assert set(choice.measured) == {f"{lanes} lanes {kind}" for lanes, kind in speeds}
    assert len(asked) == 4, "eight units need no more than eight lanes"


def test_a_little_is_not_worth_more_lanes(clock):
    clock[0].update({(4, "float32"): 2.0, (8, "float32"): 1.95})
    assert chosen(precision=False).lanes == 4


def test_what_runs_out_of_memory_is_no_choice(clock):
    clock[0].update({(4, "float32"): 2.0, (8, "float32"): MemoryError()})
    assert chosen(precision=False).lanes == 4
    clock[0].update({(4, "float32"): RuntimeError("a bug")})
    with pytest.raises(RuntimeError, match="a bug"):
        chosen(precision=False)


def test_only_what_was_asked_is_tried(clock):
    clock[0].update({(8, "float32"): 2.0, (8, "bfloat16"): 1.0})
    assert chosen(lanes=False).precision == "bfloat16"
    assert clock[1] == [(8, "float32"), (8, "bfloat16")], "the recipe's own lanes"


def test_a_folder_keeps_its_first_choice(clock, tmp_path):
    speeds, asked = clock
    speeds |= {(4, "float32"): 2.0, (8, "float32"): 1.0}
    first = fv.render(small(), "norm:0:5", out=tmp_path, lanes="auto", **OPTIONS)
    assert {picture.recipe["lanes"] for picture in first} == {8}
    speeds[4, "float32"] = 0.1  # another day, another speed
    asked.clear()
    again = fv.render(small(), "norm:0:8", out=tmp_path, lanes="auto", **OPTIONS)
    assert not asked
    assert {picture.recipe["lanes"] for picture in again} == {8}
    (tmp_path / "manifest.json").unlink()
    fv.render(small(), "norm:0:8", out=tmp_path, lanes="auto", **OPTIONS)
    assert not asked, "nor does a lost manifest change it"
    fv.render(small(), "norm:0:2", out=tmp_path, lanes="auto", **{**OPTIONS, "steps": 4})
    assert asked, "another recipe is another choice"


@pytest.mark.slow
def test_a_real_measurement(tmp_path, capsys):
    arguments = ["render", "blocks.1:0:3", "--size", "32x40", "--steps", "2", "--recipe", "fast"]
    arguments += ["--lanes", "auto", "--precision", "auto", "--out", str(tmp_path / "out")]
    assert main([*arguments, "--dry-run"]) == 0
    told = capsys.readouterr()
    assert "blocks.1: 4 lanes, " in told.err
    assert "4 lanes bfloat16" in told.err
    assert not (tmp_path / "out").exists()
    assert main(arguments) == 0
    made = json.loads((tmp_path / "out" / "manifest.json").read_text("utf-8"))
    assert made["recipe"]["lanes"] == 4


@pytest.mark.parametrize("option", [["--lanes", "many"], ["--precision", "float8"], ["--lanes", "0"]])
def test_anything_else_is_refused(option, tmp_path, capsys):
    assert main(["render", "blocks.1:0", *option, "--out", str(tmp_path / "x")]) == 2
    assert option[0].removeprefix("--") in capsys.readouterr().err


class Clock:
    """A clock on which a step that the host takes lasts a second, and one that is replayed a tenth."""

    def __init__(self, monkeypatch):
        self.now, self.replays = 0.0, False
        for module in ("tuning", "estimate"):
            monkeypatch.setattr(f"featvis.run.{module}.time", self)

    def perf_counter(self):
        return self.now


def test_what_auto_and_the_forecast_time_are_replayed_steps(monkeypatch):
    """The first steps of every run are taken by the host: a card's are several times slower."""
    from featvis.run.estimate import _time_steps, estimate

    clock = Clock(monkeypatch)

    class Swift(StandIn):
        class graph(Played):
            def replay(self):
                clock.replays = True
                super().replay()
                clock.replays = False

    @fv.objective(layers=["norm"])
    def timed(activations):
        if torch.is_grad_enabled():
            clock.now += 0.1 if clock.replays else 1.0
        return activations["norm"].mean((1, 2, 3))

    plan = make_plan(small(), timed, **OPTIONS, lanes=2, redirect_steps=0)
    with standing_in(monkeypatch, Swift):
        took = tuning._milliseconds(plan.wanted, 2, "float32", plan.model, plan.weights)
        assert took * 2 == pytest.approx(100)
        (job,) = make_jobs(plan.wanted)
        seconds, around = _time_steps(job, plan.model, plan.weights, redirect_steps=0)
        assert seconds == pytest.approx(0.1)
        assert around > 3, "the steps that warm up are told, too"
        # Steps that wake dead units are never replayed.
        redirected, _ = _time_steps(job, plan.model, plan.weights, redirect_steps=3)
        assert redirected == pytest.approx(1)
        long = make_plan(small(), timed, size=(17, 24), steps=100, lanes=2, redirect_steps=10)
        (cost,), _ = estimate(long.wanted, plan.model, plan.weights)
        assert cost.seconds == pytest.approx(10 * 1 + 90 * 0.1 + around, abs=2)


def test_on_a_cpu_the_same_measurement_takes_few_steps():
    plan = make_plan(small(), "norm:0:2", **OPTIONS)
    assert tuning._milliseconds(plan.wanted, 2, "float32", plan.model, plan.weights) > 0
