"""Where networks come from."""

from __future__ import annotations

import time
import urllib.error
import urllib.request

import numpy as np
import pytest
import torch
from torch import nn

import featvis as fv
from featvis.models.sources import embedded
from tests.networks import Small, handle, seeded, small

SMALL = {"size": (33, 40), "steps": 2, "lanes": 1}


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("efficientnet_lite", "did you mean 'efficientnet_lite"),
        ("resnet18", "'torchvision:resnet18'"),
        ("vit_tiny_patch16_224", "did you mean 'timm:vit_tiny_patch16_224'"),
        ("torchvision:resnet17", "did you mean 'resnet1"),
        ("timm:vit_tiny_patch16", "did you mean 'vit_tiny_patch16"),
        ("torchvison:resnet18", "did you mean 'torchvision'"),
        ("nothing like this at all", "embedded: efficientnet_lite0"),
        ("", "embedded: efficientnet_lite0"),
    ],
)
def test_an_unknown_network_names_the_nearest(name, says):
    with pytest.raises(fv.ModelError, match=says):
        fv.load_model(name, weights="none")


def test_the_embedded_networks_are_offered_first():
    found = fv.list_models("lite0")
    assert found[0] == ("efficientnet_lite0", "embedded (PyPI package)")
    assert ("timm:tf_efficientnet_lite0", "timm (download)") in found
    assert all("lite0" in name for name, _ in found)
    assert fv.list_models("no such network") == []


def test_a_module_needs_its_preprocessing_said():
    with pytest.raises(fv.ModelError, match="give mean and std"):
        fv.load_model(seeded(Small))
    with pytest.raises(fv.ModelError, match="weights='none'"):
        fv.load_model(seeded(Small), weights="none", mean=(0,) * 3, std=(1,) * 3)


@pytest.mark.parametrize(
    "told",
    [
        {"mean": (0.5,) * 3, "std": (0.5,)},
        {"mean": (0.5,) * 3, "std": (0.5, 0, 0.5)},
        {"mean": (), "std": ()},
        {"mean": 0.5, "std": 0.5},
        {"mean": 0, "std": 1},
        {"mean": "grey", "std": (1, 1, 1)},
        {"mean": ("a", "b", "c"), "std": (1, 1, 1)},
        {"mean": (0.5, 0.5, float("nan")), "std": (1, 1, 1)},
    ],
    ids=str,
)
def test_preprocessing_that_cannot_be_is_refused(told):
    with pytest.raises(fv.ModelError, match=r"one number for each channel|above 0|not known"):
        fv.load_model(seeded(Small), **told)


def test_mean_0_and_std_1_leave_images_as_they_are():
    model = fv.load_model(nn.Sequential(nn.Identity()), mean=(0, 0, 0), std=(1, 1, 1), input_size=9)
    images = torch.rand((1, 3, 9, 9), generator=torch.Generator().manual_seed(0))
    with model.tap(["0"]) as activations:
        assert torch.equal(activations(images)["0"], images)


def test_a_handle_is_taken_as_it_is_and_a_module_of_timm_knows_its_preprocessing():
    model = small()
    assert fv.load_model(model) is model
    timm = pytest.importorskip("timm")
    module = timm.create_model("convnext_atto", pretrained=False)
    assert fv.load_model(module).mean == pytest.approx((0.485, 0.456, 0.406))


def write(tmp_path, text):
    path = tmp_path / "mine.py"
    path.write_text("import torch\nfrom torch import nn\n" + text)
    return path


def test_a_named_network_is_in_evaluation_and_ones_own_stays_as_it_was():
    named = fv.load_model("efficientnet_lite0")
    assert not any(module.training for module in named.module.modules())
    own = nn.Sequential(nn.Conv2d(3, 2, 3), nn.BatchNorm2d(2))
    fv.load_model(own, mean=(0, 0, 0), std=(1, 1, 1))
    assert all(module.training for module in own.modules())


