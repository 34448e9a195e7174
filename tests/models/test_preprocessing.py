"""What a network expects of an image: numbers of either range, either order of channels, any form of call."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest
import torch
from torch import nn

import featvis as fv
from featvis.cli import main
from tests.networks import Small, seeded

CAFFE = (123.675, 116.28, 103.53)
ONES = (1.0, 1.0, 1.0)
SIZE = {"input_size": (17, 24)}
SMALL = {"size": (17, 24), "steps": 4, "lanes": 1}


def images():
    return torch.rand((2, 3, 17, 24), generator=torch.Generator().manual_seed(0))


def found(model, layer="conv1"):
    with model.tap([layer], size=(17, 24)) as activations, torch.no_grad():
        return activations(images())[layer]


@pytest.mark.parametrize(
    "as_given",
    [
        torch.tensor,
        np.array,
        list,
        lambda n: torch.tensor(n).view(1, 3, 1, 1),
        lambda n: np.array(n).reshape(3, 1, 1),
    ],
    ids=["tensor", "array", "list", "(1, 3, 1, 1)", "(3, 1, 1)"],
)
def test_mean_and_std_may_be_tensors_or_arrays(as_given):
    model = fv.load_model(
        seeded(Small), mean=as_given([0.4, 0.5, 0.6]), std=as_given([0.1, 0.2, 0.3]), **SIZE
    )
    assert model.mean == pytest.approx((0.4, 0.5, 0.6))
    assert model.std == pytest.approx((0.1, 0.2, 0.3))
    assert all(type(number) is float for number in (*model.mean, *model.std))


@pytest.mark.parametrize("told", [torch.tensor(0.5), np.float32(0.5), "0.5", {"r": 1}, [None] * 3], ids=str)
def test_what_is_no_row_of_numbers_is_refused(told):
    with pytest.raises(fv.ModelError, match="one number for each channel"):
        fv.load_model(seeded(Small), mean=told, std=ONES, **SIZE)


@pytest.mark.parametrize("range", [None, 255])
def test_numbers_of_images_in_0_to_255_are_brought_to_1(range):
    """Caffe's and mmdetection's: the network is shown what it was trained on."""
    module = seeded(Small)
    std = (58.395, 57.12, 57.375)
    model = fv.load_model(module, mean=CAFFE, std=std, range=range, **SIZE)
    shown = (images() * 255 - torch.tensor(CAFFE)[:, None, None]) / torch.tensor(std)[:, None, None]
    with torch.no_grad():
        assert torch.allclose(found(model), module.conv1(shown), atol=1e-4)
    assert model.mean == pytest.approx([number / 255 for number in CAFFE])
    assert any("divided by 255" in note for note in model.notes) == (range is None)
    unit = fv.load_model(module, mean=CAFFE, std=ONES, **SIZE)
    assert unit.std == pytest.approx((1 / 255,) * 3)


def test_a_range_that_is_said_is_believed():
    assert fv.load_model(seeded(Small), mean=CAFFE, std=ONES, range=1, **SIZE).mean == CAFFE
    plain = fv.load_model(seeded(Small), range=255, **SIZE)
    assert (plain.mean, plain.std) == ((0, 0, 0), pytest.approx((1 / 255,) * 3))
    assert fv.load_model("efficientnet_lite0", weights="none", range=255).std == pytest.approx((1 / 255,) * 3)
    assert fv.load_model(seeded(lambda: Small(1)), range=255, **SIZE).channels == 1


@pytest.mark.parametrize(
    ("told", "says"),
    [
        ({"mean": CAFFE, "std": (0.229, 0.224, 0.225)}, "of two ranges"),
        ({"mean": (0.485, 0.456, 0.406), "std": (58.4, 57.1, 57.4)}, "of two ranges"),
        ({"mean": (0.485, 0.456, 0.406), "std": (0.2,) * 3, "range": 255}, "looks like images in 0 to 1"),
        ({"mean": CAFFE, "std": ONES, "range": 65535}, "range is 1 or 255"),
        ({"mean": CAFFE, "std": ONES, "channel_order": "gbr"}, "rgb or bgr"),
        ({"mean": (0.5,), "std": (0.5,), "channel_order": "bgr"}, "three channels"),
    ],
)
def test_numbers_that_contradict_are_refused(told, says):
    with pytest.raises(fv.ModelError, match=says):
        fv.load_model(seeded(Small), **told, **SIZE)


def test_a_network_of_bgr_is_shown_bgr_and_pictures_are_rgb():
    module = seeded(Small)
    mean, std = (0.1, 0.2, 0.3), (0.5, 0.6, 0.7)  # in the network's order
    bgr = fv.load_model(module, mean=mean, std=std, channel_order="bgr", **SIZE)
    shown = (images().flip(1) - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]
    with torch.no_grad():
        assert torch.allclose(found(bgr), module.conv1(shown), atol=1e-5)
    # The same network with its first weights turned round gives the same picture from the same start.
    turned = seeded(Small)
    with torch.no_grad():
        turned.conv1.weight.copy_(turned.conv1.weight.flip(1))
    rgb = fv.load_model(turned, mean=mean[::-1], std=std[::-1], **SIZE)
    (a,), (b,) = (fv.render(one, "conv2:1", **SMALL) for one in (bgr, rgb))
    assert np.abs(a.levels.astype(int) - b.levels).max() <= 1
    assert a.key != b.key
    weights = [np.asarray(fv.weights_image(one, "conv1", scale=1.0)) for one in (bgr, rgb)]
    assert (weights[0] == weights[1]).mean() > 0.97, "but for the name in the title"


def test_what_is_not_used_changes_no_key():
    plain = fv.load_model(seeded(Small), mean=(0.5,) * 3, std=(0.5,) * 3, **SIZE)
    said = fv.load_model(
        seeded(Small),
        mean=(0.5,) * 3,
        std=(0.5,) * 3,
        channel_order="rgb",
        range=1,
        labels=list("abcde"),
        **SIZE,
    )
    half = fv.load_model(seeded(Small), mean=(127.5,) * 3, std=(127.5,) * 3, range=255, **SIZE)
    assert plain.fingerprint() == said.fingerprint() == half.fingerprint()
    bgr = fv.load_model(seeded(Small), mean=(0.5,) * 3, std=(0.5,) * 3, channel_order="bgr", **SIZE)
    assert bgr.fingerprint() != plain.fingerprint()


class Two(nn.Module):
    """A network with a second input that it needs."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.scale = nn.Linear(2, 4)

    def forward(self, images, other):
        return self.conv(images) * self.scale(other)[:, :, None, None]


