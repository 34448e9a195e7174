"""Every mistake of a user's is one line on stderr, exit code 2, before any compute, nothing left behind."""

import json
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from featvis.cli import main
from featvis.run import job
from tests.without_torch import answers


class Hostile:
    """A pickle that would write a file if it were run."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (Path.touch, (Path(self.path),))


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Damaged, hostile and unfitting files to be named in requests."""
    place = tmp_path_factory.mktemp("files")
    (place / "corrupt.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0 not json at all")
    (place / "corrupt.pth").write_bytes(b"no checkpoint")
    (place / "empty.pth").write_bytes(b"")
    (place / "hostile.pth").write_bytes(pickle.dumps({"conv_stem.weight": Hostile(place / "ran")}))
    torch.save({"epoch": 3}, place / "nothing.pth")
    save_file({"conv_stem.weight": torch.zeros(7, 3, 3, 3)}, place / "shape.safetensors")
    save_file({"elsewhere.weight": torch.zeros(2)}, place / "names.safetensors")
    (place / "part.safetensors").write_bytes(b"")
    save_file({"conv_stem.weight": torch.zeros(32, 3, 3, 3)}, place / "part.safetensors")
    (place / "broken.toml").write_text("steps = = 3")
    (place / "key.toml").write_text("stepps = 3")
    (place / "type.toml").write_text('steps = "many"')
    (place / "part.toml").write_text('[space]\nname = "fourrier"')
    (place / "option.toml").write_text('[space]\nname = "fourier"\nexponnent = 1')
    (place / "weight.toml").write_text('[[penalties]]\nname = "l2"\nweight = -1')
    (place / "note.txt").write_text("no picture")
    (place / "model.py").write_text(
        "import torch\ndef net():\n    return torch.nn.Conv2d(3, 2, 3)\n"
        "def number():\n    return 3\ndef fails():\n    raise ValueError('no')\n"
    )
    return place


RENDER = ["render", "blocks.1:0:2", "--size", "32", "--steps", "2"]

