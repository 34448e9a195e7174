"""Weights from files that nobody vouches for."""

from __future__ import annotations

import os
import pickle
import random
import zipfile

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import featvis as fv
from featvis.models.weights import read_weights
from tests.networks import Small, handle, seeded

TOLD = {"mean": (0.5,) * 3, "std": (0.5,) * 3, "input_size": (17, 24)}
SMALL = {"size": (17, 24), "steps": 2, "lanes": 1}


@pytest.fixture(scope="module")
def trained():
    return seeded(Small, seed=99).state_dict()


def load(path, module=None):
    return fv.load_model(module if module is not None else seeded(Small), weights=path, **TOLD)


def save(tensors, path):
    if path.suffix == ".safetensors":
        save_file({name: value.clone() for name, value in tensors.items()}, path)
    else:
        torch.save(tensors, path)
    return path


def nest(*keys):
    def wrap(tensors):
        for key in reversed(keys):
            tensors = {key: tensors, "epoch": 3, "arch": "small"}
        return tensors

    return wrap


FORMS = {
    "plain": lambda t: t,
    "state_dict": nest("state_dict"),
    "model": nest("model"),
    "twice": nest("model", "state_dict"),
    "module.": lambda t: {"module." + name: value for name, value in t.items()},
    "nested module.": lambda t: {"state_dict": {"module." + name: value for name, value in t.items()}},
    "compiled": lambda t: {"_orig_mod." + name: value for name, value in t.items()},
    "both": lambda t: {"module._orig_mod." + name: value for name, value in t.items()},
    "parameters": lambda t: {name: nn.Parameter(v) if v.is_floating_point() else v for name, v in t.items()},
    "half": lambda t: {name: v.half() if v.is_floating_point() else v for name, v in t.items()},
}


@pytest.mark.parametrize("form", FORMS)
def test_a_checkpoint_loads_however_it_is_wrapped(form, trained, tmp_path):
    path = tmp_path / "weights.pth"
    torch.save(FORMS[form](trained), path)
    model = load(path)
    for name, value in model.module.state_dict().items():
        torch.testing.assert_close(value, trained[name], rtol=1e-3, atol=1e-3)
    assert model.notes == ()


@pytest.mark.parametrize("form", ["plain", "module.", "compiled"])
def test_safetensors_load(form, trained, tmp_path):
    model = load(save(FORMS[form](trained), tmp_path / "weights.safetensors"))
    for name, value in model.module.state_dict().items():
        assert torch.equal(value, trained[name])


def test_the_old_format_of_checkpoints_loads(trained, tmp_path):
    path = tmp_path / "old.pth"
    torch.save(trained, path, _use_new_zipfile_serialization=False)
    assert torch.equal(load(path).module.conv1.weight, trained["conv1.weight"])


def test_other_weights_have_another_fingerprint(trained, tmp_path):
    path = save(trained, tmp_path / "weights.safetensors")
    assert load(path).fingerprint() == load(path).fingerprint()
    assert load(path).fingerprint() != handle(seeded(Small)).fingerprint()
    changed = {**trained, "fc.bias": torch.nextafter(trained["fc.bias"], torch.ones(()))}
    assert load(save(changed, tmp_path / "other.safetensors")).fingerprint() != load(path).fingerprint()
    moved = fv.load_model(seeded(Small), weights=path, **{**TOLD, "mean": (0.4,) * 3})
    assert moved.fingerprint() != load(path).fingerprint(), "the preprocessing is part of it"


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_file_for_part_of_the_network_says_which_part_lacks_weights(suffix, trained, tmp_path):
    part = {name: value for name, value in trained.items() if not name.startswith(("norm", "fc"))}
    model = load(save(part, tmp_path / f"part{suffix}"))
    (note,) = model.notes
    assert "without weights: norm, fc" in note
    assert "covers 4 of 10 tensors" in note, "those that are weights"
    assert fv.render(model, "conv2:1", **SMALL)[0].status == "ok"
    for target in ("norm:1", "relu2:0", "fc:0"):
        with pytest.raises(fv.TargetError, match=r"'norm', which has no weights.*earlier layer"):
            fv.render(model, target, **SMALL)
    with pytest.raises(fv.TargetError, match="no weights"):
        fv.render(model, fv.channel("conv1", 0) + fv.channel("fc", 0), **SMALL)


