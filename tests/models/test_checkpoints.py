"""Checkpoints as people have them: however they are nested, named and mixed with other things."""

from __future__ import annotations

import argparse
import collections
import dataclasses
import datetime
import enum
import functools
import io
import json
import pathlib
import pickle
import struct
import subprocess
import sys
import tarfile
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import featvis as fv
from featvis.cli import main
from featvis.models.weights import read_weights
from tests.networks import Small, seeded

TOLD = {"mean": (0.5,) * 3, "std": (0.5,) * 3, "input_size": (17, 24)}


@pytest.fixture(scope="module")
def trained():
    return seeded(Small, seed=99).state_dict()


class InModel(nn.Module):
    """A class that keeps its network in ``self.model``, beside a loss with weights of its own."""

    def __init__(self, kind=Small):
        super().__init__()
        self.model = kind()
        self.loss = nn.Conv2d(1, 1, 1)

    def forward(self, images):
        return self.model(images)


def load(path, module=None):
    return fv.load_model(module if module is not None else seeded(Small), weights=path, **TOLD)


def save(content, path, **options):
    torch.save(content, path, **options)
    return path


def images():
    return torch.rand((2, 3, 17, 24), generator=torch.Generator().manual_seed(0))


def outputs(module):
    with torch.no_grad():
        return module.eval()(images())


def is_as_trained(model, seed=99):
    return torch.equal(outputs(model.module), outputs(seeded(Small, seed=seed)))


def under(prefix, tensors):
    return {prefix + name: value for name, value in tensors.items()}


class Order(enum.Enum):
    RGB = "rgb"


@dataclasses.dataclass
class State:
    net: dict
    step: int


class Odd(dict):
    """A dict of a training's own."""


FOREIGN = {
    "args": argparse.Namespace(lr=0.1, decay=np.float64(3.0), path=pathlib.PurePosixPath("a/b"), names=["x"]),
    "scalar": np.int64(7),
    "array": np.arange(6).reshape(2, 3),
    "enum": Order.RGB,
    "when": datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC),
    "partial": functools.partial(torch.nn.LayerNorm, eps=1e-6),
    "sets": [{1, 2}, frozenset((3,)), collections.Counter("aab"), collections.deque([1, 2])],
    "default": collections.defaultdict(list, {"a": [1]}),
    "odd": Odd(a=1),
    "key": {(1, ("a", 2)): 3, None: 4, 2.5: 5},
    "types": [
        torch.float16,
        torch.device("cpu"),
        torch.Size((1, 2)),
        complex(1, 2),
        slice(1, 2),
        bytearray(b"x"),
    ],
}
NESTS = {
    "ImageNet example": lambda t: {"epoch": 3, "state_dict": t, "best_acc1": torch.tensor(71.2)},
    "ema alone": lambda t: {"model_ema": t},
    "names under backbone": lambda t: under("backbone.", t),
    "a nest of its own name": lambda t: {"net_g": {"weights": t}, "iter": torch.tensor(3)},
    "optimizer": lambda t: {
        "optimizer": {"state": {0: {"exp_avg": torch.ones(6, 3, 3, 3), "step": torch.tensor(2.0)}}},
        "model": t,
    },
    "Lightning": lambda t: {
        "state_dict": {**under("model.", t), "loss.weight": torch.ones(1, 1, 1, 1)},
        "hyper_parameters": {"lr": 0.1},
        "pytorch-lightning_version": "2.0",
    },
    "Lightning, compiled, on two GPUs": lambda t: {"state_dict": under("model._orig_mod.module.", t)},
    "list of models": lambda t: {"models": [t]},
    "dataclass": lambda t: {"state": State(t, 3)},
    "dict of its own class": lambda t: Odd(t),
    "whole network": lambda t: with_weights(seeded(Small), t),
    "whole network within": lambda t: {
        "epoch": 3,
        "ema": None,
        "model": with_weights(seeded(Small), t).half(),
    },
    "foreign": lambda t: {"model": t, **FOREIGN},
    "NumPy arrays": lambda t: {"model": {name: value.numpy() for name, value in t.items()}},
    "sub-dicts": lambda t: by_module(t),
    "averaged beside": lambda t: {"state_dict": t, "model_ema": {k: v + 1 for k, v in t.items()}},
    "averaged beside names with a prefix": lambda t: {
        "state_dict": under("model.", t),
        "ema": {k: v + 1 for k, v in t.items()},
    },
    "averaged within": lambda t: {**t, **under("ema_model.", {k: v + 1 for k, v in t.items()})},
    "twice the same": lambda t: {"last": t, "best": {name: value.clone() for name, value in t.items()}},
    "another network beside": lambda t: {"disc": seeded(lambda: nn.Conv2d(3, 2, 5)).state_dict(), "gen": t},
}