BAD = {
    # what is typed: what the line must say
    "no command": (["rendr"], "rendr"),
    "no option": ([*RENDER, "--stepz", "3"], "--stepz"),
    "nothing to render": (["render"], "nothing to render"),
    "units without a layer": ([*RENDER, "--units", "0:3"], "--layer"),
    "unknown model": ([*RENDER, "--model", "efficientnet_lite9"], "efficientnet_lite0"),
    "model of another source": ([*RENDER, "--model", "resnet18"], "torchvision:resnet18"),
    "unknown source": ([*RENDER, "--model", "torchvison:resnet18"], "torchvision"),
    "unknown torchvision model": ([*RENDER, "--model", "torchvision:resnet19"], "resnet18"),
    "unknown timm model": ([*RENDER, "--model", "timm:vit_tinny_patch16_224"], "vit_tiny_patch16_224"),
    "empty model": ([*RENDER, "--model", ""], "--model"),
    "unknown layer": (["render", "blokcs.1:0"], "blocks.1"),
    "unknown class name": (["render", "classifier:pembrok"], "Pembroke"),
    "ambiguous class name": (["render", "classifier:corgi"], "264"),
    "names where there are none": (["render", "blocks.1:corgi"], "no names"),
    "unit out of range": (["render", "blocks.1:24"], "0 to 23"),
    "range past the end": (["render", "blocks.1:0:25"], "0 to 23"),
    "empty range": (["render", "blocks.1:5:5"], "no unit"),
    "negative unit": (["render", "blocks.1:-1"], "0 to 23"),
    "step zero": (["render", "blocks.1:0:8:0"], "at least 1"),
    "no units after the colon": (["render", "blocks.1:"], "blocks.1:all"),
    "no layer before the colon": (["render", ":3"], "names no layer"),
    "bad position": (["render", "blocks.1:3@4"], "ROW,COLUMN"),
    "position outside": (["render", "blocks.1:3@9,9", "--size", "32"], "8 rows by 8 columns"),
    "position of a logit": (["render", "classifier:3@0,0", "--size", "32"], "no map"),
    "negative steps": (["render", "blocks.1:0", "--steps", "-3"], "steps"),
    "steps of letters": (["render", "blocks.1:0", "--steps", "ten"], "--steps"),
    "no steps": (["render", "blocks.1:0", "--steps", "0"], "steps"),
    "size zero": (["render", "blocks.1:0", "--size", "0"], "size"),
    "size of letters": (["render", "blocks.1:0", "--size", "large"], "size"),
    "optimizer": (["render", "blocks.1:0", "--optimizer", "lbgfs"], "optimizer"),
    "copies": (["render", "blocks.1:0", "--copies", "0"], "copies"),
    "average": (["render", "blocks.1:0", "--average", "1"], "below 1"),
    "band": (["render", "blocks.1:0", "--band", "3,1"], "low first"),
    "band of words": (["render", "blocks.1:0", "--band", "much"], "numbers with commas"),
    "best of none": (["render", "blocks.1:0", "--best-of", "0"], "best_of"),
    "snapshots": (["render", "blocks.1:0", "--snapshots", "3,x"], "numbers with commas"),
    "late snapshot": (["render", "blocks.1:0", "--steps", "8", "--snapshots", "9"], "after 1 to 8 steps"),
    "video": (["render", "blocks.1:0", "--video", "avi"], "gif or .mp4"),
    "fps": (["render", "blocks.1:0", "--video", "gif", "--fps", "0"], "fps"),
    "fps of nothing": (["render", "blocks.1:0", "--fps", "9"], "--video or --morph"),
    "morph of one": (["render", "blocks.1:0", "--morph", "gif"], "two pictures or more"),
    "three sizes": (["render", "blocks.1:0", "--size", "3x3x3"], "size"),
    "no lanes": ([*RENDER, "--lanes", "0"], "lanes"),
    "learning rate zero": ([*RENDER, "--learning-rate", "0"], "learning_rate"),
    "unknown precision": ([*RENDER, "--precision", "float8"], "bfloat16"),
    "unknown image space": ([*RENDER, "--space", "fourrier"], "fourier"),
    "negative seed": ([*RENDER, "--seed", "-1"], "--seed"),
    "unknown recipe": ([*RENDER, "--recipe", "portait"], "portrait"),
    "no recipe file": ([*RENDER, "--recipe", "{files}/none.toml"], "none.toml"),
    "recipe that is no TOML": ([*RENDER, "--recipe", "{files}/broken.toml"], "TOML"),
    "unknown recipe key": ([*RENDER, "--recipe", "{files}/key.toml"], "steps"),
    "recipe with a wrong type": ([*RENDER, "--recipe", "{files}/type.toml"], "steps"),
    "recipe with an unknown space": ([*RENDER, "--recipe", "{files}/part.toml"], "fourier"),
    "recipe with an unknown option": ([*RENDER, "--recipe", "{files}/option.toml"], "exponent"),
    "recipe with a negative weight": ([*RENDER, "--recipe", "{files}/weight.toml"], "weight"),
    "no weights file": ([*RENDER, "--weights", "{files}/none.pth"], "none.pth"),
    "corrupt safetensors": ([*RENDER, "--weights", "{files}/corrupt.safetensors"], "safetensors"),
    "corrupt checkpoint": ([*RENDER, "--weights", "{files}/corrupt.pth"], "checkpoint"),
    "empty checkpoint": ([*RENDER, "--weights", "{files}/empty.pth"], "checkpoint"),
    "hostile checkpoint": ([*RENDER, "--weights", "{files}/hostile.pth"], "would run code"),
    "checkpoint without tensors": ([*RENDER, "--weights", "{files}/nothing.pth"], "no tensors"),
    "weights of another shape": ([*RENDER, "--weights", "{files}/shape.safetensors"], "shape"),
    "weights of another network": ([*RENDER, "--weights", "{files}/names.safetensors"], "does not fit"),
    "target without weights": ([*RENDER, "--weights", "{files}/part.safetensors"], "no weights"),
    "mean of letters": ([*RENDER, "--mean", "a,b,c"], "--mean"),
    "std zero": ([*RENDER, "--mean", "0,0,0", "--std", "1,0,1"], "above 0"),
    "unknown device": ([*RENDER, "--device", "gpu"], "cuda"),
    "device that is not here": ([*RENDER, "--device", "cuda:99"], "cuda:99"),
    "file model without a function": ([*RENDER, "--model", "file:{files}/model.py"], "FUNCTION"),
    "file model that is not there": ([*RENDER, "--model", "file:{files}/none.py:net"], "none.py"),
    "file model, unknown function": ([*RENDER, "--model", "file:{files}/model.py:nett"], "net"),
    "file model that fails": ([*RENDER, "--model", "file:{files}/model.py:fails"], "ValueError"),
    "file model that returns a number": ([*RENDER, "--model", "file:{files}/model.py:number"], "int"),
    "preprocessing not known": ([*RENDER, "--model", "file:{files}/model.py:net"], "mean and std"),
    "start image not there": ([*RENDER, "--start", "{files}/none.png"], "none.png"),
    "start image is none": ([*RENDER, "--start", "{files}/note.txt"], "no readable image"),
    "folder is a file": ([*RENDER, "--out", "{files}/note.txt"], "not a folder"),
    "folder below a file": ([*RENDER, "--out", "{files}/note.txt/below"], "cannot write"),
    "layers of an unknown model": (["layers", "torchvision:resnet19"], "resnet18"),
    "layers that none is": (["layers", "efficientnet_lite0", "--search", "qqq", "--no-fields"], "qqq"),
    "models that none is": (["models", "--search", "qqqqq"], "qqqqq"),
    "reproduce what is not there": (["reproduce", "{files}/none.png"], "none.png"),
    "reproduce what is no picture": (["reproduce", "{files}/note.txt"], "no readable PNG"),
}