class Rooted(nn.Module):
    """Parameters of containers, as transformers have them: used before the container ends."""

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1)
            self.scale = nn.Parameter(torch.ones(4, 1, 1))

        def forward(self, found):
            return self.second(self.first(found) * self.scale)

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 1)
        self.position = nn.Parameter(torch.zeros(4, 1, 1))
        self.block, self.end = self.Block(), nn.Conv2d(4, 2, 1)

    def forward(self, images):
        return self.end(self.block(self.stem(images) + self.position))


@pytest.mark.parametrize(
    ("lacks", "refused", "allowed"),
    [("position", ["block.first", "end"], []), ("block.scale", ["block.second", "block", "end"], ["stem"])],
)
def test_a_containers_own_parameter_that_lacks_is_noticed(lacks, refused, allowed, tmp_path):
    part = {name: value for name, value in seeded(Rooted).state_dict().items() if name != lacks}
    model = load(save(part, tmp_path / "part.safetensors"), seeded(Rooted))
    for layer in refused:
        with pytest.raises(fv.TargetError, match="no weights"):
            model.layer(layer)
    for layer in allowed:
        assert model.layer(layer).units == 4


def test_a_tensor_that_the_network_does_not_run_is_not_missed(tmp_path):
    class Aside(Small):
        def __init__(self):
            super().__init__()
            self.auxiliary = nn.Linear(3, 2)

    part = seeded(Small).state_dict()
    model = load(save(part, tmp_path / "part.safetensors"), seeded(Aside))
    assert fv.render(model, "fc:1", **SMALL)[0].status == "ok"


def test_tensors_that_the_network_lacks_are_said(trained, tmp_path):
    path = save({**trained, "head.weight": torch.ones(3)}, tmp_path / "more.safetensors")
    (note,) = load(path).notes
    assert "1 tensors are not part of this network" in note
    assert "head.weight" in note


@pytest.mark.slow
def test_vgg16s_features_leave_the_classifier_without_weights(vgg16_weights):
    model = fv.load_model("torchvision:vgg16", weights=vgg16_weights)
    assert any("classifier" in note for note in model.notes)
    assert model.mean == pytest.approx((123.68 / 255, 116.779 / 255, 103.939 / 255))
    assert model.std == pytest.approx((1 / 255,) * 3)
    assert model.at((33, 48)).layer("features.0").units == 64
    with pytest.raises(fv.TargetError, match="no weights"):
        model.at((33, 48)).layer("classifier.6")


def test_metadata_of_a_file_gives_the_preprocessing(trained, tmp_path):
    path = tmp_path / "weights.safetensors"
    save_file(trained, path, {"note": "RGB, mean (123.68, 116.779, 103.939)/255, std 1/255"})
    model = fv.load_model(seeded(Small), weights=path, input_size=(17, 24))
    assert model.mean == pytest.approx((123.68 / 255, 116.779 / 255, 103.939 / 255))
    assert model.std == pytest.approx((1 / 255,) * 3)
    save_file(trained, path, {"mean": "[0.1, 0.2, 0.3]", "std": "[1, 2, 3]"})
    model = fv.load_model(seeded(Small), weights=path, input_size=(17, 24))
    assert (model.mean, model.std) == ((0.1, 0.2, 0.3), (1, 2, 3))
    model = fv.load_model(seeded(Small), weights=path, **TOLD)
    assert model.mean == (0.5,) * 3, "what the user says comes first"