def with_weights(module, tensors):
    module.load_state_dict(tensors)
    return module


def by_module(tensors):
    made = {}
    for name, value in tensors.items():
        place, _, last = name.rpartition(".")
        made.setdefault(place, {})[last] = value
    return made


@pytest.mark.parametrize("form", NESTS)
@pytest.mark.parametrize("old", [False, True], ids=["zip", "old format"])
def test_a_checkpoint_is_read_as_its_author_meant_it(form, old, trained, tmp_path):
    path = save(NESTS[form](trained), tmp_path / "w.pth", _use_new_zipfile_serialization=not old)
    model = load(path)
    whole = {name: value for name, value in model.module.state_dict().items() if value.is_floating_point()}
    for name, value in whole.items():
        wanted = trained[name].half().float() if form == "whole network within" else trained[name]
        assert torch.equal(value, wanted), name
    assert not any("without weights" in note for note in model.notes)
    assert model.missing == frozenset()


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("form", ["tensors", "arrays", "network"])
def test_a_plain_pickle_of_any_protocol_is_read_too(form, protocol, trained, tmp_path):
    content = {
        "tensors": trained,
        "arrays": {name: value.numpy() for name, value in trained.items()},
        "network": with_weights(seeded(Small), trained),
    }[form]
    path = tmp_path / "w.pkl"
    path.write_bytes(pickle.dumps({"model": content}, protocol=protocol))
    assert is_as_trained(load(path))


@pytest.mark.parametrize(
    ("wrapper", "saved"),
    [
        ("InModel", "InModel"),
        ("InModel", "bare"),
        ("bare", "InModel"),
        ("DataParallel", "bare"),
        ("bare", "DataParallel"),
        ("DataParallel", "DataParallel"),
        ("DataParallel", "InModel"),
        ("InModel", "DataParallel"),
        ("InModel", "compiled"),
        ("compiled", "InModel"),
        ("compiled", "bare"),
        ("deep", "InModel"),
        ("InModel", "deep"),
    ],
)
def test_a_network_takes_the_names_of_its_neighbours(wrapper, saved, trained, tmp_path):
    def wrapped(kind, module):
        if kind == "DataParallel":
            return nn.DataParallel(module)
        if kind == "compiled":
            return torch.compile(module)
        if kind in ("InModel", "deep"):
            outer = InModel()
            outer.model = module
            return nn.Sequential(outer) if kind == "deep" else outer
        return module

    theirs = wrapped(saved, with_weights(seeded(Small), trained))
    path = save({"state_dict": theirs.state_dict()}, tmp_path / "w.pth")
    given = wrapped(wrapper, seeded(Small))
    model = load(path, given)
    assert is_as_trained(model)
    names = [note for note in model.notes if "took" in note]
    assert bool(names) == ({wrapper, saved} & {"InModel", "deep"} != set() and wrapper != saved)


def test_the_note_says_what_was_taken_and_what_is_left(trained, tmp_path):
    content = {**under("model.", trained), "loss.weight": torch.ones(2), "loss.bias": torch.ones(2)}
    took, left = load(save({"state_dict": content, "epoch": torch.ones(3)}, tmp_path / "w.pth")).notes
    assert took.endswith("took 'state_dict', names without 'model.'")
    assert left.endswith("2 tensors are not part of this network, 'state_dict.loss.weight' the first")
    (took,) = load(save(trained, tmp_path / "w.pth"), nn.Sequential(seeded(Small))).notes
    assert took.endswith("took names under '0.'")


