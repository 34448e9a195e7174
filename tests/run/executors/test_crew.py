"""Jobs for workers elsewhere, in one process: the same pictures whatever is lost, and every error is told."""

from __future__ import annotations

import random
from collections import Counter, deque

import pytest
import torch
from torch import nn

import featvis as fv
from featvis.plan.make import make_plan
from featvis.run.candidates import keep_best
from featvis.run.executors import crew
from featvis.run.executors.crew import Done, Lost, LostError, Ready, make_shares, share_out
from featvis.run.executors.local import local
from featvis.run.executors.parcels import Packer
from featvis.run.executors.worker import Worker, versions
from featvis.spec import register
from tests.networks import handle, small

cloudpickle = pytest.importorskip("cloudpickle", reason="no cloudpickle on this machine")
OPTIONS = {"size": (17, 24), "steps": 2, "lanes": 2, "redirect_steps": 2}


class Here:
    """Workers that are objects of this process; each wait lets one of them do one thing."""

    def __init__(self, packer, loses=lambda worker, names: False, about=None, blameless=False):
        self.packer, self.loses, self._about, self._blameless = packer, loses, about, blameless
        self.chance = random.Random(5)
        self.workers, self.given, self.done = {}, {}, Counter()
        self.most_at_once, self.started, self.stopped = 0, 0, False

    def start(self):
        self.started += 1
        self.workers[self.started] = None
        self.given[self.started] = deque()
        return self.started

    def give(self, worker, content):
        self.given[worker].append(content)
        self.most_at_once = max(self.most_at_once, len(self.given[worker]))

    def wait(self, seconds):
        busy = [one for one in self.workers if self.workers[one] is None or self.given[one]]
        worker = self.chance.choice(busy)
        if self.workers[worker] is None:
            self.workers[worker] = Worker(self.packer.network, "cpu")
            return [Ready(worker, {**self.workers[worker].about(), **(self._about or {})})]
        content = self.given[worker].popleft()
        names = [item.name for item in self.workers[worker]._unpacker.job(content).wanted]
        if self.loses(worker, names):
            del self.workers[worker]
            return [Lost(worker, "it was taken away", self._blameless)]
        self.done.update(names)
        return [Done(worker, self.workers[worker].do(content))]

    def stop(self):
        self.stopped = True


def run(plan, workers=3, failed=None, say=None, crew=None, **settings):
    packer = Packer(plan.model, cloudpickle)
    cluster = Here(packer, **settings)
    pack = lambda job: packer.job(job, plan.weights, goes_on=failed is not None)  # noqa: E731
    made = share_out(make_shares(plan.wanted), cluster, pack, workers, say=say, failed=failed, crew=crew)
    return cluster, made


def pngs(pictures):
    return {(picture.target, picture.seed, picture.chosen): picture.png() for picture in pictures}


def alone(plan):
    return pngs(local(plan.wanted, plan.model, plan.weights))


def test_the_same_pictures_as_here_with_two_jobs_at_a_time():
    plan, counts = make_plan(small(), "norm:all", **{**OPTIONS, "lanes": 1}), []
    cluster, made = run(plan, workers=2, crew=counts.append)
    assert pngs(made) == alone(plan)
    assert (cluster.most_at_once, cluster.stopped, counts) == (2, True, [1, 2])


def test_no_more_workers_than_jobs_and_none_has_two_while_another_has_none():
    plan = make_plan(small(), "norm:0:4", **{**OPTIONS, "lanes": 1})
    cluster, made = run(plan, workers=9)
    assert len(list(made)) == 4
    assert (cluster.started, cluster.most_at_once) == (4, 1)


def test_what_is_lost_is_done_again_and_said():
    plan = make_plan(small(), "norm:all", seeds=4, **OPTIONS)
    chance, said, counts = random.Random(2), [], []
    taken = Counter()

    def loses(worker, names):
        if sum(taken.values()) < 5 and not taken[names[0]] and chance.random() < 0.5:
            taken[names[0]] += 1
            return True
        return False

    cluster, made = run(plan, say=said.append, crew=counts.append, loses=loses)
    assert pngs(made) == alone(plan)
    assert sum(taken.values()) == 5
    assert sum("a worker was lost" in line and "it was taken away" in line for line in said) == 5
    assert counts[-1] == 3, "there are as many workers as before"
    assert cluster.started == 8


