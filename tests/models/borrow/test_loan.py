"""A borrowed network is whole on every way out: nested, interleaved, from several threads at once."""

from __future__ import annotations

import threading

import pytest
import torch
from torch import nn

import featvis as fv
from featvis.models.borrow.tap import borrowed
from tests.networks import Small, handle, seeded, small
from tests.test_borrowed import state_of

OPTIONS = {"size": (17, 24), "steps": 6, "lanes": 2}


def weights_of(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def run_together(*works):
    """Run each in a thread of its own; return what they gave, in order."""
    found, failures = [None] * len(works), []
    barrier = threading.Barrier(len(works))

    def run(place, work):
        try:
            barrier.wait()
            found[place] = work()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=pair, daemon=True) for pair in enumerate(works)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive(), "a thread hangs"
    if failures:
        raise failures[0]
    return found


def test_two_threads_on_one_handle_make_what_each_makes_alone():
    model = small()
    alone = [fv.render(model, target, **OPTIONS)[0].png() for target in ("norm:1", "fc:2")]
    before, weights = state_of(model.module), weights_of(model.module)
    for _ in range(5):
        together = run_together(
            lambda: fv.render(model, "norm:1", **OPTIONS)[0].png(),
            lambda: fv.render(model, "fc:2", **OPTIONS)[0].png(),
        )
        assert [png == other for png, other in zip(together, alone, strict=True)] == [True, True]
    assert state_of(model.module) == before
    assert same(weights_of(model.module), weights)


@pytest.mark.slow
def test_fifty_pairs_of_threads():
    model = small()
    targets = [f"fc:{unit}" for unit in range(5)] + [f"conv2:{unit}" for unit in range(5)]
    alone = {target: fv.render(model, target, **OPTIONS)[0].png() for target in targets}
    before = state_of(model.module)
    for pair in range(50):
        one, other = targets[pair % 10], targets[(3 * pair + 1) % 10]
        found = run_together(
            lambda one=one: fv.render(model, one, **OPTIONS)[0].png(),
            lambda other=other: fv.render(model, other, **OPTIONS)[0].png(),
        )
        assert found == [alone[one], alone[other]], (one, other)
    assert state_of(model.module) == before


def test_two_handles_of_one_module_and_of_a_part_of_it_wait_for_each_other():
    module = nn.Sequential(seeded(Small), nn.Linear(5, 3)).eval()
    whole, part = handle(module), handle(module[0])
    alone = fv.render(whole, "1:2", **OPTIONS)[0].png(), fv.render(part, "norm:1", **OPTIONS)[0].png()
    before = state_of(module)
    for _ in range(3):
        found = run_together(
            lambda: fv.render(whole, "1:2", **OPTIONS)[0].png(),
            lambda: fv.render(part, "norm:1", **OPTIONS)[0].png(),
        )
        assert tuple(found) == alone
    assert state_of(module) == before


def test_a_generator_held_open_while_something_else_renders():
    model = small()
    alone = [step.scores.tolist() for step in fv.ascend(model, *climb_of(3), steps=4)]
    expected = fv.render(model, "fc:1", **OPTIONS)[0].png()
    before, weights, key = state_of(model.module), weights_of(model.module), model.fingerprint()
    first, second = fv.ascend(model, *climb_of(3), steps=4), fv.ascend(model, *climb_of(4), steps=4)
    scores = [next(first).scores.tolist()]
    next(second)
    assert model.fingerprint() == key, "of the weights, not of what they were folded to"
    assert fv.render(model, "fc:1", **OPTIONS)[0].png() == expected
    scores.append(next(first).scores.tolist())
    first_left = list(first)
    assert [*scores, *(step.scores.tolist() for step in first_left)] == alone
    next(second)
    second.close()
    assert state_of(model.module) == before
    assert same(weights_of(model.module), weights)


def climb_of(unit):
    return fv.channel("norm", unit), fv.PixelImage(size=(17, 24))