def test_names_as_they_are_come_first(trained, tmp_path):
    other = {name: value + 1 for name, value in trained.items()}
    assert is_as_trained(load(save({**under("teacher.", other), **trained}, tmp_path / "w.pth")))
    module = InModel()
    content = {
        **under("model.", trained),
        **other,
        "loss.weight": module.loss.weight,
        "loss.bias": module.loss.bias,
    }
    assert is_as_trained(load(save(content, tmp_path / "w.pth"), module))


def test_two_that_fit_equally_are_put_to_the_user(trained, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    student, teacher = trained, seeded(Small, seed=7).state_dict()
    save({"student": student, "teacher": teacher, "epoch": 3}, "w.pth")
    with pytest.raises(fv.WeightsError) as caught:
        load("w.pth")
    said = str(caught.value)
    assert "w.pth:student (11 of 11 tensors), w.pth:teacher (11 of 11 tensors)" in said
    assert "\n" not in said
    assert is_as_trained(load("w.pth:student"))
    assert is_as_trained(load("w.pth:teacher"), seed=7)
    assert is_as_trained(load(tmp_path / "w.pth:teacher"), seed=7)
    for wrong in ("techer", "epoch", ""):
        with pytest.raises(fv.WeightsError, match=r"holds nothing under|no weights file|choose one"):
            load(f"w.pth:{wrong}")
    (tmp_path / "net.py").write_text(
        "from tests.networks import Small, seeded\n"
        "def make():\n    return seeded(Small), dict(mean=(.5,) * 3, std=(.5,) * 3, input_size=(17, 24))\n"
    )
    typed = [
        "render",
        "fc:0",
        "--model",
        "file:net.py:make",
        "--size",
        "17x24",
        "--steps",
        "2",
        "--lanes",
        "1",
    ]
    assert main([*typed, "--weights", "w.pth", "--out", "a"]) == 2
    assert "choose one: w.pth:student" in capsys.readouterr().err
    assert main([*typed, "--weights", "w.pth:student", "--out", "a"]) == 0


def test_two_encoders_under_one_roof_are_a_choice_too(trained, tmp_path):
    content = {**under("encoder_q.", trained), **under("encoder_k.", seeded(Small, seed=7).state_dict())}
    path = save({"state_dict": content}, tmp_path / "moco.pth")
    with pytest.raises(
        fv.WeightsError, match=r"moco\.pth:state_dict\.encoder_q .*moco\.pth:state_dict\.encoder_k"
    ):
        load(path)
    assert is_as_trained(load(f"{path}:state_dict.encoder_k"), seed=7)


def test_a_network_with_two_parts_that_are_alike_says_so(trained, tmp_path):
    class Twins(nn.Module):
        def __init__(self):
            super().__init__()
            self.left, self.right = Small(), Small()

        def forward(self, seen):
            return self.left(seen) + self.right(seen)

    with pytest.raises(
        fv.WeightsError, match="several parts of this network equally well: 'left' and 'right'"
    ):
        load(save(trained, tmp_path / "w.pth"), Twins())


def test_what_one_name_of_two_holds_is_not_missing(tmp_path):
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Conv2d(3, 3, 1)
            self.second = nn.Conv2d(3, 3, 1)
            self.second.weight = self.first.weight

        def forward(self, seen):
            return self.second(self.first(seen))

    tensors = {name: value for name, value in Tied().state_dict().items() if name != "second.weight"}
    assert load(save(tensors, tmp_path / "w.pth"), Tied()).notes == ()


def test_a_network_that_renames_its_older_tensors_does_so(trained, tmp_path):
    class Renamed(Small):
        def _load_from_state_dict(self, state, prefix, *rest):
            for name in [name for name in state if name.startswith(prefix + "old_")]:
                state[name.replace("old_", "")] = state.pop(name)
            super()._load_from_state_dict(state, prefix, *rest)

    old = {("old_" + name if "." in name else name): value for name, value in trained.items()}
    model = load(save({"state_dict": old}, tmp_path / "w.pth"), seeded(Renamed))
    assert is_as_trained(model)
    assert model.notes == (f"{tmp_path / 'w.pth'}: loaded by the network's own load_state_dict",)
    broken = {**old, "old_fc.weight": torch.ones(2, 2)}
    module = seeded(Renamed)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    with pytest.raises(fv.WeightsError):
        load(save(broken, tmp_path / "w.pth"), module)
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


def test_checkpoints_in_parts_are_read_by_their_index(trained, tmp_path):
    halves = list(trained.items())
    for place, part in enumerate((halves[:5], halves[5:])):
        save_file(dict(part), tmp_path / f"w-{place}.safetensors")
    places = {name: f"w-{int(place >= 5)}.safetensors" for place, (name, _) in enumerate(halves)}
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": places}))
    assert is_as_trained(load(index))
    index.write_text(json.dumps({"weight_map": {"a": "../elsewhere.safetensors"}}))
    with pytest.raises(fv.WeightsError, match="no file beside it"):
        load(index)


def test_safetensors_are_known_by_what_they_are(trained, tmp_path):
    save_file(dict(trained), tmp_path / "w.pt")
    assert is_as_trained(load(tmp_path / "w.pt"))


# Heads


@pytest.mark.parametrize("name", ["torchvision:resnet18", "timm:resnet18", "torchvision:squeezenet1_1"])
def test_a_fine_tuned_head_is_built_as_large_as_the_files(name, tmp_path):
    prefix, _, kind = name.partition(":")
    if prefix == "timm":
        theirs = pytest.importorskip("timm").create_model(kind, num_classes=7)
    else:
        from torchvision import models

        theirs = models.get_model(kind, num_classes=7)
    path = save({"state_dict": theirs.eval().state_dict()}, tmp_path / "w.pth")
    model = fv.load_model(name, weights=path, device="cpu")
    (note,) = model.notes
    assert f"{name} was built with the file's 7 classes" in note
    assert (model.labels, model.missing) == ((), frozenset())
    seen = torch.rand((1, 3, 64, 64), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(model.module(seen), theirs(seen))
        assert model.module(seen).shape == (1, 7)
    named = fv.load_model(name, weights=path, labels=[f"kind {n}" for n in range(7)], device="cpu")
    assert named.labels[6] == "kind 6"


def test_an_embedded_network_takes_a_head_of_ones_own(tmp_path):
    timm = pytest.importorskip("timm")
    theirs = timm.create_model("tf_efficientnet_lite0", num_classes=5)
    path = save(theirs.state_dict(), tmp_path / "w.pth")
    model = fv.load_model("efficientnet_lite0", weights=path, device="cpu")
    assert model.at((64, 64)).layer("classifier").units == 5


def test_timm_is_built_for_the_files_channels(tmp_path):
    timm = pytest.importorskip("timm")
    theirs = timm.create_model("resnet18", num_classes=4, in_chans=1).eval()
    path = save(theirs.state_dict(), tmp_path / "w.pth")
    model = fv.load_model("timm:resnet18", weights=path, device="cpu")
    assert model.channels == 1
    seen = torch.rand((1, 1, 64, 64))
    with torch.no_grad():
        assert torch.equal(model.module(seen), theirs(seen))
    from torchvision import models

    stem = {**models.resnet18().state_dict(), "conv1.weight": torch.ones(64, 1, 7, 7)}
    with pytest.raises(fv.WeightsError, match=r"'conv1.weight' has shape \(64, 1, 7, 7\)"):
        fv.load_model("torchvision:resnet18", weights=save(stem, tmp_path / "w.pth"), device="cpu")


def test_where_it_cannot_be_built_the_head_is_missing_and_earlier_layers_serve(trained, tmp_path):
    head = {"fc.weight": torch.ones(9, trained["fc.weight"].shape[1]), "fc.bias": torch.ones(9)}
    model = load(save({**trained, **head}, tmp_path / "w.pth"))
    assert any(
        "its head (fc) is of 9 classes, the network's of 5; layers before it serve" in n for n in model.notes
    )
    (picture,) = fv.render(model, "conv2:1", size=(17, 24), steps=2, lanes=1)
    assert picture.status == "ok"
    assert torch.equal(model.module.norm.weight, trained["norm.weight"])
    with pytest.raises(fv.TargetError, match="'fc', which has no weights"):
        fv.render(model, "fc:0", size=(17, 24), steps=2, lanes=1)


def test_a_network_of_another_width_is_no_head(trained, tmp_path):
    other = {**trained, "conv2.weight": torch.ones(9, *trained["conv2.weight"].shape[1:])}
    other |= {"norm.weight": torch.ones(9), "fc.weight": torch.ones(9, trained["fc.weight"].shape[1])}
    with pytest.raises(fv.WeightsError, match=r"does not fit this network: .conv2\.weight. has shape"):
        load(save(other, tmp_path / "w.pth"))


# Numbers that are none


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite_are_told_and_layers_before_them_render(value, trained, tmp_path):
    sick = {name: tensor.clone() for name, tensor in trained.items()}
    sick["fc.weight"][0, 0] = value
    model = load(save(sick, tmp_path / "w.pth"))
    (note,) = model.notes
    assert "'fc.weight' holds values that are not finite" in note
    healthy = load(save(trained, tmp_path / "h.pth"))
    asked = {"size": (17, 24), "steps": 2, "lanes": 1}
    (a,), (b,) = (fv.render(one, "conv2:1", **asked) for one in (model, healthy))
    assert (a.levels == b.levels).all()


# What is no checkpoint


def torchscript(path):
    torch.jit.trace(seeded(Small).eval(), images()).save(str(path))


def exported(path):
    torch.export.save(torch.export.export(seeded(Small).eval(), (images(),)), str(path))


def zipped(path, *names):
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, b"0" * 100)


def deflated(path):
    torch.save(seeded(Small).state_dict(), path)
    with zipfile.ZipFile(path) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, one in content.items():
            archive.writestr(name, one)


def tarred(path):
    with tarfile.open(path, "w") as archive:
        archive.addfile(tarfile.TarInfo("best.pth"))


KINDS = {
    "TorchScript": (torchscript, "is a TorchScript archive: torch.save(torch.jit.load("),
    "export": (exported, "is an exported program of torch.export: torch.save(torch.export.load("),
    "ONNX": (lambda path: path.write_bytes(b"\x08\x08\x12\x07pytorch\x1a\x052.0.0"), "is an ONNX file"),
    "HDF5": (lambda path: path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(99)), "is an HDF5 file, as Keras"),
    "Keras": (
        lambda path: zipped(path, "metadata.json", "config.json", "model.weights.h5"),
        "network of Keras",
    ),
    "TensorFlow": (lambda path: path.write_bytes(b"\x1c\x00\x00\x00TFL3" + bytes(99)), "file of TensorFlow"),
    "LFS": (
        lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\noid"),
        "pointer of Git LFS",
    ),
    "HTML": (lambda path: path.write_text("\n<!DOCTYPE html><html>login</html>"), "is a web page"),
    "text": (lambda path: path.write_text("Not Found"), "is a text file"),
    "JSON": (lambda path: path.write_text('{"a": 1}'), "is a text file"),
    "empty": (lambda path: path.write_bytes(b""), "is empty"),
    "zip of a zip": (lambda path: zipped(path, "deep/best.pth"), "holds 'deep/best.pth'; unpack it first"),
    "npz": (lambda path: zipped(path, "a.npy"), "NumPy arrays"),
    "another zip": (lambda path: zipped(path, "word/document.xml"), "zip archive, but no checkpoint"),
    "compressed": (deflated, "is a compressed zip archive"),
    "gzip": (lambda path: path.write_bytes(b"\x1f\x8b\x08" + bytes(99)), "gzip; unpack it"),
    "tar": (tarred, "tar archive; unpack it"),
    "picture": (lambda path: path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(99)), "is a picture"),
    "one tensor": (lambda path: save(torch.ones(2), path), "one tensor without a name"),
    "numbers": (lambda path: save({"loss": 0.5}, path), "holds no tensors; it has 'loss'"),
    "namespace": (lambda path: save(argparse.Namespace(lr=1), path), "a argparse.Namespace"),
    "folder": (lambda path: path.mkdir(), "is a folder"),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_what_is_no_checkpoint_is_called_by_its_name(kind, tmp_path):
    make, says = KINDS[kind]
    path = tmp_path / "w.pth"
    make(path)
    with pytest.raises(fv.WeightsError) as caught:
        load(path)
    assert says in str(caught.value)
    assert "w.pth" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize("kind", ["TorchScript", "export"])