class Hostile:
    """Makes a file when it is unpickled by a reader that runs code."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return (open, (self.path, "w"))


@pytest.mark.parametrize("form", ["alone", "beside tensors", "plain pickle", "old format", "os.system"])
@pytest.mark.parametrize("suffix", [".pth", ".pt", ".bin", ".ckpt"])
def test_a_checkpoint_that_would_run_code_is_refused_and_runs_none(form, suffix, trained, tmp_path):
    path, trap = tmp_path / f"hostile{suffix}", tmp_path / "created"
    evil = Hostile(trap)
    if form == "os.system":
        evil = type("Shell", (), {"__reduce__": lambda self: (os.system, (f"touch {trap}",))})()
    content = {"state_dict": trained, "extra": evil} if form == "beside tensors" else evil
    if form == "plain pickle":
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=form != "old format")
    with pytest.raises(fv.WeightsError) as caught:
        load(path)
    assert not trap.exists()
    assert "\n" not in str(caught.value)
    assert "run code" in str(caught.value)


def broken(kind, tmp_path, trained):
    path = tmp_path / ("weights.safetensors" if "safetensors" in kind else "weights.pth")
    save(trained, path)
    content = path.read_bytes()
    if kind.startswith("truncated"):
        path.write_bytes(content[: len(content) // 2])
    elif kind.startswith("empty"):
        path.write_bytes(b"")
    elif kind.startswith("text"):
        path.write_text("<html>404 not found</html>\n" * 50)
    elif kind.startswith("noise"):
        path.write_bytes(random.Random(3).randbytes(5000))
    elif kind == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("photo.txt", "hello")
    elif kind == "other kind safetensors":
        torch.save(trained, path)
    elif kind == "pickle of a number":
        torch.save(3, path)
    elif kind == "list":
        torch.save([torch.ones(2)], path)
    elif kind == "no tensors":
        torch.save({"epoch": 3}, path)
    elif kind == "empty dict":
        torch.save({}, path)
    elif kind == "folder":
        path.unlink()
        path.mkdir()
    elif kind == "absent":
        path.unlink()
    return path


BROKEN = [
    "truncated",
    "truncated safetensors",
    "empty",
    "empty safetensors",
    "text",
    "text safetensors",
    "noise",
]
BROKEN += ["noise safetensors", "zip", "other kind safetensors", "pickle of a number", "list", "no tensors"]
BROKEN += ["empty dict", "folder", "absent"]


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_file_is_refused_in_one_line(kind, trained, tmp_path):
    path = broken(kind, tmp_path, trained)
    with pytest.raises(fv.WeightsError) as caught:
        load(path)
    assert "\n" not in str(caught.value)
    assert path.name in str(caught.value)


@pytest.mark.parametrize("seed", range(40))
def test_whatever_bytes_are_in_a_checkpoint_no_other_error_comes_out(seed, trained, tmp_path):
    chance = random.Random(seed)
    path = save(trained, tmp_path / "weights.pth")
    if seed % 4 == 0:
        content = bytearray(pickle.dumps({"conv1.weight": [1.0, 2.0, {"a": (3, "x")}]}, protocol=seed % 6))
    else:
        content = bytearray(path.read_bytes())
    for _ in range(chance.choice((1, 5, 50))):
        content[chance.randrange(len(content))] = chance.randrange(256)
    path.write_bytes(bytes(content))
    try:
        read_weights(path)
    except fv.WeightsError as error:
        assert "\n" not in str(error)  # noqa: PT017


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("what", ["shape", "names"])
def test_weights_that_do_not_fit_are_refused(suffix, what, trained, tmp_path):
    changed = dict(trained)
    if what == "shape":
        changed["conv1.weight"] = torch.ones(6, 3, 5, 5)
        says = r"'conv1.weight' has shape \(6, 3, 5, 5\), the network needs \(6, 3, 3, 3\)"
    else:
        changed = {f"features.{place}": value for place, value in enumerate(trained.values())}
        says = r"no name matches .*features\."
    path = save(changed, tmp_path / f"weights{suffix}")
    module = seeded(Small)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    with pytest.raises(fv.WeightsError, match=says):
        load(path, module)
    for name, value in module.state_dict().items():
        assert torch.equal(value, before[name]), "nothing is half loaded"
