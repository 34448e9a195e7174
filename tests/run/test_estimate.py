"""What a dry run times stands for what would be run."""

from __future__ import annotations

import pytest
import torch

from featvis.plan.wanted import Job, Wanted
from featvis.run import estimate
from featvis.spec.recipe import Recipe


@pytest.fixture
def timed(monkeypatch):
    """The jobs that are timed, each of which takes a second for each lane and step."""
    jobs = []

    def time(job, model, weights, *, redirect_steps):
        jobs.append(job)
        return float(job.recipe.lanes), 0.0

    monkeypatch.setattr(estimate, "_time_steps", time)
    return jobs


class Model:
    device = torch.device("cpu")


class Bound:
    layers = ("a",)

    def stacks_with(self):
        return "a"

    def place(self):
        return None


def told(count, **fields):
    recipe = Recipe(**{"size": (64, 96), "steps": 10, "redirect_steps": 0, **fields})
    objective = type(
        "Bound", (), {"layers": ("a",), "stacks_with": lambda self: "a", "place": lambda self: None}
    )()
    wanted = [Wanted(objective, f"a:{unit}", recipe) for unit in range(count)]
    (cost,), _ = estimate.estimate(wanted, Model, "")
    return cost


def test_so_many_lanes_are_not_climbed_to_be_timed(timed):
    cost = told(9000, lanes=4000)
    assert (cost.jobs, cost.lanes) == (3, 4000)
    assert timed[0].recipe.lanes <= 64
    assert cost.seconds == pytest.approx(3 * 10 * 4000)


def test_a_few_lanes_are_timed_as_they_are(timed):
    cost = told(9, lanes=4)
    assert timed[0].recipe.lanes == 4
    assert cost.seconds == pytest.approx(3 * 10 * 4)


def test_many_lanes_of_a_large_canvas_are_fewer_and_smaller(timed):
    cost = told(64, lanes=64, size=(1024, 2048))
    ran = timed[0].recipe
    assert ran.lanes * ran.size[0] * ran.size[1] <= 1 << 20
    assert cost.seconds == pytest.approx(10 * 64 * (1024 * 2048) / (ran.size[0] * ran.size[1]))


def test_the_pictures_of_a_set_are_timed_together(timed):
    job = Job((Wanted(None, "a:0", Recipe(size=(512, 512), lanes=64), mates=(0, 64)),))
    assert estimate._fewer(job, 1, 1) == (job, 1.0)