class Named(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, batch):
        return {"out": self.conv(batch["image"])}


class Last(nn.Module):
    """Channels last, as networks that were converted from TensorFlow take them."""

    def __init__(self):
        super().__init__()
        self.mix = nn.Linear(3, 4)

    def forward(self, images):
        assert images.shape[-1] == 3
        return self.mix(images)


def told(module, forward):
    return fv.load_model(module, mean=(0.5,) * 3, std=(0.5,) * 3, input_size=16, forward=forward)


def test_a_network_of_other_inputs_is_run_as_it_is_told():
    other = torch.tensor([[1.0, -2.0]])
    two = seeded(Two)
    model = told(two, lambda net, images: net(images, other.expand(len(images), -1)))
    seen = torch.rand((2, 3, 16, 16), generator=torch.Generator().manual_seed(0))
    with model.tap(["conv", "scale"]) as activations, torch.no_grad():
        activations(seen)
    assert model.layer("conv").units == 4
    assert [layer.name for layer in model.layers] == ["conv", "scale", "output"]
    (picture,) = fv.render(model, "conv:1", size=16, steps=8, lanes=1)
    assert picture.score > picture.start_score
    model = told(seeded(Named), lambda net, images: net({"image": images})["out"])
    assert fv.render(model, "conv:1", size=16, steps=4, lanes=1)[0].status == "ok"
    model = told(seeded(Last), lambda net, images: net(images.permute(0, 2, 3, 1)))
    assert (model.layer("mix").kind, model.layer("mix").units) == ("map_last", 4)


