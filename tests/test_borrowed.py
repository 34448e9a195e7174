"""The network is borrowed: on every way out it is exactly as it was, and no work is thrown away."""

from __future__ import annotations

import gc
import pickle

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils import prune

import featvis as fv
from featvis.objectives.batchnorm import BatchNormStatistics
from tests.networks import Small, handle, scores_of, seeded, small

OPTIONS = {"size": (17, 24), "steps": 5, "lanes": 2}


def hooks_of(module):
    return {
        name: [
            list(getattr(one, kind))
            for kind in ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
        ]
        for name, one in module.named_modules()
    }


def state_of(module):
    """Everything about a network that somebody could notice."""
    return {
        "tree": [(name, id(one), type(one)) for name, one in module.named_modules()],
        "training": {name: one.training for name, one in module.named_modules()},
        "inplace": {name: getattr(one, "inplace", None) for name, one in module.named_modules()},
        "forward": {name: one.__dict__.get("forward") for name, one in module.named_modules()},
        "parameters": {
            name: (id(p), p.data_ptr(), p.requires_grad, p.dtype, p.stride(), p.grad is None, p.sum().item())
            for name, p in module.named_parameters()
        },
        "buffers": {
            name: (b.dtype, b.stride(), b.double().sum().item()) for name, b in module.named_buffers()
        },
        "hooks": hooks_of(module),
    }


class Failing(Small):
    """Raises in its third forward pass of climbing (dry passes run without gradients)."""

    passes = 0

    def forward(self, images):
        if torch.is_grad_enabled():
            self.passes += 1
            if self.passes == 3:
                raise RuntimeError("the network itself is broken")
        return super().forward(images)


@pytest.fixture(params=["mixed", "channels_last", "double"])
def model(request):
    """A network in a state that somebody set up with care."""
    module = seeded(Failing)
    module.train()
    module.norm.eval()
    module.conv1.weight.requires_grad_(False)
    module.relu1.train(False)
    if request.param == "channels_last":
        module.to(memory_format=torch.channels_last)
    if request.param == "double":
        module.double()
    module.passes = 100  # a broken network only where a test says so
    return handle(module)


def test_t16_after_success(model):
    before = state_of(model.module)
    fv.render(model, ["norm:1", "fc:2", "relu2:0@1,1"], penalties=[{"name": "batchnorm"}], **OPTIONS)
    assert state_of(model.module) == before


def test_t19_an_error_in_the_third_forward_pass_propagates_and_nothing_is_left(model):
    model.module.passes = 0
    before = state_of(model.module)
    with pytest.raises(RuntimeError, match="the network itself is broken"):
        fv.render(model, "norm:1", **OPTIONS)
    assert model.module.passes == 3
    assert state_of(model.module) == before


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, ValueError])
def test_t16_after_an_interruption(model, error):
    before = state_of(model.module)

    def interrupt(step):
        assert not any(p.requires_grad for p in model.module.parameters())
        if step.number == 2:
            raise error

    with pytest.raises(error):
        fv.render(model, "norm:1", watch=interrupt, **OPTIONS)
    assert state_of(model.module) == before


def test_t11_after_a_dropped_generator(model):
    before = state_of(model.module)
    climb = fv.ascend(model, fv.channel("norm", 1), fv.PixelImage(size=(17, 24)), steps=9)
    next(climb)
    assert state_of(model.module) == before, "between two steps it is its owner's"
    next(climb)
    del climb
    gc.collect()
    assert state_of(model.module) == before


def test_t16_after_measuring_layers(model):
    before = state_of(model.module)
    model.layers_with_receptive_fields((17, 24))
    with pytest.raises(fv.TargetError):
        model.layer("nor")
    assert state_of(model.module) == before


def test_t16_after_a_canvas_that_the_network_refuses():
    module = seeded(lambda: nn.Sequential(nn.Conv2d(3, 4, 9), nn.Conv2d(4, 2, 9))).train()
    model, before = handle(module, (33, 40)), state_of(module)
    with pytest.raises(fv.CanvasError):
        fv.render(model, "1:0", **{**OPTIONS, "size": (9, 12)})
    assert state_of(module) == before


def test_t12_hooks_of_the_user_stay_and_fire():
    model = small()
    fired = []
    hook = model.module.conv1.register_forward_hook(lambda *_: fired.append("forward"))
    early = model.module.norm.register_forward_pre_hook(lambda *_: fired.append("before"))
    before = state_of(model.module)
    climb = fv.ascend(model, fv.channel("norm", 0), fv.PixelImage(size=(17, 24)), steps=2)
    next(climb)
    fired.clear()
    next(climb)
    assert fired == ["forward", "before"]
    climb.close()
    assert state_of(model.module) == before
    fired.clear()
    model.module(torch.zeros(1, 3, 17, 24))
    assert fired == ["forward", "before"]
    hook.remove()
    early.remove()


