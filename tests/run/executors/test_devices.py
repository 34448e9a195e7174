"""Several devices, one thread each: the same pictures, and every error and interruption is heard of."""

from __future__ import annotations

import threading

import pytest
import torch
from torch import nn

import featvis as fv
from featvis.plan.make import make_plan
from featvis.run.executors.devices import replicas, spread
from featvis.run.executors.local import local
from tests.networks import Small, handle, seeded, small

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
    assert replicas(planned.model, 4) == [planned.model]


PHOTOGRAPH = torch.rand((3, 17, 24), generator=torch.Generator().manual_seed(3))
OTHER = handle(seeded(Small, 2), (13, 9))


def of_photographs(model):
    return [fv.caricature("norm", PHOTOGRAPH.roll(shift, 2)) for shift in range(8)]


def of_style(model):
    return [fv.match("norm", PHOTOGRAPH) + fv.style(["conv1"], PHOTOGRAPH.roll(n, 1)) for n in range(4)]


def of_several_networks(model):
    climbed = [fv.ensemble((model, fv.channel("norm", n)), (OTHER, fv.logit(n), 0.5)) for n in range(3)]
    third = small()
    return [*climbed, fv.ensemble((third, fv.channel("norm", 1)), (OTHER, fv.logit(2)))]


def of_accentuations(model):
    layers = ("conv1", None)
    return [fv.accentuation(fv.logit(n), PHOTOGRAPH, layer=layers[n % 2]) for n in range(4)]


def of_own_tensors(model):
    vectors = torch.rand((2, 8), generator=torch.Generator().manual_seed(5)) + 0.1
    return [
        *(fv.direction("norm", vector) for vector in vectors),
        fv.weighted("norm", {3: 1.0, 7: -0.5}),
        fv.tensor_direction("norm", vectors.view(8, 1, 2)),
        fv.facet(fv.channel("norm", 1), {"relu1": torch.ones(6)}),
        fv.neuron("conv2", 3, (4, 6)),
        fv.within(fv.channel("norm", 1), 1.0, 2.0),
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    "objectives", [of_photographs, of_style, of_several_networks, of_accentuations, of_own_tensors]
)
def test_whatever_an_objective_holds_the_pictures_are_the_same_every_time(objectives):
    """Twenty times: what two workers share is changed by one while the other reads it, or it is not."""
    model = small()
    models = [model, model.copy(device="cpu")]
    plans = [make_plan(model, objective, **OPTIONS, seeds=2) for objective in objectives(model)]
    wanted, weights = [item for plan in plans for item in plan.wanted], plans[0].weights
    # Several seeds of one objective are one job: the second worker must keep them one.
    alone = {(p.target, p.seed): p.png() for p in local(wanted, models[0], weights)}
    assert len(alone) == len(wanted)
    for _ in range(20):
        spreads = spread(wanted, models, weights)
        assert {(p.target, p.seed): p.png() for p in spreads} == alone


def test_an_attention_head_reads_its_own_copy_of_the_weights():
    model = fv.load_model(seeded(Attentive), mean=(0.5,) * 3, std=(0.5,) * 3, input_size=(16, 16))
    other = model.copy(device="cpu")
    bound = fv.attention_head("block.attn", 1, "query", 2).bind(other.at((16, 16)))
    assert bound._inside.weight.data_ptr() == other.module.block.attn.in_proj_weight.data_ptr()
    assert bound._inside.weight.data_ptr() != model.module.block.attn.in_proj_weight.data_ptr()


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.ln_1 = nn.LayerNorm(8)
        self.attn = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, tokens):
        read = self.ln_1(tokens)
        return tokens + self.attn(read, read, read, need_weights=False)[0]


class Attentive(nn.Module):
    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 4, stride=4)
        self.block = Block()

    def forward(self, images):
        return self.block(self.patches(images).flatten(2).mT)


def test_no_more_copies_of_the_network_than_there_are_jobs(monkeypatch):
    model = small()
    made = []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 8)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: "a card")
    monkeypatch.setattr(type(model), "device", torch.device("cuda", 0))
    monkeypatch.setattr(type(model), "copy", lambda self, device: made.append(device) or self)
    model.spreads = True
    assert len(replicas(model, 1)) == 1
    assert len(replicas(model, 3)) == 3
    assert made == [torch.device("cuda", 1), torch.device("cuda", 2)]
    assert len(replicas(model, 100)) == 8
    model.spreads = False
    assert len(replicas(model, 100)) == 1


def test_a_copy_for_another_device_folds_and_cuts_as_the_network_does():
    model = small()
    model.window("conv2", (4, 6), (17, 24))
    model._trusted_pairs()
    other = model.copy(device="cpu")
    assert other._pairs == model._pairs != []
    assert other._windows == model._windows != {}
    assert other.at((17, 24)).module is other.module
    assert other._pairs is not model._pairs