def there(*folders):
    found = [path for folder in folders for path in sorted(folder.rglob("*"))]
    return [(path, path.stat().st_mtime_ns) for path in found if "__pycache__" not in str(path)]


@pytest.mark.parametrize("name", BAD)
def test_a_mistake_is_one_line_and_exit_code_2(name, files, tmp_path, capsys, monkeypatch):
    typed, says = BAD[name]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(job, "climb", lambda *_, **__: pytest.fail("computed before the mistake was found"))
    before = there(tmp_path, files)

    code = main([word.format(files=files) for word in typed])

    shown = capsys.readouterr()
    lines = [line for line in shown.err.splitlines() if line.startswith("featvis: ")]
    assert code == 2
    assert len(lines) == 1
    assert says in lines[0], lines[0]
    assert "Traceback" not in shown.err
    assert shown.out == ""
    assert there(tmp_path, files) == before


def test_a_folder_of_another_network_is_refused(tmp_path, capsys):
    entry = {"target": "a:1", "seed": 0, "key": "0" * 32, "file": "a/0001.png"}
    (tmp_path / "manifest.json").write_text(
        json.dumps({"model": "other", "weights": "f00", "pictures": [entry]})
    )
    assert main([*RENDER, "--out", str(tmp_path)]) == 2
    assert "other weights" in capsys.readouterr().err


LIGHT = [
    ["--help"],
    ["render", "--help"],
    ["--version"],
    ["render", "blocks.1:5:5"],
    ["render", "blocks.1:0", "--steps", "-3"],
    ["render", "blocks.1:0", "--recipe", "portait"],
    ["render", "blocks.1:0", "--space", "fourrier"],
]


def test_help_and_mistakes_in_a_request_import_no_torch():
    for typed, answer in zip(LIGHT, answers(LIGHT), strict=True):
        assert answer.heavy == [], typed
        assert answer.code in (0, 2), (typed, answer.err)
        assert "Error" not in answer.err
