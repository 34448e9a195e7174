"""A copy of a handle: all that it was told, and nothing that may change in common with the original."""

from __future__ import annotations

import inspect
import types

import pytest
import torch
from torch import nn

import featvis as fv
from featvis.models.borrow.fold import Pair
from featvis.models.handle import ModelHandle
from featvis.models.layers.measure import LayerInfo
from featvis.models.layers.returned import Output
from featvis.models.layers.window import Window
from featvis.models.paired import PairedHandle
from tests.networks import small
from tests.objectives.test_text import TwoTowers, tokenize

TOLD = {
    "name": "a name",
    "mean": (0.25, 0.5),
    "std": (0.5, 0.25),
    "input_size": (1, 24),
    "interpolation": "bicubic",
    "labels": ("one", "two"),
    "missing": ("1.bias",),
    "unit_axes": {"0": 1},
    "notes": ("a note",),
    "signal": True,
    "sample_rate": 8000,
}
"""Every argument of a handle but those of videos, and no default."""
UNCHANGING = (
    str,
    int,
    float,
    bool,
    type(None),
    type,
    types.FunctionType,
    types.ModuleType,
    torch.device,
    torch.dtype,
    LayerInfo,
    Output,
    Pair,
    Window,
)


def told():
    """Handles that have measured everything that they keep."""
    signal = ModelHandle(nn.Sequential(nn.Conv1d(2, 4, 3), nn.Conv1d(4, 2, 3)), **TOLD)
    plain = small()
    plain.window("conv1", (3, 3), (17, 24))
    paired = fv.load_paired(TwoTowers(), tokenize, input_size=12)
    paired.embed("red")
    for model in (signal, plain, paired):
        with model.tap([model.output_layer]):
            assert model.takes_one_size in (True, False)
    return {"signal": signal, "plain": plain, "paired": paired}


HANDLES = told()


def changeable(thing, path, found):
    """Everything reachable that may change, by identity, with the way there."""
    if isinstance(thing, UNCHANGING) or id(thing) in found:
        return found
    if isinstance(thing, tuple | frozenset):
        inner = enumerate(thing)
    else:
        found[id(thing)] = path
        inner = vars(thing).items() if hasattr(thing, "__dict__") else ()
        if isinstance(thing, dict):
            inner = thing.items()
        elif isinstance(thing, list | set):
            inner = enumerate(thing)
        elif isinstance(thing, types.MethodType):
            inner = [("__self__", thing.__self__)]
        elif hasattr(thing, "func"):
            inner = [("func", thing.func), ("args", thing.args)]
    for key, value in list(inner):
        changeable(value, f"{path}.{key}", found)
    return found


def test_the_sample_names_every_argument():
    parameters = inspect.signature(ModelHandle).parameters
    assert parameters.keys() - {"module", "frames"} == TOLD.keys()
    assert all(parameters[name].default != value for name, value in TOLD.items())


@pytest.mark.parametrize("name", TOLD)
def test_every_argument_is_carried(name):
    model = HANDLES["signal"]
    model.spreads = True
    for other in (model.copy(), model.copy(device="cpu"), model.copy(nn.Sequential(nn.Conv1d(2, 4, 3)))):
        assert getattr(other, name) == getattr(model, name)
        assert other.spreads is True


def test_a_copy_takes_as_many_frames():
    told = {**TOLD, "signal": False, "sample_rate": None, "input_size": (9, 12), "frames": 5}
    model = ModelHandle(nn.Sequential(nn.Conv3d(2, 4, 3)), **told)
    for other in (model.copy(), model.copy(nn.Sequential(nn.Conv3d(2, 3, 3)))):
        assert (other.frames, other.channels, other.form.axes) == (5, 10, "(B, C, T, H, W)")
        assert other.mean == TOLD["mean"] * 5


@pytest.mark.parametrize("kind", HANDLES)
def test_a_copy_shares_nothing_that_may_change(kind):
    model = HANDLES[kind]
    mine = changeable(model, "model", {})
    for other in (model.copy(), model.copy(device="cpu")):
        assert type(other) is type(model)
        theirs = changeable(other, "copy", {})
        assert not [(mine[key], theirs[key]) for key in mine.keys() & theirs.keys()]
        assert other._takes_one_size == model._takes_one_size is not None, "known of these very modules"


@pytest.mark.parametrize("kind", HANDLES)
def test_a_copy_hands_out_its_own_module_and_the_original_its(kind):
    model = HANDLES[kind]
    other = model.copy()
    for mine in (model, other):
        assert mine.at(mine.input_size).module is mine.module
    assert isinstance(model, PairedHandle) is (kind == "paired")
    if kind == "paired":
        assert other.pair is other.module.pair
        assert torch.equal(other.embed("green"), model.embed("green"))
    with torch.no_grad():
        next(other.module.parameters()).add_(1)
    assert other.fingerprint() != model.fingerprint()
    images = torch.full((1, model.channels, *model.input_size), 0.75)
    scores = [each.at(each.input_size).read([each.output_layer], images) for each in (model, other)]
    assert not torch.equal(*(one[model.output_layer] for one in scores))


def test_a_copy_on_another_network_of_the_build_runs_that_one():
    model, module = small(), nn.Sequential(nn.Conv2d(3, 2, 3))
    other = model.copy(module)
    assert other.module is module
    assert [layer.name for layer in other.layers] == ["0"]