def test_t12_a_hook_of_the_user_changes_what_is_tapped():
    model = small()
    hook = model.module.conv1.register_forward_hook(lambda _m, _i, output: output * 0 + 3)
    with model.tap(["conv1"]) as activations:
        assert (activations(torch.zeros(1, 3, 17, 24))["conv1"] == 3).all()
    hook.remove()


def test_t11_between_two_steps_the_network_has_no_hooks():
    model = small()
    before = hooks_of(model.module)
    for _ in fv.ascend(model, fv.channel("norm", 0), fv.PixelImage(size=(17, 24)), steps=3):
        assert hooks_of(model.module) == before


def test_t13_only_the_wanted_layers_are_hooked():
    model, during = small(), []
    spy = model.module.conv1.register_forward_hook(
        lambda *_: during.append({name for name, kinds in hooks_of(model.module).items() if any(kinds)})
    )
    with model.tap(["norm"]) as activations:
        during.clear()  # what was run to get to know the network
        activations(torch.zeros(1, 3, 17, 24))
    spy.remove()
    assert during == [{"conv1", "norm"}], "the spy's own and the target's"


def test_t15_no_weight_gradient_is_ever_computed():
    model = small()

    def watch(step):
        assert not any(parameter.requires_grad for parameter in model.module.parameters())
        assert all(parameter.grad is None for parameter in model.module.parameters()), step.number

    fv.render(model, fv.channel("fc", 0) - 0.1 * fv.total_variation(), watch=watch, **OPTIONS)
    assert all(parameter.grad is None for parameter in model.module.parameters())
    assert all(parameter.requires_grad for parameter in model.module.parameters())


def test_t15_a_gradient_that_the_user_holds_is_left_alone():
    model = small()
    model.module.eval()(torch.ones(1, 3, 17, 24)).sum().backward()
    before = {name: p.grad.clone() for name, p in model.module.named_parameters()}
    fv.render(model, "fc:1", **OPTIONS)
    for name, parameter in model.module.named_parameters():
        assert torch.equal(parameter.grad, before[name])


def test_t17_no_module_after_the_target_runs(monkeypatch):
    model, ran = small(), []
    wishes = ["norm:1", "conv1:2"], fv.channel("conv1", 1) + fv.channel("conv2", 1)
    for wish in wishes:  # getting to know the network runs everything once; what counts is the climb
        fv.render(model, wish, **OPTIONS)
    names = {one: name for name, one in model.module.named_modules()}
    call = nn.Module.__call__

    def spy(self, *args, **kwargs):
        # Not a hook: a hook would not see a module that is called and then fails.
        ran.append(names.get(self))
        return call(self, *args, **kwargs)

    monkeypatch.setattr(nn.Module, "__call__", spy)
    fv.render(model, wishes[0], **OPTIONS)
    assert set(ran) == {"", "conv1", "relu1", "conv2", "norm"}
    ran.clear()
    fv.render(model, wishes[1], **OPTIONS)
    assert set(ran) == {"", "conv1", "relu1", "conv2"}, "the deepest of several layers ends the pass"


class Twice(nn.Module):
    """Runs one module twice, then a module that must not run."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.after = nn.Conv2d(3, 2, 1)
        self.ran = 0

    def forward(self, images):
        found = self.conv(functional.relu(self.conv(images)))
        self.ran += 1
        return self.after(found)


def test_t18_a_module_called_twice_is_read_at_its_last_call():
    model = handle(seeded(Twice))
    assert model.layer("conv").calls == 2
    images = torch.rand((2, 3, 17, 24), generator=torch.Generator().manual_seed(1))
    with model.tap(["conv"]) as activations:
        before = model.module.ran
        found = activations(images)["conv"]
    assert model.module.ran == before, "the pass ends with the last call"
    once = model.module.conv(images * 2 - 1)
    expected = model.module.conv(functional.relu(once))
    torch.testing.assert_close(found, expected.detach())
    assert not torch.allclose(found, once)


class Sometimes(nn.Module):
    """Runs its layer on the first pass only."""

    def __init__(self):
        super().__init__()
        self.conv, self.other, self.ran = nn.Conv2d(3, 2, 1), nn.Conv2d(3, 2, 1), 0

    def forward(self, images):
        self.ran += 1
        return self.conv(images) if self.ran < 4 else self.other(images)


def test_a_layer_that_stops_running_is_an_error_not_a_picture():
    model = handle(seeded(Sometimes))
    with pytest.raises(fv.ModelError, match="'conv' did not run"):
        fv.render(model, "conv:0", **{**OPTIONS, "steps": 9})


@pytest.fixture(scope="module")
def resnet():
    return fv.load_model("torchvision:resnet18", weights="none")


@pytest.fixture
def photo(chance):
    return torch.rand((1, 3, 65, 49), generator=chance)


def plain_activations(model, photo, names):
    """What the layers give, copied by hooks of the test's own the moment they give it."""
    found, handles = {}, []
    for name, one in model.module.named_modules():
        if name in names:
            handles.append(
                one.register_forward_hook(lambda _m, _i, o, name=name: found.update({name: o.clone()}))
            )
    mean, std = (torch.tensor(v)[:, None, None] for v in (model.mean, model.std))
    with torch.no_grad():
        model.module.eval()((photo - mean) / std)
    for one in handles:
        one.remove()
    return found