def test_the_way_out_that_is_told_leads_out(kind, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    KINDS[kind][0](pathlib.Path("net.pt2"))
    with pytest.raises(fv.WeightsError) as caught:
        load("net.pt2")
    typed = str(caught.value).partition(": ")[2].partition(" in Python")[0]
    exec(typed, {"torch": torch})
    assert torch.equal(outputs(load("weights.pth").module), outputs(seeded(Small)))


# Hostile files


class Call:
    def __init__(self, function, *args):
        self.called = function, args

    def __reduce__(self):
        return self.called


class WithState:
    def __init__(self, function, *args):
        self.inner = Call(function, *args)

    def __getstate__(self):
        return {"inner": self.inner}


def ran(tmp_path):
    return tmp_path / "ran"


def nothing_runs(content, tmp_path, protocol=2):
    path = tmp_path / "w.pth"
    path.write_bytes(content)
    try:
        read_weights(path)
    except fv.WeightsError as error:
        assert "\n" not in str(error)  # noqa: PT017
        assert len(str(error)) < 600  # noqa: PT017
    assert not ran(tmp_path).exists()


@pytest.mark.parametrize("protocol", range(6))
def test_no_opcode_runs_anything(protocol, tmp_path):
    trap = str(ran(tmp_path))
    for function, args in (
        (open, (trap, "w")),
        (exec, (f"open({trap!r}, 'w')",)),
        (pathlib.Path.touch, (pathlib.Path(trap),)),
        (subprocess.check_call, (["touch", trap],)),
        (functools.partial(open, trap, "w"), ()),
    ):
        for wrap in (
            lambda one: one,
            lambda one: {"w": torch.ones(2), "x": one},
            lambda one: [{"y": (one,)}],
        ):
            for kind in (Call, WithState):
                nothing_runs(pickle.dumps(wrap(kind(function, *args)), protocol=protocol), tmp_path)


RAW = {
    "INST": b"(S'touch RAN'\nios\nsystem\n.",
    "OBJ": b"(cos\nsystem\nS'touch RAN'\no.",
    "STACK_GLOBAL": b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x09touch RAN\x85R.",
    "NEWOBJ_EX": b"\x80\x04cposix\nsystem\n(S'touch RAN'\nt}\x92.",
    "BUILD on a function": b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n}S'x'\nK\x01sb.",
    "BUILD on a class": b"\x80\x02ccollections\nOrderedDict\n}S'x'\nK\x01sb.",
    "setstate": b"\x80\x02cposix\nsystem\n)R}S'__setstate__'\ncos\nsystem\nsbS'touch RAN'\nb.",
    "extension": b"\x80\x02\x82\x01.",
    "persistent": b"\x80\x02S'touch RAN'\nQ.",
    "deep tuple as key": b"\x80\x02)" + b"\x85" * 200_000 + b"}q\x00\x30}h\x01.",
    "deep tuple in a dict": b"\x80\x02})" + b"\x85" * 200_000 + b"K\x01s.",
    "deep tuple in a set": b"\x80\x04\x8f()" + b"\x85" * 200_000 + b"\x90.",
    "deep lists": b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b".",
    "long memo": b"\x80\x02Nr\xff\xff\xff\xff.",
    "huge text": b"\x80\x04\x8d" + struct.pack("<Q", 1 << 62) + b"x.",
    "huge bytes": b"\x80\x04\x8e" + struct.pack("<Q", 1 << 40) + b"x.",
    "huge array": b"\x80\x05\x96" + struct.pack("<Q", 1 << 40) + b"x.",
    "huge number": b"I" + b"9" * 100_000 + b"\n.",
    "huge frame": b"\x80\x04\x95" + struct.pack("<Q", 1 << 50) + b"N.",
    "list within itself": b"\x80\x02]q\x00h\x00a.",
    "no end": b"\x80\x02}",
    "empty stack": b"\x80\x02.",
    "mark": b"\x80\x02(.",
}


