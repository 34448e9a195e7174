"""Several devices, one thread each: the same pictures, and every error and interruption is heard of."""

from __future__ import annotations

import threading

import pytest

from featvis.plan.make import make_plan
from featvis.run.executors.devices import replicas, spread
from featvis.run.executors.local import local
from tests.networks import small

OPTIONS = {"size": (17, 24), "steps": 4, "lanes": 2, "redirect_steps": 2}


@pytest.fixture(scope="module")
def planned():
    return make_plan(small(), "norm:all", **OPTIONS)


def pair(planned):
    return [planned.model, planned.model.copy(device="cpu")]


def pngs(pictures):
    return {picture.target: picture.png() for picture in pictures}


def test_the_same_pictures_as_on_one(planned):
    alone = pngs(local(planned.wanted, planned.model, planned.weights))
    threads, steps = set(), []

    def watch(step):
        threads.add(threading.current_thread().name)
        steps.append(step)

    assert pngs(spread(planned.wanted, pair(planned), planned.weights, watch=watch)) == alone
    assert len(threads) == 2, "both had work"
    assert len(steps) == 4 * OPTIONS["steps"]


def test_an_error_is_raised_and_the_networks_are_given_back(planned):
    models = pair(planned)

    def watch(step):
        raise ValueError("a user's mistake")

    with pytest.raises(ValueError, match="a user's mistake"):
        list(spread(planned.wanted, models, planned.weights, watch=watch))
    for model in models:
        assert not any("forward" in one.__dict__ for one in model.module.modules())
        assert all(parameter.requires_grad for parameter in model.module.parameters())


def test_a_run_that_is_dropped_ends_its_workers(planned):
    before = threading.active_count()
    run = spread(planned.wanted, pair(planned), planned.weights)
    next(run)
    run.close()
    assert threading.active_count() == before


def test_a_failing_picture_is_told_and_the_rest_goes_on(planned, monkeypatch):
    from featvis.run.executors import local

    run = local.run_job

    def fails(job, *rest):
        if any(one.unit == 3 for one in job.wanted):
            raise RuntimeError("no such luck")
        return run(job, *rest)

    monkeypatch.setattr(local, "run_job", fails)
    told = []
    made = spread(
        planned.wanted, pair(planned), planned.weights, failed=lambda one, why: told.append((one.unit, why))
    )
    assert {picture.unit for picture in made} == {0, 1, 2, 4, 5, 6, 7}
    assert told == [(3, "no such luck")]


def test_a_cpu_has_no_further_devices(planned):
    assert replicas(planned.model) == [planned.model]
