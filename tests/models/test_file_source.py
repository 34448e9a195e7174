"""Networks that a file of the user's builds: as ``python FILE`` would find everything."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import torch

import featvis as fv
from featvis.cli import main

TOLD = "dict(mean=(.5,) * 3, std=(.5,) * 3, input_size=(16, 16))"
HEAD = "import torch\nfrom torch import nn\n"
NET = "nn.Sequential(nn.Conv2d(3, 4, 3))"


@pytest.fixture(autouse=True)
def _as_it_was(tmp_path):
    path = list(sys.path)
    yield
    sys.path[:] = path
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None)).startswith(str(tmp_path)):
            del sys.modules[name]


def write(folder, name, text):
    folder.mkdir(exist_ok=True, parents=True)
    (folder / name).write_text(text)
    return folder / name


def load(path, function="make", **told):
    return fv.load_model(f"file:{path}:{function}", **told)


def units(model):
    return model.at((16, 16)).layer("0").units


def test_a_file_beside_it_is_imported(tmp_path, monkeypatch):
    write(tmp_path, "parts_of_mine.py", HEAD + "def conv(n): return nn.Conv2d(3, n, 3)\n")
    write(tmp_path / "package_of_mine", "__init__.py", "WIDTH = 5\n")
    text = "from parts_of_mine import conv\nfrom package_of_mine import WIDTH\n"
    text += f"{HEAD}def make(): return nn.Sequential(conv(WIDTH)), {TOLD}\n"
    path = write(tmp_path, "build.py", text)
    monkeypatch.chdir("/")
    assert units(load(path)) == 5
    assert sys.path[0] != str(tmp_path), "nothing in it hides a package afterwards"


def test_two_folders_with_helpers_of_one_name_do_not_mix(tmp_path):
    for width in (4, 6):
        folder = tmp_path / str(width)
        write(folder, "helper_of_mine.py", f"WIDTH = {width}\n")
        write(
            folder,
            "build.py",
            f"{HEAD}from helper_of_mine import WIDTH\n"
            f"def make(): return nn.Sequential(nn.Conv2d(3, WIDTH, 3)), {TOLD}\n",
        )
    assert [units(load(tmp_path / width / "build.py")) for width in ("4", "6", "4")] == [4, 6, 4]
    write(tmp_path / "4", "helper_of_mine.py", "WIDTH = 7\n# longer than before\n")
    assert units(load(tmp_path / "4" / "build.py")) == 7, "a helper that was changed is read anew"


def test_the_sessions_own_module_of_that_name_comes_back(tmp_path, monkeypatch):
    write(tmp_path / "mine", "helper_of_session.py", "WIDTH = 3\n")
    monkeypatch.syspath_prepend(str(tmp_path / "mine"))
    own = __import__("helper_of_session")
    write(tmp_path / "net", "helper_of_session.py", "WIDTH = 8\n")
    text = f"{HEAD}from helper_of_session import WIDTH\n"
    text += f"def make(): return nn.Sequential(nn.Conv2d(3, WIDTH, 3)), {TOLD}\n"
    assert units(load(write(tmp_path / "net", "build.py", text))) == 8
    assert sys.modules["helper_of_session"] is own


def test_a_file_called_as_a_package_hides_nothing(tmp_path):
    write(tmp_path, "timm.py", "raise RuntimeError('not this one')\n")
    path = write(
        tmp_path,
        "torch.py",
        f"import importlib\nnn = importlib.import_module('torch.nn')\ndef make(): return {NET}, {TOLD}\n",
    )
    assert units(load(path)) == 4
    assert sys.modules["torch"] is torch
    assert fv.load_model("efficientnet_lite0", weights="none").channels == 3


def test_dataclasses_with_annotations_as_texts(tmp_path):
    text = (
        "from __future__ import annotations\nfrom dataclasses import dataclass, field\nimport typing\n" + HEAD
    )
    text += (
        "@dataclass\nclass Config:\n    width: int = 6\n    rest: list[int] = field(default_factory=list)\n"
    )
    text += "class Named(typing.NamedTuple):\n    width: int = 6\n"
    text += "def make():\n    assert typing.get_type_hints(Config)['width'] is int\n"
    text += f"    return nn.Sequential(nn.Conv2d(3, Config().width, 3)), {TOLD}\n"
    assert units(load(write(tmp_path, "build.py", text))) == 6


def test_a_pickle_of_a_class_of_main_is_found(tmp_path):
    """A training script saved its whole network; the same script, or one that has the class, loads it."""
    text = HEAD + "class Net(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
    text += "        self.conv = nn.Conv2d(3, 5, 3)\n    def forward(self, x):\n        return self.conv(x)\n"
    train = text + "if __name__ == '__main__':\n    torch.manual_seed(4)\n    torch.save(Net(), 'net.pt')\n"
    path = write(
        tmp_path,
        "train.py",
        train + "def make():\n    from pathlib import Path\n"
        f"    return torch.load(Path(__file__).with_name('net.pt'), weights_only=False), {TOLD}\n",
    )
    subprocess.run([sys.executable, "train.py"], cwd=tmp_path, check=True)
    model = load(path)
    assert model.at((16, 16)).layer("conv").units == 5
    assert sys.modules["__main__"].__name__ != model.module.__class__.__module__
    # As weights, its tensors are read and none of its code is run.
    bare = write(tmp_path, "bare.py", text + f"def make(): return Net(), {TOLD}\n")
    other = load(bare, weights=tmp_path / "net.pt")
    assert torch.equal(other.module.conv.weight, model.module.conv.weight)
    assert any("a whole pickled Net; its tensors were read" in note for note in other.notes)


def test_the_main_block_is_not_run_and_arguments_are_the_files_own(tmp_path, monkeypatch):
    text = (
        HEAD
        + "import argparse, sys\nparser = argparse.ArgumentParser()\n"
        + "parser.add_argument('--width', default=4)\n"
    )
    text += f"args = parser.parse_args()\nassert sys.argv == [__file__]\ndef make(): return {NET}, {TOLD}\n"
    text += "if __name__ == '__main__':\n    raise SystemExit('training begins')\n"
    path = write(tmp_path, "build.py", text)
    monkeypatch.setattr(sys, "argv", ["featvis", "render", "--size", "12"])
    assert units(load(path)) == 4
    assert sys.argv == ["featvis", "render", "--size", "12"]


@pytest.mark.parametrize("where", ["at once", "in the function"])
def test_a_file_that_ends_the_program_is_one_line(where, tmp_path):
    end = "raise SystemExit(3)\n"
    text = HEAD + (end if where == "at once" else "") + "def make():\n    " + end
    with pytest.raises(fv.ModelError, match=r"ends the program \(exit code 3\)") as caught:
        load(write(tmp_path, "build.py", text))
    assert "\n" not in str(caught.value)


def test_many_lines_of_an_error_are_one(tmp_path):
    with pytest.raises(fv.ModelError, match="fails: KeyError: ") as caught:
        load(write(tmp_path, "build.py", HEAD + "def make():\n    raise KeyError('a\\nb\\n' * 500)\n"))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


def test_a_network_may_stand_there_ready_or_be_made_by_a_class(tmp_path):
    text = f"{HEAD}net = {NET}\nclass Net(nn.Sequential):\n    def __init__(self):\n"
    text += "        super().__init__(nn.Conv2d(3, 6, 3))\n"
    text += "    @classmethod\n    def tiny(cls): return cls()\n"
    path = write(tmp_path, "build.py", text)
    told = {"mean": (0.5,) * 3, "std": (0.5,) * 3, "input_size": 16}
    assert [units(load(path, function, **told)) for function in ("net", "Net", "Net.tiny")] == [4, 6, 6]


def test_what_it_prints_stays_out_of_the_output(tmp_path, capsys):
    path = write(
        tmp_path,
        "build.py",
        f"print('hello')\n{HEAD}def make():\n    print('world')\n    return {NET}, {TOLD}\n",
    )
    assert main(["layers", f"file:{path}:make", "--json", "--no-fields"]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)[0]["units"] == 4
    assert "hello" in said.err
    assert "world" in said.err


def test_what_is_imported_only_when_the_network_runs_is_found(tmp_path):
    write(tmp_path, "late_of_mine.py", "def twice(x): return x * 2\n")
    text = (
        HEAD + "class Net(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
        "        self.conv = nn.Conv2d(3, 5, 3)\n"
    )
    text += "    def forward(self, x):\n        from late_of_mine import twice\n"
    text += "        return twice(self.conv(x))\n"
    path = write(tmp_path, "build.py", text + f"def make(): return Net(), {TOLD}\n")
    (picture,) = fv.render(load(path), "conv:1", size=16, steps=2, lanes=1)
    assert picture.status == "ok"


def test_a_handle_that_it_returns_is_taken_with_all_that_it_is(tmp_path):
    text = HEAD + "import featvis as fv\ndef make():\n    torch.manual_seed(1)\n"
    text += f"    return fv.load_model({NET}, mean=(103, 116, 123), std=(1, 1, 1), channel_order='bgr',\n"
    text += "        labels=list('abcd'), input_size=16, unit_axis=1)\n"
    path = write(tmp_path, "build.py", text)
    model = load(path)
    assert model.name == f"file:{path}:make"
    assert model.mean == pytest.approx((123 / 255, 116 / 255, 103 / 255))
    assert (model.labels, model.input_size, model.unit_axes) == (("a", "b", "c", "d"), (16, 16), {"": 1})
    images = torch.rand((1, 3, 16, 16), generator=torch.Generator().manual_seed(0))
    shown = images.flip(1) * 255 - torch.tensor([103.0, 116, 123])[:, None, None]
    with model.tap(["0"]) as activations, torch.no_grad():
        assert torch.allclose(
            activations(images)["0"], model.module._modules["0"](shown), rtol=1e-3, atol=1e-2
        )
    assert load(path, mean=(0, 0, 0)).mean == (0, 0, 0)


def test_a_pair_that_it_returns_is_a_pair_still(tmp_path):
    text = (
        HEAD
        + "import featvis as fv\nclass Pair(nn.Module):\n    def __init__(self):\n"
        + "        super().__init__()\n"
    )
    text += "        self.conv = nn.Conv2d(3, 3, 1)\n"
    text += "    def encode_image(self, x): return self.conv(x).mean((2, 3))\n"
    text += "    def encode_text(self, tokens): return tokens\n"
    text += "def make(): return fv.load_paired(Pair(), lambda texts: torch.eye(3)[:1], input_size=16)\n"
    path = write(tmp_path, "build.py", text)
    model = load(path)
    assert fv.text(model, "red").vectors.tolist() == [[1.0, 0.0, 0.0]]
    with pytest.raises(fv.ModelError, match="returns a PairedHandle, which has its own mean"):
        load(path, mean=(0, 0, 0))


def test_timm_from_a_function_knows_its_preprocessing(tmp_path):
    pytest.importorskip("timm")
    text = "import timm\ndef make(): return timm.create_model('resnet10t', num_classes=3)\n"
    text += "def gray(): return timm.create_model('resnet10t', in_chans=1)\n"
    path = write(tmp_path, "build.py", text)
    model = load(path)
    assert model.mean == pytest.approx((0.485, 0.456, 0.406))
    assert model.input_size == (176, 176)
    gray = load(path, "gray")
    assert gray.mean == pytest.approx(((0.485 + 0.456 + 0.406) / 3,))
    assert gray.std == pytest.approx(((0.229 + 0.224 + 0.225) / 3,))
    assert any("1 channels" in note for note in gray.notes)
    assert len(gray.labels) == 1000
    named = load(path, "gray", mean=(0.5,), std=(0.25,))
    assert (named.mean, named.std) == ((0.5,), (0.25,))


def test_what_it_sets_for_its_own_process_is_set_back(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = HEAD + "import os\nos.chdir('/')\ntorch.set_grad_enabled(False)\n"
    text += "torch.set_default_dtype(torch.float64)\ntorch.set_num_threads(1)\n"
    before = torch.get_num_threads()
    model = load(write(tmp_path, "build.py", text + f"def make(): return {NET}, {TOLD}\n"))
    assert (os.getcwd(), torch.is_grad_enabled()) == (str(tmp_path), True)
    assert (torch.get_default_dtype(), torch.get_num_threads()) == (torch.float32, before)
    assert model.dtype == torch.float64
    assert fv.render(model, "0:1", size=16, steps=2, lanes=1)[0].status == "ok"


def test_labels_lie_beside_the_file(tmp_path, monkeypatch):
    write(tmp_path, "names.txt", "a\nb\nc\nd\n")
    text = HEAD + f"def make(): return [{NET}, dict(labels='names.txt', **{TOLD})]\n"
    monkeypatch.chdir("/")
    assert load(write(tmp_path, "build.py", text)).labels == ("a", "b", "c", "d")


def test_a_handle_may_be_told_more(tmp_path):
    text = (
        HEAD
        + "import featvis as fv\n"
        + f"def make(): return fv.load_model({NET}, **{TOLD}), dict(labels=list('abcd'))\n"
    )
    assert load(write(tmp_path, "build.py", text)).labels == ("a", "b", "c", "d")


def test_the_dict_may_say_everything(tmp_path):
    text = (
        HEAD
        + f"def make(): return {NET}, dict(mean=torch.tensor([.1, .2, .3]), std=torch.ones(1, 3, 1, 1),\n"
    )
    text += "    input_size=16, channel_order='bgr', labels=dict(a=0, b=1, c=2, d=3), unit_axis={'0': 1},\n"
    text += "    forward=lambda net, images: net(images) * 2)\n"
    model = load(write(tmp_path, "build.py", text))
    assert model.mean == pytest.approx((0.3, 0.2, 0.1))
    assert (model.labels, model.unit_axes) == (("a", "b", "c", "d"), {"0": 1})
