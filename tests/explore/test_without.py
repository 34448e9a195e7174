"""Units switched off: exactly they, everywhere, and the network itself stays bit for bit."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import featvis as fv
from featvis.explore.without import name_units
from tests.networks import activations_of, handle, layouts, seeded, small

FEW = {"size": (17, 24), "steps": 2, "lanes": 2, "transforms": []}


def logits(model, images):
    with model.tap([model.output_layer], size=tuple(images.shape[2:])) as tap, torch.no_grad():
        return tap(images)[model.output_layer]


def by_hand(model, images, layer, change):
    """What the network gives if a hook of our own changes a layer, read without featvis."""
    module = copy.deepcopy(model.module).eval()
    module.get_submodule(layer).register_forward_hook(lambda _m, _i, given: change(given.clone()))
    mean, std = (torch.tensor(values)[:, None, None] for values in (model.mean, model.std))
    with torch.no_grad():
        return module((images - mean) / std)


def zeroed(*units):
    def change(given):
        given[:, list(units)] = 0
        return given

    return change


@pytest.fixture
def images(chance):
    return torch.rand((3, 3, 17, 24), generator=chance)


class Planted(nn.Module):
    """Unit u of ``found`` feeds class u and no other."""

    def __init__(self):
        super().__init__()
        self.found = nn.Conv2d(3, 4, 3)
        self.fc = nn.Linear(4, 4)
        with torch.no_grad():
            self.fc.weight.copy_(torch.diag(torch.tensor([1.0, 2.0, -1.0, 3.0])))

    def forward(self, images):
        return self.fc(torch.relu(self.found(images)).mean((2, 3)))


def test_a_planted_unit_changes_exactly_the_class_that_it_feeds(images):
    model = handle(seeded(Planted))
    before, after = logits(model, images), logits(fv.without(model, "found:1"), images)
    assert torch.equal(before[:, [0, 2, 3]], after[:, [0, 2, 3]])
    assert torch.allclose(after[:, 1], model.module.fc.bias[1].expand(3))
    assert not torch.allclose(before[:, 1], after[:, 1])


@pytest.mark.parametrize("layer", ["conv1", "relu1", "conv2", "norm", "relu2", "pool", "flat"])
def test_it_is_what_a_hook_would_do_before_and_after_norms_and_in_place_activations(layer, images):
    model = small()
    off = fv.without(model, f"{layer}:1,4")
    expected = by_hand(model, images, layer, zeroed(1, 4))
    assert torch.allclose(logits(off, images), expected, atol=1e-5)
    assert torch.allclose(logits(off, images[:1]), expected[:1], atol=1e-5)
    read = activations_of(off, layer, images)
    assert not read[:, [1, 4]].any()


def test_units_of_several_layers_and_a_factor(images):
    model = small()
    off = fv.without(model, ["conv1:2", fv.Target("relu2", 5)], factor=-0.5)
    module = copy.deepcopy(model.module).eval()
    for layer, unit in (("conv1", 2), ("relu2", 5)):
        scale = torch.ones(6 if layer == "conv1" else 8)
        scale[unit] = -0.5
        module.get_submodule(layer).register_forward_hook(
            lambda _m, _i, given, scale=scale: given * scale[:, None, None]
        )
    with torch.no_grad():
        expected = module(images * 2 - 1)
    assert torch.allclose(logits(off, images), expected, atol=1e-5)
    assert off.name == "Small with conv1:2 relu2:5 times -0.5"


def test_the_mean_is_that_over_the_photographs_given(images):
    model = small()
    off = fv.without(model, "relu1:0,3", "mean", photographs=list(images))
    means = activations_of(model, "relu1", images).double().mean((0, 2, 3)).float()

    def change(given):
        given[:, [0, 3]] = means[[0, 3], None, None]
        return given

    assert torch.allclose(logits(off, images), by_hand(model, images, "relu1", change), atol=1e-5)
    assert off.notes[-1] == "relu1:0,3 held at their mean over 3 photographs"


def test_without_photographs_the_mean_is_what_a_batchnorm_learnt(images):
    model = small()
    norm = model.module.norm
    off = fv.without(model, "conv2:2", "mean")
    assert torch.allclose(activations_of(off, "conv2", images)[:, 2], norm.running_mean[2].expand(3, 9, 12))
    assert off.notes[-1] == "conv2:2 held at the mean that norm learnt"
    off = fv.without(model, "norm:2", "mean")
    assert torch.allclose(activations_of(off, "norm", images)[:, 2], norm.bias[2].expand(3, 9, 12))
    with pytest.raises(fv.UserError, match="no BatchNorm keeps the mean of relu1: give photographs"):
        fv.without(model, "relu1:0", "mean")


def test_the_network_is_bit_for_bit_what_it_was(images):
    model = small()
    before, keys, weights = (
        logits(model, images),
        model.fingerprint(),
        copy.deepcopy(model.module.state_dict()),
    )
    off = fv.without(model, "conv1:0", "mean", photographs=list(images))
    assert torch.equal(logits(model, images), before)
    assert model.fingerprint() == keys
    assert all(torch.equal(value, weights[name]) for name, value in model.module.state_dict().items())
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in model.module.modules())
    assert off.fingerprint() != keys
    assert fv.without(model, "conv1:1").fingerprint() != fv.without(model, "conv1:0").fingerprint()
    assert fv.without(model, "conv1:1").fingerprint() == fv.without(model, "conv1:1").fingerprint()


def test_it_is_a_handle_like_any_other(images, tmp_path):
    model = small(labels=tuple("abcde"))
    off = fv.without(model, "relu2:0:3")
    plain, switched = fv.render([model, off][0], "fc:b", **FEW), fv.render(off, "fc:b", out=tmp_path, **FEW)
    assert switched[0].key != plain[0].key
    assert switched[0].model == "Small without relu2:0:3"
    (dead,) = fv.render(off, "relu2:1", **FEW)
    assert dead.status == "dead"
    where = fv.attribute(off, images[0], "fc:1", "saliency")
    assert not np.array_equal(where.values, fv.attribute(model, images[0], "fc:1", "saliency").values)
    again = fv.reproduce(next(tmp_path.rglob("0001.png")), off)
    assert np.array_equal(again.levels, switched[0].levels)
    with pytest.raises(fv.ModelError, match="is of 'Small without relu2:0:3', which no name loads") as error:
        fv.reproduce(next(tmp_path.rglob("0001.png")))
    assert "fv.without(fv.load_model('Small'), …)" in str(error.value)
    assert "changed in Python" in error.value.typed
    twice = fv.without(off, "relu2:5")
    assert not activations_of(twice, "relu2", images)[:, [0, 1, 2, 5]].any()
    assert activations_of(off.copy(), "relu2", images)[:, 1].eq(0).all()


def test_every_layout_of_units():
    model = layouts()
    images = torch.rand((2, 3, 17, 10), generator=torch.Generator().manual_seed(1))
    for name, axis in (("map", 1), ("map_last", 3), ("tokens", 2), ("signal", 1), ("vector", 1)):
        read = activations_of(fv.without(model, f"{name}:2"), name, images)
        assert not read.select(axis, 2).any(), name
        assert read.select(axis, 1).any(), name


class Twice(nn.Module):
    """One activation runs twice, on 4 and then on 6 channels."""

    def __init__(self):
        super().__init__()
        self.one, self.two, self.act = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 6, 3), nn.ReLU()

    def forward(self, images):
        return self.act(self.two(self.act(self.one(images))))


@pytest.mark.parametrize(("address", "units"), [("act:5", 6), ("act#1:3", 4)])
def test_of_a_layer_that_runs_twice_one_run_is_meant(address, units, images):
    model = handle(seeded(Twice))
    off = fv.without(model, address)
    layer, _, unit = address.rpartition(":")
    for _ in range(2):  # a pass that ended early must not shift the count
        with off.tap([layer], size=(17, 24)) as tap, torch.no_grad():
            read = tap(images)[layer]
        assert read.shape[1] == units
        assert not read[:, int(unit)].any()
    with off.tap(["two"], size=(17, 24)) as tap, torch.no_grad():
        read = tap(images)["two"]
    with model.tap(["two"], size=(17, 24)) as tap, torch.no_grad():
        assert torch.equal(read, tap(images)["two"]) == (address == "act:5")


def test_an_infinite_activation_of_a_unit_that_is_off_is_gone():
    module = nn.Sequential(nn.Conv2d(3, 2, 1), nn.Flatten())
    model = handle(module, size=(4, 4))
    off = fv.without(model, "0:1")
    with torch.no_grad():
        off.module[0].bias[1] = torch.inf
    given = logits(off, torch.rand(1, 3, 4, 4))
    assert given[:, 16:].eq(0).all()
    assert given.isfinite().all()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (("conv1:6",), "out of range"),
        (("conf1:0",), "did you mean 'conv1'"),
        (("conv1:0@1,2",), "leave out @1,2"),
        (([],), "no unit to switch off"),
        (("conv1:0", "none"), "unknown mode 'none'"),
        (("conv1@a.safetensors:0:8",), "names directions"),
    ],
)
def test_mistakes_are_said(given, words):
    with pytest.raises(fv.UserError, match=words):
        fv.without(small(), *given)
    with pytest.raises(fv.UserError, match="a factor is a finite number"):
        fv.without(small(), "conv1:0", factor=float("nan"))


def test_a_name_of_many_units_is_short():
    assert name_units({"fc": [3, 1, 2, 9]}) == "fc:1:4,9"
    assert name_units({"a": list(range(0, 200, 2)), "b": [1]}) == "101 units of a, b"


def folder_of(tmp_path, images):
    for place, image in enumerate(images):
        levels = (image.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
        Image.fromarray(levels).save(tmp_path / f"{place}.png")
    (tmp_path / "notes.txt").write_text("none")
    return tmp_path