@pytest.mark.parametrize("kind", RAW)
def test_hostile_pickles_end_in_one_line_and_run_nothing(kind, tmp_path):
    nothing_runs(RAW[kind].replace(b"RAN", str(ran(tmp_path)).encode()), tmp_path)


def test_what_grows_by_references_is_walked_once(tmp_path):
    made = {"w": torch.ones(1)}
    for _ in range(64):  # 2 to the power of 64 paths to one tensor
        made = {"a": made, "b": made}
    path = tmp_path / "w.pth"
    path.write_bytes(pickle.dumps(made))
    assert len(read_weights(path).tensors) <= 64


def test_a_tensor_cannot_reach_beyond_its_numbers(tmp_path):
    good = save({"w": torch.arange(6.0).reshape(2, 3)}, tmp_path / "w.pth").read_bytes()
    content = good.replace(b"K\x02K\x03\x86", b"K\xffK\xff\x86")
    assert content != good
    path = tmp_path / "w.pth"
    path.write_bytes(content)
    with pytest.raises(fv.WeightsError, match="damaged or cut short"):
        read_weights(path)


def test_a_file_declares_no_more_than_it_holds(tmp_path):
    path = tmp_path / "w.pth"
    torch.save({"w": torch.ones(4)}, path, _use_new_zipfile_serialization=False)
    content = path.read_bytes()
    # The number of elements in the persistent id.
    path.write_bytes(
        content.replace(b"X\x03\x00\x00\x00cpuq\x06K\x04", b"X\x03\x00\x00\x00cpuq\x06J\x00\x00\x00\x7f")
    )
    assert path.read_bytes() != content
    with pytest.raises(fv.WeightsError, match="declares more numbers than the file holds"):
        read_weights(path)