def test_a_thread_renders_while_a_generator_is_held_open_elsewhere():
    model = small()
    expected = fv.render(model, "fc:1", **OPTIONS)[0].png()
    steps = fv.ascend(model, *climb_of(2), steps=3)
    next(steps)
    assert run_together(lambda: fv.render(model, "fc:1", **OPTIONS)[0].png()) == [expected]
    assert len(list(steps)) == 2


def test_a_watcher_may_render_with_the_network_that_is_being_climbed():
    model = small()
    inner, outer = (fv.render(model, target, **OPTIONS)[0].png() for target in ("fc:1", "norm:1"))
    before, found = state_of(model.module), []

    def watch(step):
        if step.number in (1, 3):
            found.append(fv.render(model, "fc:1", **OPTIONS)[0].png())

    assert fv.render(model, "norm:1", watch=watch, **OPTIONS)[0].png() == outer
    assert found == [inner, inner]
    assert state_of(model.module) == before


def test_taps_within_taps_in_any_order():
    model, images = small(), torch.rand(2, 3, 17, 24)
    with model.tap(["norm"]) as outer:
        alone = outer(images)["norm"].clone()
        with model.tap(["fc"], only={"fc": (1, 1)}) as inner:
            assert inner(images)["fc"].shape == (2, 2)
            assert torch.equal(outer(images)["norm"], alone)
            assert inner(images)["fc"].shape == (2, 2)
        assert torch.equal(outer(images)["norm"], alone)
    assert model.module(images).shape == (2, 5)


def test_borrowings_that_end_in_the_order_they_began():
    module = seeded(Small)
    before = state_of(module)
    one, other = borrowed(module, channels_last=True), borrowed(module)
    one.__enter__()
    other.__enter__()
    one.__exit__(None, None, None)
    other.__exit__(None, None, None)
    assert state_of(module) == before


def test_threads_that_wait_for_each_other_are_told_so():
    modules = [nn.Linear(2, 2), nn.Linear(2, 2)]
    barrier, said = threading.Barrier(2), []

    def both(first, second):
        with borrowed(first):
            barrier.wait()
            try:
                with borrowed(second):
                    pass
            except fv.ModelError as error:
                said.append(str(error))

    run_together(lambda: both(*modules), lambda: both(*reversed(modules)))
    assert len(said) == 1
    assert "two threads each wait" in said[0]


class Counting(nn.Module):
    """Writes into its buffers whenever it runs, in place and by a new tensor."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.register_buffer("passes", torch.zeros(1))
        self.register_buffer("last", torch.zeros(4))

    def forward(self, images):
        found = self.conv(images)
        self.passes += 1
        self.last = found.detach().mean((0, 2, 3))
        return found


def test_buffers_that_a_network_writes_are_put_back():
    model = handle(seeded(Counting))
    last = model.module.last
    fv.render(model, "conv:1", **OPTIONS)
    assert model.module.passes.tolist() == [0.0]
    assert model.module.last is last
    assert last.tolist() == [0.0] * 4


@pytest.mark.parametrize("off", [torch.no_grad, torch.inference_mode, lambda: torch.set_grad_enabled(False)])
def test_gradients_that_are_off_round_the_call(off):
    model, images = small(), torch.rand(3, 17, 24)
    expected = fv.render(model, ["fc:1", "norm:2"], **OPTIONS)
    steps = [step.scores.tolist() for step in fv.ascend(model, *climb_of(3), steps=3)]
    with off():
        found = fv.render(small(), ["fc:1", "norm:2"], **OPTIONS)
        assert [step.scores.tolist() for step in fv.ascend(small(), *climb_of(3), steps=3)] == steps
        again = fv.render(small(), fv.caricature("conv1", images), start=images, steps=2, lanes=1)
        assert not torch.is_grad_enabled()
    torch.set_grad_enabled(True)
    assert [one.png() for one in found] == [one.png() for one in expected]
    assert again[0].score > again[0].start_score


def test_a_network_made_in_inference_mode():
    with torch.inference_mode():
        inside = small()
    assert fv.render(inside, "fc:1", **OPTIONS)[0].png() == fv.render(small(), "fc:1", **OPTIONS)[0].png()
    assert inside.module.conv1.weight.is_inference()


class Trains(nn.Module):
    """Its BatchNorm is in training mode whatever the network's mode; torch writes its statistics silently."""

    def __init__(self, how):
        super().__init__()
        self.first, self.norm, self.last = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3)
        self.how = how
        self.register_buffer("seen", torch.zeros((), dtype=torch.long))

    def forward(self, images):
        self.seen += 1
        given = self.first(images)
        if self.how == "module":
            self.norm.train()
            return self.last(self.norm(given))
        mean, variance = self.norm.running_mean, self.norm.running_var
        return self.last(nn.functional.batch_norm(given, mean, variance, training=True))