def test_a_job_that_two_workers_were_lost_with_has_failed_and_the_rest_goes_on():
    plan, told = make_plan(small(), "norm:all", **{**OPTIONS, "lanes": 1}), []
    cluster, made = run(
        plan,
        loses=lambda worker, names: "norm:3" in names,
        failed=lambda one, why: told.append((one.name, why)),
    )
    assert {picture.unit for picture in made} == {0, 1, 2, 4, 5, 6, 7}
    assert told == [("norm:3", "2 workers were lost with it: it was taken away")]
    assert max(cluster.done.values()) == 1, "who waited behind it was not blamed, and is not done twice"


def test_without_anybody_to_tell_it_is_raised():
    plan = make_plan(small(), "norm:0:4", **{**OPTIONS, "lanes": 1})
    cluster, made = run(plan, loses=lambda worker, names: "norm:3" in names)
    with pytest.raises(LostError, match="norm:3: 2 workers were lost with it"):
        list(made)
    assert cluster.stopped


def test_a_machine_that_is_taken_away_is_nobodys_fault():
    plan, lost = make_plan(small(), "norm:0", **OPTIONS), []
    cluster, made = run(
        plan, workers=1, blameless=True, loses=lambda worker, names: len(lost) < 3 and not lost.append(names)
    )
    assert pngs(made) == alone(plan)
    assert cluster.started == 4


def test_workers_that_only_die_are_given_up():
    plan = make_plan(small(), "norm:all", **{**OPTIONS, "lanes": 1})
    packer = Packer(plan.model, cloudpickle)

    class Frail(Here):
        def wait(self, seconds):
            return [Lost(self.started, "it has no torch")]

    cluster = Frail(packer)
    pack = lambda job: packer.job(job, plan.weights, goes_on=True)  # noqa: E731
    with pytest.raises(LostError, match="5 workers were lost before any was ready: it has no torch"):
        list(share_out(make_shares(plan.wanted), cluster, pack, 2, failed=print))
    assert cluster.stopped


def test_machines_that_go_again_and_again_are_given_up_too():
    plan, told = make_plan(small(), "norm:0:2", **{**OPTIONS, "lanes": 1}), []
    _, made = run(
        plan,
        blameless=True,
        loses=lambda worker, names: "norm:1" in names,
        failed=lambda one, why: told.append((one.name, why)),
    )
    assert [picture.target for picture in made] == ["norm:0"]
    assert told == [("norm:1", "5 workers were lost with it: it was taken away")]


@pytest.mark.parametrize("name", list(versions()))
def test_workers_of_another_version_are_refused_before_the_first_job(name):
    plan = make_plan(small(), "norm:0", **OPTIONS)
    cluster, made = run(plan, about={name: "0.0.1"})
    with pytest.raises(fv.RecipeError, match=f"the workers have {name} 0.0.1, here it is {versions()[name]}"):
        list(made)
    assert not cluster.done
    assert cluster.stopped


def test_a_failing_picture_is_told_and_an_error_is_raised_as_it_is():
    @fv.objective(layers=["norm"])
    def breaks(activations):
        raise RuntimeError("no such luck")

    @fv.objective(layers=["norm"], name="asks")
    def asks(activations):
        raise fv.TargetError("a mistake of the user's")

    model = small()
    plan, told = make_plan(model, [breaks, "norm:1"], **OPTIONS), []
    _, made = run(plan, failed=lambda one, why: told.append((one, why)))
    assert [picture.target for picture in made] == ["norm:1"]
    ((item, why),) = told
    assert (item, "no such luck" in why) == (plan.wanted[0], True), "what this process asked for"
    with pytest.raises(RuntimeError, match="no such luck"):
        list(run(plan)[1])
    with pytest.raises(fv.TargetError, match=r"a mistake of the user's"):
        list(run(make_plan(model, asks, **OPTIONS))[1])


def test_the_best_of_candidates_dead_units_sets_and_early_stops_are_as_here():
    model = handle(Deaf(), (12, 12))
    plans = [
        make_plan(model, "conv:0:3", best_of=3, **OPTIONS),
        make_plan(model, "dead:0:2", attempts=2, **OPTIONS),
        make_plan(model, "conv:0:2", diverse=3, **{**OPTIONS, "lanes": 3}),
        make_plan(model, "conv:all", seeds=6, patience=4, **{**OPTIONS, "steps": 24}),
    ]
    for plan in plans:
        said, here = [], []
        expected = pngs(keep_best(local(plan.wanted, model, plan.weights, say=here.append)))
        assert pngs(keep_best(run(plan, say=said.append)[1])) == expected
        assert sorted(said) == sorted(here)
    assert len(make_shares(plans[-1].wanted)) == 3, "runs that stop early are shared, too"