def test_a_zip_bomb_is_not_unpacked(tmp_path):
    path = tmp_path / "w.pth"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("w/data.pkl", bytes(50_000_000))
    with pytest.raises(fv.WeightsError, match="compressed"):
        read_weights(path)


@pytest.mark.parametrize("seed", range(30))
@pytest.mark.parametrize("old", [False, True], ids=["zip", "old format"])
def test_any_damage_ends_in_one_line(seed, old, trained, tmp_path):
    chance = np.random.default_rng(seed)
    buffer = io.BytesIO()
    torch.save({"model": trained, "args": FOREIGN["args"]}, buffer, _use_new_zipfile_serialization=not old)
    content = bytearray(buffer.getvalue())
    for _ in range(int(chance.choice((1, 5, 50)))):
        content[int(chance.integers(len(content) if seed % 2 else 2000))] = int(chance.integers(256))
    if seed % 3 == 0:
        content = content[: int(chance.integers(len(content)))]
    nothing_runs(bytes(content), tmp_path)


def test_reading_leaves_no_module_behind(tmp_path):
    """What a checkpoint names is not imported."""
    path = tmp_path / "w.pth"
    path.write_bytes(b"\x80\x02}S'a'\nctkinter\nTk\n)Rs.")
    with pytest.raises(fv.WeightsError):
        read_weights(path)
    assert "tkinter" not in sys.modules
