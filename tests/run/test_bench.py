"""The bench measures the real engine beside the bare pass and leaves the network as it was."""

import importlib
import json

import pytest
import torch

import featvis as fv
from featvis.cli import main
from featvis.run.bench import _Clock, _TimedObjective, bench
from tests.networks import Small, handle, seeded, small


@pytest.fixture(scope="module")
def found():
    return bench(small(), "norm", rounds=3, size=(24, 32), lanes=2, steps=10)


def test_the_figures_fit_together(found):
    assert found.efficiency == pytest.approx(found.bare_ms / found.step_ms)
    assert found.pictures_per_minute == pytest.approx(60_000 / (found.step_ms * 10))
    assert 0 < found.bare_ms < found.step_ms
    assert found.peak_mb > 1
    assert found.device == "cpu, 1 threads"
    assert (found.size, found.lanes, found.steps) == ((24, 32), 2, 10)


def test_the_breakdown_has_every_part(found):
    parts = {"image space", "transforms", "forward", "objective", "backward", "optimizer", "host"}
    assert set(found.breakdown) == parts
    assert all(value >= 0 for value in found.breakdown.values())
    assert all(found.breakdown[name] > 0 for name in ("forward", "backward", "transforms", "optimizer"))


def test_the_parts_of_a_step_add_up_to_the_step(monkeypatch):
    ticks = iter([0.0, 1.0, 3.0, 4.0, 9.0, 10.0, 16.0])
    monkeypatch.setattr("featvis.run.bench.time.perf_counter", lambda: next(ticks))
    clock = _Clock(torch.device("cpu"))  # 0
    with clock.part("forward"):  # 1 to 3
        pass
    clock.hand_over(None, "backward")  # 4
    clock.hand_over("backward", "optimizer")  # 9
    clock.hand_over("optimizer", None)  # 10
    clock.turn()  # 16
    assert clock.times == {"forward": [2.0], "backward": [5.0], "optimizer": [1.0], "host": [8.0]}


def test_the_network_is_given_back_and_the_clock_taken_down():
    model = small()
    before = [(parameter.requires_grad, parameter.data_ptr()) for parameter in model.module.parameters()]
    bench(model, "norm", rounds=1, size=(24, 32), lanes=2)
    assert [(p.requires_grad, p.data_ptr()) for p in model.module.parameters()] == before
    assert not any(module._forward_hooks for module in model.module.modules())
    hooks = importlib.import_module("torch.optim.optimizer")
    assert not hooks._global_optimizer_pre_hooks
    assert not hooks._global_optimizer_post_hooks


def test_penalties_are_timed_too():
    measured = bench(small(), "fc", rounds=1, recipe=fv.Recipe.load("portrait"), size=(24, 32), lanes=2)
    assert measured.step_ms > 0


def test_an_objective_that_looks_at_other_networks_is_timed_as_it_is():
    def climbed(wrap):
        one, other = small(), handle(seeded(Small, seed=9), (17, 24))
        target = fv.ensemble((one, fv.channel("conv2", 1)), (other, fv.channel("conv2", 1)))
        space = fv.PixelImage(size=(17, 24))
        return [step.scores for step in fv.ascend(one, wrap(target), space, steps=2)]

    clock = _Clock(torch.device("cpu"))
    plain, timed = climbed(lambda one: one), climbed(lambda one: _TimedObjective(one, clock))
    assert all(torch.equal(*both) for both in zip(plain, timed, strict=True))
    assert clock._open["objective"] > 0


@pytest.mark.usefixtures("embedded_once")
def test_the_command_writes_its_figures(tmp_path, capsys):
    path = tmp_path / "bench.json"
    typed = ["bench", "--layer", "blocks.0", "--size", "32x48", "--lanes", "2", "--rounds", "2"]
    assert main([*typed, "--json", str(path)]) == 0
    assert "efficiency" in capsys.readouterr().out
    told = json.loads(path.read_text())
    keys = {"bare_ms", "step_ms", "efficiency", "pictures_per_minute", "peak_mb", "device", "breakdown"}
    assert keys <= set(told)
    assert told["size"] == [32, 48]


@pytest.mark.parametrize("typed", [["--rounds", "0"], ["--layer", "blokcs.0"], ["--lanes", "0"]])
def test_mistakes_are_one_line(typed, capsys):
    assert main(["bench", *typed]) == 2
    assert capsys.readouterr().err.count("\n") == 1