def test_the_users_own_network_stays_as_it_was():
    module = seeded(Two)
    called = []
    module.register_forward_hook(lambda *_: called.append(1))
    before, kind = dict(module.__dict__), type(module)
    model = told(module, lambda net, images: net(images, torch.ones(len(images), 2)))
    fv.render(model, "conv:1", size=16, steps=2, lanes=1)
    assert type(module) is kind
    assert module.__dict__ == before
    with pytest.raises(TypeError):
        module(torch.zeros(1, 3, 16, 16))
    called.clear()
    model.run_once(torch.zeros(1, 3, 16, 16))
    assert called == [1], "its own hooks run once"


def test_a_copy_of_such_a_network_is_one_of_its_own():
    model = told(seeded(Two), lambda net, images: net(images, torch.ones(len(images), 2)))
    twin = model.copy()
    with torch.no_grad():
        twin.module.conv.weight.zero_()
        twin.module.conv.bias.fill_(3)
    seen = torch.rand((1, 3, 16, 16))
    for one, same in ((twin, True), (model, False)):
        with one.tap(["conv"]) as activations, torch.no_grad():
            assert bool((activations(seen)["conv"] == 3).all()) == same
    assert copy.deepcopy(model.module)(seen).shape == (1, 4, 14, 14)


def test_the_fingerprint_knows_what_the_call_does_and_not_where_it_stands():
    def prints(forward):
        return told(seeded(Two), forward).fingerprint()

    def held(value):
        return lambda net, images: net(images, torch.full((len(images), 2), value))

    one = prints(held(1.0))
    assert one == prints(held(1.0))
    assert one != prints(held(2.0)), "what it holds"
    assert one != prints(lambda net, images: net(images * 2, torch.ones(len(images), 2))), "what it does"
    text = "lambda net, images: net(images, other)"
    spaced = "(lambda net, images:\n    net(images,   other))"
    a, b = (eval(each, {"other": torch.ones(1, 2)}) for each in (text, spaced))
    assert prints(a) == prints(b) != prints(eval(text, {"other": torch.zeros(1, 2)}))


@pytest.mark.parametrize("forward", [3, "net(images)"], ids=str)
def test_what_is_no_function_is_refused(forward):
    with pytest.raises(fv.ModelError, match="forward is a function of the network and images"):
        told(seeded(Two), forward)


# Names of classes

FORMS = {
    "lines": "cat\ndog, hound\n\n",
    "json": '["cat", "dog, hound"]',
    "by index": '{"1": "dog, hound", "0": "cat"}',
    "indices": '{"dog, hound": 1, "cat": 0}',
    "ImageNet's index": '{"0": ["n01", "cat"], "1": ["n02", "dog, hound"]}',
    "a config": '{"id2label": {"0": "cat", "1": "dog, hound"}}',
    "Python": "{0: 'cat',\n 1: 'dog, hound'}",
    "with a mark": "\ufeffcat\ndog, hound\n",
}


@pytest.mark.parametrize("form", FORMS)
def test_labels_are_read_from_any_common_file(form, tmp_path):
    path = tmp_path / "labels.txt"
    path.write_text(FORMS[form], encoding="utf-8")
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 2, 3), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    for given in (path, str(path)):
        model = fv.load_model(network, mean=(0.5,) * 3, std=(0.5,) * 3, labels=given, **SIZE)
        assert model.labels == ("cat", "dog, hound")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "holds no labels"),
        ("{", "does not read"),
        ('{"0": "a", "2": "b"}', "no name for class 1"),
        ("[1, 2]", "a text, got 1"),
        ('{"a": "b"}', "names by index"),
        (b"\xff\xfe\x00", "no text file"),
        ("[" * 100_000, "does not read"),
    ],
)
def test_a_file_of_no_labels_is_one_line(content, says, tmp_path):
    path = tmp_path / "labels.txt"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(fv.ModelError, match=says) as caught:
        fv.load_model(seeded(Small), mean=(0.5,) * 3, std=(0.5,) * 3, labels=path, **SIZE)
    assert "\n" not in str(caught.value)


# The same on the command line