class Deaf(nn.Module):
    def __init__(self):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            self.conv, self.dead = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 2, 3)
            nn.init.zeros_(self.dead.weight)

    def forward(self, images):
        return self.dead(self.conv(images))


def test_memory_that_runs_out_there_is_met_with_half_the_lanes(monkeypatch):
    from featvis.run.executors import local as module

    compute = module.run_job

    def scarce(job, *rest):
        if job.recipe.lanes > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return compute(job, *rest)

    plan, said = make_plan(small(), "norm:0:4", **{**OPTIONS, "lanes": 4}), []
    monkeypatch.setattr(module, "run_job", scarce)
    pictures = list(run(plan, say=said.append)[1])
    assert {picture.recipe["lanes"] for picture in pictures} == {2}
    assert all(
        picture.asked_key == plan.wanted[0].recipe.key(picture.target, 0, plan.weights)
        for picture in pictures
    )
    assert said == ["out of memory with 4 lanes; going on with 2"]


def test_networks_are_sent_once_and_are_the_workers_own():
    model, other = small(), small(size=(13, 9))
    photograph = torch.rand((3, 17, 24), generator=torch.Generator().manual_seed(3))
    ensemble = fv.ensemble((model, fv.channel("norm", 1)), (other, fv.logit(2), 0.5))
    plan = make_plan(model, [ensemble, fv.caricature("norm", photograph), "norm:0:4"], **OPTIONS)
    packer = Packer(model, cloudpickle)
    jobs = [packer.job(job, plan.weights, goes_on=False) for job in make_shares(plan.wanted)]
    assert packer.networks == [model, other]
    fetched = []
    worker = Worker(lambda number: fetched.append(number) or packer.network(number), "cpu")
    one, two = (worker._unpacker.job(job) for job in (jobs[0], jobs[0]))
    _, beside = (term for _, term in one.wanted[0].objective.terms)
    assert beside.model.module is not other.module
    assert beside.model is two.wanted[0].objective.terms[1][1].model, "each network is read once"
    assert sorted(fetched) == [1]
    assert pngs(run(plan)[1]) == alone(plan)
    big = len(packer.network(0))
    assert all(len(job) < big + 4 * photograph.numel() for job in jobs)


def test_a_part_of_ones_own_goes_along():
    transform = fv.transform(
        lambda images, uniform: images * (0.5 + 0.5 * uniform[:, :1, None, None]), name="own"
    )
    plan = make_plan(small(), "norm:0:3", **OPTIONS, transforms=[transform])
    packer = Packer(plan.model, cloudpickle)
    content = packer.network(0)
    del register._CLASSES["user", "own"]
    try:
        Worker(lambda number: content, "cpu").about()
        assert ("user", "own") in register._CLASSES
        assert pngs(run(plan)[1]) == alone(plan)
    finally:
        register._CLASSES.pop(("user", "own"))


def test_a_network_that_cannot_be_sent_is_named_with_the_part_that_cannot():
    class Held(nn.Conv2d):
        def __getstate__(self):
            raise TypeError("it holds a lock")

    model = handle(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Sequential(Held(4, 4, 3))), (12, 12))
    with pytest.raises(
        fv.ModelError, match=r"other processes: '1.0' \(Held\) cannot be pickled: TypeError: it"
    ):
        Packer(model, cloudpickle).network(0)


def test_it_is_said_where_no_worker_starts(monkeypatch):
    plan, said, waits = make_plan(small(), "norm:0", **OPTIONS), [], []
    monkeypatch.setattr(crew, "PATIENCE", 0.0)

    class Full(Here):
        def wait(self, seconds):
            waits.append(seconds)
            return super().wait(seconds) if len(waits) > 3 else []

    packer = Packer(plan.model, cloudpickle)
    cluster = Full(packer)
    pack = lambda job: packer.job(job, plan.weights, goes_on=False)  # noqa: E731
    assert len(list(share_out(make_shares(plan.wanted), cluster, pack, 1, say=said.append))) == 1
    assert [line for line in said if "no worker has started yet" in line] == said[:1] == said
