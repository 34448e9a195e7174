"""Jobs on this machine: memory that runs out, and errors that are nobody's business but the user's."""

from __future__ import annotations

import gc

import pytest
import torch

import featvis as fv
from featvis.plan.make import make_plan
from featvis.plan.wanted import make_jobs
from featvis.run.executors import local
from tests.networks import small

OPTIONS = {"size": (17, 24), "steps": 2, "lanes": 8}


@pytest.fixture(scope="module")
def model():
    return small()


@pytest.fixture
def scarce(monkeypatch):
    """Memory for two lanes; tells the widths that were tried."""
    tried, run = [], local.run_job

    def fake(job, *args, **kwargs):
        tried.append(job.recipe.lanes)
        if job.recipe.lanes > 2:
            raise scarce_error()
        return run(job, *args, **kwargs)

    monkeypatch.setattr(local, "run_job", fake)
    return tried


def scarce_error():
    return torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")


def test_memory_that_runs_out_is_met_with_half_the_lanes(model, scarce, tmp_path):
    pictures = fv.render(model, "norm:0:5", out=tmp_path, **OPTIONS)
    assert scarce[:2] == [8, 4]
    assert set(scarce[2:]) == {2}
    assert [picture.target for picture in pictures] == [f"norm:{unit}" for unit in range(5)]
    for picture in pictures:
        assert picture.recipe["lanes"] == 2, "the recipe as it was used"
        assert picture.asked_key is not None
        assert picture.asked_key == fv.Recipe(**{**picture.recipe, "lanes": 8}).key(
            picture.target, 0, picture.weights
        )
    scarce.clear()
    again = fv.render(model, "norm:0:5", out=tmp_path, **OPTIONS)
    assert scarce == [], "nothing is rendered again"
    assert [picture.png() for picture in again] == [picture.png() for picture in pictures]
    path = tmp_path / "norm" / "0003.png"
    assert fv.reproduce(path, model).png() == path.read_bytes()


def test_they_are_the_pictures_of_the_smaller_recipe(model, scarce):
    fewer = fv.render(model, "norm:0:3", **{**OPTIONS, "lanes": 2})
    for one, other in zip(fv.render(model, "norm:0:3", **OPTIONS), fewer, strict=True):
        assert (one.levels == other.levels).all()
        assert one.key == other.key
        assert (other.asked_key is None) < (one.asked_key is None) or other.asked_key is None


def test_pictures_that_were_finished_before_are_kept(model, monkeypatch, tmp_path):
    run, ran = local.run_job, []

    def fake(job, *args, **kwargs):
        ran.append((job.recipe.lanes, [one.unit for one in job.wanted]))
        if job.recipe.lanes == 4 and len(ran) > 1:
            raise scarce_error()
        return run(job, *args, **kwargs)

    monkeypatch.setattr(local, "run_job", fake)
    pictures = fv.render(model, "norm:0:8", out=tmp_path, **{**OPTIONS, "lanes": 4})
    assert ran == [(4, [0, 1, 2, 3]), (4, [4, 5, 6, 7]), (2, [4, 5]), (2, [6, 7])]
    assert [picture.recipe["lanes"] for picture in pictures] == [4] * 4 + [2] * 4
    ran.clear()
    fv.render(model, "norm:0:8", out=tmp_path, **{**OPTIONS, "lanes": 4})
    assert ran == []


def test_jobs_of_another_recipe_keep_their_lanes(model, monkeypatch):
    run, ran = local.run_job, []

    def fake(job, *args, **kwargs):
        ran.append((job.wanted[0].layer, job.recipe.lanes))
        if job.wanted[0].layer == "norm" and job.recipe.lanes > 2:
            raise scarce_error()
        return run(job, *args, **kwargs)

    monkeypatch.setattr(local, "run_job", fake)
    # Classes and channels have two default recipes.
    fv.render(model, ["norm:0", "fc:1"], size=(17, 24), steps=2, lanes=4)
    assert ran[0] == ("norm", 4)
    assert ("norm", 2) in ran


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:116] DefaultCPUAllocator: can't allocate memory: you tried"
        ),
        RuntimeError("MPS backend out of memory (MPS allocated: 1 GB)"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_at_one_lane_the_error_comes_out(model, monkeypatch, error):
    lanes = []

    def fake(job, *args, **kwargs):
        lanes.append(job.recipe.lanes)
        raise error

    monkeypatch.setattr(local, "run_job", fake)
    with pytest.raises(type(error)):
        fv.render(model, "norm:0", **{**OPTIONS, "lanes": 5})
    assert lanes == [5, 2, 1]


@pytest.mark.parametrize(
    "error",
    [RuntimeError("mat1 and mat2 shapes cannot be multiplied"), ValueError("no"), KeyboardInterrupt()],
)
def test_t19_no_other_error_is_swallowed(model, monkeypatch, error):
    count = []

    def fake(*args, **kwargs):
        count.append(1)
        raise error

    monkeypatch.setattr(local, "run_job", fake)
    with pytest.raises(type(error)):
        fv.render(model, "norm:0", **OPTIONS)
    assert count == [1], "nor tried again"


def test_what_happens_is_said(model, scarce):
    planned, said = make_plan(model, "norm:0:2", **OPTIONS), []
    list(local.local(planned.wanted, model, planned.weights, say=said.append))
    assert said == [
        "out of memory with 8 lanes; going on with 4",
        "out of memory with 4 lanes; going on with 2",
    ]


@pytest.mark.parametrize(
    ("count", "lanes", "jobs"), [(5, 8, [5]), (8, 8, [8]), (9, 4, [4, 4, 1]), (3, 1, [1, 1, 1])]
)
def test_pictures_are_planned_into_jobs_of_so_many_lanes(model, count, lanes, jobs):
    planned = make_plan(
        model, "conv1:0:5" if count <= 5 else "conv1:0:6", seeds=1, **{**OPTIONS, "lanes": lanes}
    )
    wanted = (planned.wanted * 2)[:count]
    assert [len(job.wanted) for job in make_jobs(wanted)] == jobs


def test_layers_and_kinds_do_not_share_a_job(model):
    planned = make_plan(model, ["norm:0", "conv1:0", "norm:1", "norm:2@1,1", "norm:3@2,2"], **OPTIONS)
    found = [[one.name for one in job.wanted] for job in make_jobs(planned.wanted)]
    assert found == [["norm:0", "norm:1"], ["conv1:0"], ["norm:2@1,1", "norm:3@2,2"]]


def test_the_order_asked_for_is_the_order_returned(model):
    wishes = ["fc:1", "norm:2", "conv1:3", "norm:0", "fc:0", "norm:4@1,1"]
    assert [picture.target for picture in fv.render(model, wishes, **OPTIONS)] == wishes


def test_t41_memory_does_not_grow_with_calls(model):
    def alive():
        gc.collect()
        return sum(issubclass(type(one), torch.Tensor) for one in gc.get_objects())

    fv.render(model, "norm:0", **OPTIONS)
    before = alive()
    for _ in range(5):
        fv.render(model, "norm:0", **OPTIONS)
    assert alive() <= before