def test_a_function_in_a_file_of_ones_own(tmp_path):
    path = write(
        tmp_path,
        "def net():\n"
        "    told = dict(mean=(.4, .5), std=(.2, .3), input_size=(12, 20), labels=['a', 'b', 'c', 'd'])\n"
        "    return nn.Sequential(nn.Conv2d(2, 4, 3)), told\n"
        "def bare():\n    return nn.Sequential(nn.Conv2d(3, 4, 3))\n",
    )
    model = fv.load_model(f"file:{path}:net")
    assert (model.mean, model.std, model.input_size, model.labels) == (
        (0.4, 0.5),
        (0.2, 0.3),
        (12, 20),
        ("a", "b", "c", "d"),
    )
    assert any("ran the code" in note for note in model.notes)
    (picture,) = fv.render(model, "0:1", size=(12, 20), steps=2, lanes=1)
    assert picture.levels.shape == (2, 12, 20)
    again = fv.load_model(f"file:{path}:net")
    assert again.fingerprint() == model.fingerprint(), "random weights are the same ones every time"
    bare = fv.load_model(f"file:{path}:bare", mean=(0.5,) * 3, std=(0.5,) * 3, input_size=(12, 20))
    assert bare.layer("0").units == 4


@pytest.mark.parametrize(
    ("text", "function", "says"),
    [
        ("def net():\n    return nn.ReLU()\n", "nett", "did you mean 'net'"),
        ("def net():\n    return nn.ReLU()\n", "", "write file:PATH.py:FUNCTION"),
        ("def net():\n    return 3\n", "net", "returned a int, not a torch.nn.Module"),
        ("def net():\n    return nn.ReLU(), 3\n", "net", "returned a tuple"),
        ("def net(size):\n    return nn.ReLU()\n", "net", "TypeError"),
        ("def net():\n    raise ValueError('no luck')\n", "net", "ValueError: no luck"),
        ("def net():\n    return nn.ReLU(), {'means': (.5,)}\n", "net", "did you mean 'mean'"),
        ("def net():\n    return nn.ReLU(), {'mean': .5, 'std': .5}\n", "net", "one number for each channel"),
        ("1 / 0\n", "net", "ZeroDivisionError"),
        ("def net(:\n", "net", "SyntaxError"),
        ("import no_such_package_anywhere\n", "net", "no_such_package_anywhere"),
        ("net = 5\n", "net", "function"),
    ],
)
def test_a_file_that_does_not_do_is_refused_in_one_line(text, function, says, tmp_path):
    path = write(tmp_path, text)
    with pytest.raises(fv.ModelError, match=says) as caught:
        fv.load_model(f"file:{path}:{function}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("where", ["absent.py:net", "net", "", ":net"])
def test_a_file_that_is_not_there_is_refused(where, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(fv.ModelError, match="file"):
        fv.load_model(f"file:{where}")


NET = "squeezenet1_1"


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A folder of downloads of torchvision's own, and a network that nothing can be fetched from."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    asked = []

    def refuse(request, *args, **kwargs):
        asked.append(request)
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    monkeypatch.setattr(torch.hub, "urlopen", refuse)
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder, asked


def test_pretrained_weights_that_were_downloaded_before_load_offline(hub):
    from torchvision import models

    folder, asked = hub
    url = models.get_model_weights(NET).DEFAULT.url
    trained = seeded(lambda: models.get_model(NET, weights=None), seed=5)
    torch.save(trained.state_dict(), folder / url.rpartition("/")[2])
    model = fv.load_model(f"torchvision:{NET}")
    assert asked == []
    for name, value in model.module.state_dict().items():
        assert torch.equal(value, trained.state_dict()[name])
    assert fv.render(model, "features.0:1", **SMALL)[0].status == "ok"


def test_offline_the_missing_weights_are_one_clear_error_at_once(hub):
    began = time.perf_counter()
    with pytest.raises(
        fv.WeightsError, match=r"could not be downloaded.*weights=FILE, or weights='none'"
    ) as caught:
        fv.load_model(f"torchvision:{NET}")
    assert time.perf_counter() - began < 10
    assert "\n" not in str(caught.value)
    assert hub[1], "it did ask"
    assert list(hub[0].iterdir()) == [], "nothing half-written stays behind"


def test_offline_timms_missing_weights_are_one_clear_error_too(hub, monkeypatch):
    import timm.models._builder as builder

    def refuse(*args, **kwargs):
        raise urllib.error.URLError("Name or service not known")

    for name in ("load_state_dict_from_hf", "load_state_dict_from_url"):
        monkeypatch.setattr(builder, name, refuse)
    with pytest.raises(fv.WeightsError, match="could not be downloaded"):
        fv.load_model("timm:convnext_atto")


def test_a_damaged_download_is_a_clear_error(hub):
    from torchvision import models

    folder, _ = hub
    (folder / models.get_model_weights(NET).DEFAULT.url.rpartition("/")[2]).write_bytes(b"<html>" * 100)
    with pytest.raises(fv.WeightsError) as caught:
        fv.load_model(f"torchvision:{NET}")
    assert "\n" not in str(caught.value)


def test_without_their_package_the_embedded_weights_say_what_to_install(monkeypatch):
    monkeypatch.setattr(embedded, "_FILES", {"efficientnet_lite1": ("no_such_package", "models/*.pth")})
    with pytest.raises(fv.ModelError, match="pip install"):
        fv.load_model("efficientnet_lite1")
    assert fv.load_model("efficientnet_lite1", weights="none").input_size == (240, 240)


def test_t42_the_embedded_network_loads_without_a_network(hub):
    model = fv.load_model()
    assert (model.name, model.missing, hub[1]) == ("efficientnet_lite0", frozenset(), [])


@pytest.mark.parametrize("side", [10**9, 10**8])
def test_a_canvas_that_no_memory_holds_is_told_in_one_line(side):
    model = fv.load_model(nn.Sequential(nn.Conv2d(3, 4, 3)), mean=(0.5,) * 3, std=(0.5,) * 3, input_size=side)
    with pytest.raises(fv.CanvasError, match=f"no room in memory at images of {side}x{side}"):
        fv.render(model, "0:1", steps=1)


@pytest.mark.parametrize(
    ("size", "canvas"),
    [
        (32, (32, 32)),
        (np.int64(32), (32, 32)),
        (torch.tensor(32), (32, 32)),
        ("32", (32, 32)),
        ("24x32", (24, 32)),
        ((24, 32), (24, 32)),
        ([24, np.int32(32)], (24, 32)),
        (np.array([24, 32]), (24, 32)),
        (torch.Size([24, 32]), (24, 32)),
    ],
)
def test_an_input_size_is_a_side_or_height_and_width(size, canvas):
    model = fv.load_model(seeded(Small), mean=(0.5,) * 3, std=(0.5,) * 3, input_size=size)
    assert model.input_size == canvas
    assert all(type(side) is int for side in model.input_size)


@pytest.mark.parametrize(
    "size", [0, -4, (0, 32), (32,), (), 32.0, (32.0, 32.0), True, "big", "32x", "1x2x3", (5, 32, 32)]
)
def test_what_is_no_input_size_is_refused(size):
    with pytest.raises(fv.ModelError, match=r"input_size is one side or \(height, width\)") as caught:
        fv.load_model(seeded(Small), mean=(0.5,) * 3, std=(0.5,) * 3, input_size=size)
    assert "channels" not in str(caught.value)


@pytest.mark.parametrize("size", [(3, 24, 32), (1, 3, 24, 32)])
def test_an_input_size_with_channels_is_told_without_them(size):
    with pytest.raises(fv.ModelError, match=r"not part of it: input_size=\(24, 32\)"):
        fv.load_model(seeded(Small), mean=(0.5,) * 3, std=(0.5,) * 3, input_size=size)


def test_a_remedy_is_told_in_the_words_of_python_and_of_the_command_line(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(fv.ModelError, match="; device='auto' takes what there is") as told:
        handle(nn.Conv2d(3, 4, 3), device="cuda:7")
    assert "; --device auto takes" in told.value.typed
    model, other = handle(seeded(Small)), handle(seeded(Small, 2))
    fv.render(model, "conv1:1", size=(17, 24), steps=1, out=tmp_path)
    with pytest.raises(fv.OutputError, match="; choose another folder, out=…") as told:
        fv.render(other, "conv1:1", size=(17, 24), steps=1, out=tmp_path)
    assert told.value.typed.endswith("; choose another --out")