@pytest.mark.parametrize(
    "names",
    [
        ["bn1"],
        ["bn1", "relu"],
        ["bn1", "layer1.0.bn2", "layer1.1.bn2"],
        ["layer1.0.bn2", "layer1.0"],
        ["layer1.0", "layer1.1.conv1", "maxpool"],
        ["layer2.0.downsample.1", "layer2.0.bn2"],
    ],
)
def test_t14_activations_before_an_in_place_change_are_true(resnet, photo, names):
    assert resnet.module.relu.inplace, "else this test says nothing"
    truth = plain_activations(resnet, photo, names)
    with resnet.tap(names) as activations:
        found = activations(photo)
    for name in names:
        torch.testing.assert_close(found[name].detach(), truth[name], rtol=1e-4, atol=1e-4)
    if "bn1" in names:
        assert found["bn1"].min() < -0.1, "negatives, though the ReLU after it is in place"


@pytest.mark.parametrize("target", ["bn1", "layer1.0.bn2", "layer1.1"])
def test_t14_statistics_of_what_comes_into_a_batchnorm_are_true(resnet, photo, target):
    # Beside a tapped layer, with in-place ReLUs and `out += identity` behind them.
    norms = ["bn1", "layer1.0.bn1", "layer1.0.bn2", "layer1.1.bn1", "layer1.1.bn2"]
    norms = norms[: {"bn1": 1, "layer1.0.bn2": 3, "layer1.1": 5}[target]]
    made_by = [name.replace("bn", "conv") for name in norms]
    truth = plain_activations(resnet, photo, made_by)
    modules, expected = dict(resnet.module.named_modules()), 0.0
    for name, source in zip(norms, made_by, strict=True):
        mean, variance = truth[source].mean((2, 3)), truth[source].var((2, 3), correction=0)
        m, v = modules[name].running_mean, modules[name].running_var + modules[name].eps
        expected += ((mean - m) ** 2 / v).mean() + ((variance + 0.001 * v) / v).log().square().mean() / 4
    penalty = fv.channel(target, 1) - BatchNormStatistics().beside((target,))
    found = scores_of(resnet, penalty, photo) - scores_of(resnet, fv.channel(target, 1), photo)
    torch.testing.assert_close(-found[0].detach(), expected / len(norms), rtol=1e-3, atol=1e-3)


def test_t14_gradients_flow_through_a_tapped_layer_to_a_deeper_one(resnet, photo):
    with resnet.tap(["bn1", "layer1.0"]) as activations:
        images = photo.clone().requires_grad_()
        (together,) = torch.autograd.grad(activations(images)["layer1.0"][:, 3].mean(), images)
    with resnet.tap(["layer1.0"]) as activations:
        (alone,) = torch.autograd.grad(activations(images)["layer1.0"][:, 3].mean(), images)
    torch.testing.assert_close(together, alone, rtol=1e-3, atol=1e-5)
    assert alone.abs().max() > 0


class InTuple(nn.Module):
    """A layer that gives a tuple, whose first tensor is then changed in place."""

    class Pair(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 1)

        def forward(self, images):
            return self.conv(images), images.mean()

    def __init__(self):
        super().__init__()
        self.pair = self.Pair()

    def forward(self, images):
        found, _ = self.pair(images)
        found += 100
        return found


def test_t14_a_layer_that_gives_a_tuple():
    model = handle(seeded(InTuple))
    with model.tap(["pair", "pair.conv"]) as activations:
        found = activations(torch.zeros(1, 3, 17, 24))
    assert found["pair"].abs().max() < 50
    assert torch.equal(found["pair"], found["pair.conv"])