SOURCE = """
from tests.networks import Small, seeded
def build():
    return seeded(Small)
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(SOURCE)
    (tmp_path / "labels.txt").write_text("ant\nbee\ncat\ndog\nelk\n")
    torch.save({"a": seeded(Small, seed=3).state_dict(), "b": seeded(Small, seed=4).state_dict()}, "w.pth")
    return tmp_path


TYPED = ["--model", "file:net.py:build", "--mean", "103.53,116.28,123.675", "--std", "57.375,57.12,58.395"]
TYPED += ["--range", "255", "--channel-order", "bgr", "--input-size", "17x24", "--labels", "labels.txt"]
TYPED += ["--weights", "w.pth:b", "--device", "cpu"]


def own():
    return fv.load_model(
        "file:net.py:build",
        weights="w.pth:b",
        mean=(103.53, 116.28, 123.675),
        std=(57.375, 57.12, 58.395),
        range=255,
        channel_order="bgr",
        input_size=(17, 24),
        labels="labels.txt",
        device="cpu",
    )


def test_every_option_arrives(place, capsys):
    asked = ["fc:cat", "--size", "17x24", "--steps", "3", "--lanes", "1", "--recipe", "fast", "--out", "out"]
    assert main(["render", *asked, *TYPED]) == 0, capsys.readouterr().err
    model = own()
    (entry,) = json.loads((place / "out/manifest.json").read_text())["pictures"]
    assert (entry["unit"], entry["label"]) == (2, "cat")
    assert fv.load_picture("out/fc/0002.png").weights == model.fingerprint()
    assert fv.load_picture("out/fc/0002.png").recipe["input_size"] == [17, 24]
    capsys.readouterr()
    assert main(["reproduce", "out/fc/0002.png", *TYPED]) == 0
    assert "the same bytes" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        (["--range", "65535"], "--range is 1 or 255"),
        (["--channel-order", "grb"], "rgb or bgr"),
        (["--labels", "none.txt"], "no file of labels"),
        (["--input-size", "many"], "many"),
        (["--weights", "none.pth:a"], "no weights file"),
    ],
)
@pytest.mark.parametrize(
    "command", [["render", "fc:0"], ["layers"], ["dream", "x.png", "-l", "fc"]], ids=lambda c: c[0]
)
def test_mistakes_in_them_are_one_line_at_once(command, typed, says, place, capsys):
    model = ["file:net.py:build"] if command == ["layers"] else ["--model", "file:net.py:build"]
    assert main([*command, *model, *typed]) == 2
    said = capsys.readouterr().err
    assert says in said
    assert said.count("\n") == 1


def test_a_judge_may_need_a_file_of_weights(place, capsys):
    (place / "judge.py").write_text(
        "import featvis as fv\nfrom tests.networks import Small, seeded\n"
        "def bare():\n"
        "    told = dict(mean=(.5,) * 3, std=(.5,) * 3, input_size=(17, 24), labels=list('abcde'))\n"
        "    return seeded(Small), told\n"
        "def whole():\n"
        "    told = dict(mean=(.5,) * 3, std=(.5,) * 3, input_size=(17, 24))\n"
        "    return fv.load_model(seeded(Small, seed=9), **told)\n"
    )
    assert (
        main(["render", "fc:0:2", "--size", "17x24", "--steps", "2", "--lanes", "2", "--out", "out", *TYPED])
        == 0
    )
    judges = ["--judge", "file:judge.py:bare", "--judge", "file:judge.py:whole"]
    capsys.readouterr()
    evaluate = ["evaluate", "out", *TYPED, "--json"]
    said = []
    for weights in ("w.pth:a", "w.pth:b"):
        assert main([*evaluate, *judges[:2], "--judge-weights", weights]) == 0
        said.append(json.loads(capsys.readouterr().out)["judges"])
        judge = fv.load_model("file:judge.py:bare", weights=weights)
        assert said[-1] == fv.evaluate("out", model=own(), judges=[judge])["judges"]
    assert list(said[0]) == ["file:judge.py:bare"]
    assert said[0] != said[1]
    assert main([*evaluate, *judges[2:]]) == 0
    assert main([*evaluate, *judges, "--judge-weights", "w.pth:a"]) == 2
    assert "once for each --judge, in their order; got 1 for 2" in capsys.readouterr().err