DOORS = {
    "render": lambda model: fv.render(model, "first:1", size=(17, 24), steps=2, lanes=1),
    "behind it": lambda model: fv.render(model, "last:1", size=(17, 24), steps=2, lanes=1),
    "attribute": lambda model: fv.attribute(model, torch.rand(3, 17, 24), "last:1", "saliency"),
    "circuit": lambda model: fv.circuit(model, "last:1", depth=1),
    "weights": lambda model: fv.weights_image(model, "first"),
    "without": lambda model: fv.without(model, "first:1"),
    "plan": lambda model: model.at((17, 24)),
}


@pytest.mark.parametrize("how", ["module", "function"])
@pytest.mark.parametrize("door", DOORS)
def test_statistics_that_batchnorm_writes_in_a_forward_are_put_back(door, how):
    module = seeded(lambda: Trains(how))
    weights = weights_of(module)
    DOORS[door](handle(module))
    assert same(weights_of(module), weights)


def test_statistics_that_the_user_trains_between_two_steps_stay():
    module = seeded(lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3)))
    model = handle(module)
    steps = fv.ascend(model, fv.channel("2", 1), fv.PixelImage(size=(17, 24)), steps=3)
    next(steps)
    module.train()(torch.rand(2, 3, 17, 24))
    trained = weights_of(module)
    for _ in steps:
        assert same(weights_of(module), trained)
    assert same(weights_of(module), trained)


def test_autocast_round_the_call_changes_nothing():
    target = fv.channel("norm", 1)
    plain = fv.render(small(), target, **OPTIONS)[0]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = fv.render(small(), target, **OPTIONS)[0]
        steps = list(fv.ascend(small(), target, fv.PixelImage(size=(17, 24)), steps=2))
        read = fv.attribute(small(), torch.full((3, 17, 24), 0.25), "fc:1", "saliency")
        assert torch.is_autocast_enabled("cpu")
    assert (inside.png(), inside.score) == (plain.png(), plain.score)
    outside = list(fv.ascend(small(), target, fv.PixelImage(size=(17, 24)), steps=2))
    assert torch.equal(steps[-1].images, outside[-1].images)
    assert read.score == fv.attribute(small(), torch.full((3, 17, 24), 0.25), "fc:1", "saliency").score


def test_a_network_that_cannot_be_copied_renders_and_what_needs_a_copy_says_so():
    module = seeded(Small)
    module.lock = threading.Lock()
    model = handle(module)
    assert fv.render(model, "norm:1", **OPTIONS)
    with pytest.raises(fv.ModelError, match="cannot be copied, which this needs: TypeError: cannot pickle"):
        fv.without(model, "norm:1")


@pytest.mark.filterwarnings("ignore:.*torch.jit.*is deprecated")
def test_a_part_in_torchscript_is_refused_by_its_name():
    part = torch.jit.trace(nn.Conv2d(3, 4, 3), torch.rand(1, 3, 17, 24))
    with pytest.raises(fv.ModelError, match="its part '0' is a TorchScript module"):
        handle(nn.Sequential(part, nn.Conv2d(4, 4, 3)))