def test_a_network_without_parameters_can_be_borrowed():
    model = handle(nn.Sequential(nn.AvgPool2d(2), nn.Flatten()))
    (picture,) = fv.render(model, "0:1", **OPTIONS)
    assert picture.score > picture.start_score


class Lora(nn.Module):
    def __init__(self, base):
        super().__init__()
        self.base, self.down, self.up = base, nn.Linear(base.in_features, 2), nn.Linear(2, base.out_features)

    def forward(self, found):
        return self.base(found) + self.up(self.down(found))


def stride_3(net):
    net.conv2.stride = (3, 3)


CHANGES = {
    "bigger head": (lambda net: setattr(net, "fc", nn.Linear(8, 100)), "fc:50"),
    "smaller head": (lambda net: setattr(net, "fc", nn.Linear(8, 2)), "fc:1"),
    "stride": (stride_3, "conv2:1@5,7"),
    "a layer in another": (lambda net: setattr(net, "fc", nn.Sequential(net.fc, nn.Linear(5, 3))), "fc.1:2"),
    "low rank": (lambda net: setattr(net, "fc", Lora(net.fc)), "fc.base:3"),
    "another activation": (lambda net: setattr(net, "relu1", nn.Tanh()), "relu1:2"),
    "no norm": (lambda net: setattr(net, "norm", nn.Identity()), "norm:2"),
    "pruned": (lambda net: prune.ln_structured(net.conv1, "weight", 0.5, 2, 0), "conv2:2"),
    "fewer units": (lambda net: net.fc.weight.set_(net.fc.weight[:2].clone()), "fc:1"),
    "weights": (lambda net: nn.init.constant_(net.fc.weight, 2.0), "fc:1"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_network_that_its_user_changed_is_measured_anew(change):
    alter, target = CHANGES[change]
    model = small()
    fv.render(model, "fc:4", **OPTIONS)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(1)
        alter(model.module)
        if change == "fewer units":
            model.module.fc.bias.set_(model.module.fc.bias[:2].clone())
    (picture,) = fv.render(model, target, **OPTIONS)
    (anew,) = fv.render(handle(model.module), target, **OPTIONS)
    assert picture.key == anew.key
    assert picture.recipe == anew.recipe
    assert (picture.levels == anew.levels).all()
    layer = target.partition(":")[0]
    shapes = []
    hook = model.module.get_submodule(layer).register_forward_hook(lambda *told: shapes.append(told[2].shape))
    model.module.eval()(torch.zeros(1, 3, 17, 24))
    hook.remove()
    assert model.layer(layer).shape == tuple(shapes[0])


def test_a_unit_that_is_gone_is_refused_in_one_line():
    model = small(labels=list("abcde"))
    fv.render(model, "fc:e", **OPTIONS)
    model.module.fc = nn.Linear(8, 3)
    with pytest.raises(fv.TargetError, match="fc has units 0 to 2"):
        fv.render(model, "fc:4", **OPTIONS)
    with pytest.raises(fv.TargetError, match="have no names"):  # five names are not those of three units
        fv.render(model, "fc:e", **OPTIONS)


class Counting(Small):
    """Notes in its own attributes what it did."""

    passes, last = 0, None

    def forward(self, images):
        self.passes += 1
        self.last = tuple(images.shape)
        return super().forward(images)


def test_what_a_network_notes_of_itself_is_no_change(monkeypatch):
    model = handle(seeded(Counting))
    fv.render(model, "fc:4", **OPTIONS)
    fv.render(model.copy(), "conv2:0:3", **{**OPTIONS, "size": 20})
    measured = []
    for of in ("measure_layers", "trusted_pairs", "lacks_gradient"):
        monkeypatch.setattr(f"featvis.models.handle.{of}", lambda *told, **named: measured.append(told))
    fv.render(model, "fc:4", **OPTIONS)
    model.module.train()(torch.rand(5, 3, 17, 24))
    fv.render(model.copy(), "fc:4", **OPTIONS)
    fv.render(pickle.loads(pickle.dumps(model)), "fc:4", **OPTIONS)
    assert not measured


def test_a_network_changed_between_two_steps_is_measured_anew_afterwards():
    model = small()
    steps = fv.ascend(model, "fc:1", fv.PixelImage(size=(17, 24)), steps=3)
    next(steps)
    model.module.fc = nn.Linear(8, 9)
    assert model.layer("fc").units == 9
    steps.close()
    assert fv.render(model, "fc:8", **OPTIONS)[0].target == "fc:8"
