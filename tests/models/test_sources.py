"""Networks by name, of every kind, and without a byte that was not asked for."""

from __future__ import annotations

import json
import socket

import pytest
import torch

import featvis as fv
from featvis.cli import main

pytest.importorskip("torchvision")


@pytest.fixture(autouse=True)
def _no_connection(monkeypatch, tmp_path):
    """Nothing is there and nothing may be asked for: the names of hosts are, too, asked for in vain."""
    asked = []

    def refuse(*args, **_):
        asked.append(args)
        raise OSError("no connection was asked for")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    yield
    assert asked == []


def seen(side, count=1):
    return torch.rand((count, 3, side, side), generator=torch.Generator().manual_seed(0))


SEGMENTING = ["fcn_resnet50", "deeplabv3_mobilenet_v3_large", "lraspp_mobilenet_v3_large"]
DETECTING = ["fasterrcnn_mobilenet_v3_large_320_fpn", "ssdlite320_mobilenet_v3_large"]
VIDEO = ["r3d_18", "mc3_18"]


def test_every_kind_is_among_the_names():
    names = {name for name, _ in fv.list_models("torchvision:")}
    for name in (
        *SEGMENTING,
        *DETECTING,
        *VIDEO,
        "fasterrcnn_resnet50_fpn",
        "maskrcnn_resnet50_fpn",
        "resnet18",
    ):
        assert f"torchvision:{name}" in names
    assert not any("quantized" in name or "raft" in name for name in names)


@pytest.mark.parametrize("name", [*SEGMENTING, *DETECTING, *VIDEO])
def test_networks_for_segmentation_detection_and_video_load_without_a_download(name):
    model = fv.load_model(f"torchvision:{name}", weights="none", device="cpu")
    assert model.labels[0] in ("__background__", "abseiling")
    if name in VIDEO:
        assert model.input_size == (112, 112)
        assert (model.frames, model.channels) == (16, 48)
    if name in DETECTING:
        assert (model.mean, model.std, model.input_size) == ((0,) * 3, (1,) * 3, (320, 320))


@pytest.mark.parametrize("name", ["deeplabv3_mobilenet_v3_large", "lraspp_mobilenet_v3_large"])
def test_weights_of_ones_own_for_segmentation(name, tmp_path):
    from torchvision import models

    theirs = models.get_model(name, weights=None, weights_backbone=None, num_classes=4).eval()
    torch.save({"model": theirs.state_dict(), "epoch": 3}, tmp_path / "w.pth")
    model = fv.load_model(f"torchvision:{name}", weights=tmp_path / "w.pth", device="cpu")
    assert any("built with the file's 4 classes" in note for note in model.notes)
    with torch.no_grad():
        assert torch.equal(model.module(seen(64))["out"], theirs(seen(64))["out"])
    assert model.at((64, 64)).layer("classifier").units == 4


def test_weights_of_ones_own_for_detection(tmp_path):
    from torchvision import models

    kind = "fasterrcnn_mobilenet_v3_large_320_fpn"
    theirs = models.get_model(kind, weights=None, weights_backbone=None, num_classes=3).eval()
    torch.save(theirs.state_dict(), tmp_path / "w.pth")
    model = fv.load_model(f"torchvision:{kind}", weights=tmp_path / "w.pth", device="cpu")
    assert any("built with the file's 3 classes" in note for note in model.notes)
    ours, wanted = model.module.state_dict(), theirs.state_dict()
    assert all(torch.equal(ours[name], value) for name, value in wanted.items())
    assert model.missing == frozenset()


@pytest.mark.slow
def test_a_video_network_sees_the_frames_in_their_order():
    model = fv.load_model("torchvision:mc3_18", weights="none", device="cpu")
    from torchvision import models

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        theirs = models.get_model("mc3_18", weights=None).eval()
    frames = torch.rand((1, 16, 3, 32, 32), generator=torch.Generator().manual_seed(1))
    mean, std = (torch.tensor(numbers[:3])[:, None, None] for numbers in (model.mean, model.std))
    video = ((frames - mean) / std).transpose(1, 2)
    with torch.no_grad(), model.tap(["fc"], size=(32, 32)) as activations:
        assert torch.allclose(activations(frames.flatten(1, 2))["fc"], theirs(video), atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["fcn_resnet50", "r3d_18", "fasterrcnn_resnet50_fpn"])
def test_layers_are_listed_offline(name, capsys):
    smaller = ["--size", "128"] if name == "fcn_resnet50" else []  # it is made for 520 pixels
    assert main(["layers", f"torchvision:{name}", "--json", "--no-fields", *smaller]) == 0
    told = {layer["name"]: layer for layer in json.loads(capsys.readouterr().out)}
    wanted = {
        "fcn_resnet50": ("classifier", 21),
        "r3d_18": ("fc", 400),
        "fasterrcnn_resnet50_fpn": ("backbone.body.layer4", 2048),
    }[name]
    assert told[wanted[0]]["units"] == wanted[1]


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("torchvision:lraspp_mobilenet_v3_large", marks=pytest.mark.slow),
        "torchvision:squeezenet1_1",
        "timm:resnet10t",
    ],
)
def test_a_dry_run_downloads_nothing(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    layer = {"lra": "backbone.0", "squ": "features.0", "res": "conv1.0"}[name.partition(":")[2][:3]]
    typed = ["render", f"{layer}:0", "--model", name, "--size", "64", "--steps", "2", "--lanes", "1"]
    assert main([*typed, "--dry-run", "--input-size", "64"]) == 0
    said = capsys.readouterr()
    assert f"the weights of {name} are not on this machine" in said.err
    assert "in all 1 picture" in said.out
    config = tmp_path / "g.toml"
    config.write_text(
        f'model = "{name}"\nrecipe = {{size = 64, steps = 2}}\n[[sections]]\ntargets = ["{layer}:0"]\n'
    )
    assert main(["gallery", "build", str(config), "--dry-run"]) == 0
    assert "1 picture, 1 of them to be rendered" in capsys.readouterr().out


def test_weights_that_are_there_are_used_by_a_dry_run(tmp_path, monkeypatch, capsys):
    from torchvision import models

    folder = tmp_path / "home/hub/checkpoints"
    folder.mkdir(parents=True)
    url = models.get_model_weights("squeezenet1_1").DEFAULT.url
    torch.save(models.squeezenet1_1().state_dict(), folder / url.rpartition("/")[2])
    monkeypatch.chdir(tmp_path)
    typed = ["render", "features.0:0", "--model", "torchvision:squeezenet1_1", "--size", "64", "--steps", "2"]
    assert main([*typed, "--dry-run", "--lanes", "1"]) == 0
    assert "are not on this machine" not in capsys.readouterr().err


# timm


def test_timm_of_other_channels_is_understood():
    timm = pytest.importorskip("timm")
    for channels in (1, 4, 13):
        module = timm.create_model("convnext_atto", in_chans=channels, num_classes=5)
        model = fv.load_model(module)
        assert model.channels == channels
        assert model.mean == pytest.approx(((0.485 + 0.456 + 0.406) / 3,) * channels)
        assert f"takes {channels} channels" in model.notes[0]
        assert model.at((64, 64)).layer("stem.0").units == 40
    told = fv.load_model(module, mean=(0.2,) * 13, std=(0.1,) * 13)
    assert told.mean == (0.2,) * 13
    three = fv.load_model(timm.create_model("convnext_atto"))
    assert (three.channels, three.notes, len(three.labels)) == (3, (), 1000)


# transformers

SEGFORMER = {"depths": [1, 1, 1, 1], "hidden_sizes": [8, 16, 16, 32], "decoder_hidden_size": 16}
SEGFORMER |= {"id2label": {0: "wall", 1: "sky", 2: "tree"}}
TOWER = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
TOWER |= {"image_size": 32, "patch_size": 8}
ARCHITECTURES = {
    "SegformerForSemanticSegmentation": ("SegformerConfig", SEGFORMER, (1, 3, 16, 16), "logits"),
    "CLIPVisionModelWithProjection": (
        "CLIPVisionConfig",
        {**TOWER, "projection_dim": 12},
        (1, 12),
        "image_embeds",
    ),
    "CLIPVisionModel": ("CLIPVisionConfig", TOWER, (1, 32), "pooler_output"),
    "ViTForImageClassification": ("ViTConfig", {**TOWER, "num_labels": 7}, (1, 7), "logits"),
    "ViTModel": ("ViTConfig", TOWER, (1, 32), "pooler_output"),
    "Dinov2ForImageClassification": ("Dinov2Config", {**TOWER, "num_labels": 3}, (1, 3), "logits"),
    "BeitForSemanticSegmentation": (
        "BeitConfig",
        {
            **TOWER,
            "num_hidden_layers": 4,
            "out_indices": [0, 1, 2, 3],
            "num_labels": 4,
            "pool_scales": [1, 2],
        },
        (1, 4, 16, 16),
        "logits",
    ),
}


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_folder_of_transformers_gives_the_architecture_that_its_config_names(architecture, tmp_path):
    transformers = pytest.importorskip("transformers")
    config, told, shape, output = ARCHITECTURES[architecture]
    side = 64 if "Segformer" in architecture else 32
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        theirs = getattr(transformers, architecture)(getattr(transformers, config)(**told)).eval()
    transformers.utils.logging.disable_progress_bar()
    theirs.save_pretrained(tmp_path)
    asked = {"mean": (0.5,) * 3, "std": (0.5,) * 3, "input_size": side, "device": "cpu"}
    model = fv.load_model(f"hf:{tmp_path}", **asked)
    assert type(model.module).__name__ == architecture
    assert model.notes == ()
    with torch.no_grad():
        assert model.module(seen(side)).shape == shape
        wanted = theirs(pixel_values=seen(side))[output]
        assert torch.allclose(model.module(seen(side)), wanted, atol=1e-5)
    labels = ("wall", "sky", "tree") if "Segformer" in architecture else ()
    assert model.labels == labels
    assert type(fv.load_model(f"hf:{tmp_path}", weights="none", **asked).module).__name__ == architecture


def test_a_fine_tuned_head_of_transformers(tmp_path):
    transformers = pytest.importorskip("transformers")
    config = transformers.ViTConfig(**TOWER, num_labels=7)
    transformers.utils.logging.disable_progress_bar()
    transformers.ViTForImageClassification(config).save_pretrained(tmp_path)
    config.num_labels = 4
    mine = transformers.ViTForImageClassification(config).eval()
    torch.save({"state_dict": mine.state_dict()}, tmp_path / "w.pth")
    asked = {"mean": (0.5,) * 3, "std": (0.5,) * 3, "device": "cpu"}
    model = fv.load_model(f"hf:{tmp_path}", weights=tmp_path / "w.pth", **asked)
    with torch.no_grad():
        assert torch.allclose(model.module(seen(32)), mine(pixel_values=seen(32)).logits, atol=1e-5)


def test_an_architecture_that_is_none_is_said(tmp_path):
    transformers = pytest.importorskip("transformers")
    transformers.utils.logging.disable_progress_bar()
    transformers.ViTModel(transformers.ViTConfig(**TOWER)).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    for named in ("ViTForSomethingElse", "__doc__", "logging"):
        (tmp_path / "config.json").write_text(json.dumps({**config, "architectures": [named]}))
        model = fv.load_model(f"hf:{tmp_path}", mean=(0.5,) * 3, std=(0.5,) * 3, device="cpu")
        assert type(model.module).__name__ == "ViTModel"
        assert any(f"transformers has no {named}" in note for note in model.notes)


def test_without_weights_a_network_of_the_hub_is_not_asked_for(tmp_path, monkeypatch, capsys):
    pytest.importorskip("transformers")
    with pytest.raises(fv.ModelError, match="only its own pretrained weights are downloaded") as caught:
        fv.load_model("hf:somebody/something", weights="none")
    assert "\n" not in str(caught.value)
    assert main(["layers", "hf:somebody/something"]) == 2
    capsys.readouterr()


# Modules of other kinds


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.body = torch.nn.Sequential(torch.nn.Conv2d(3, 6, 3, padding=1), torch.nn.ReLU())
        self.head = torch.nn.Linear(6, 4)

    def forward(self, images):
        return self.head(self.body(images).mean((2, 3)))


TOLD = {"mean": (0.5,) * 3, "std": (0.5,) * 3, "input_size": 16}


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_a_torchscript_module_is_called_that_and_left_alone():
    for script in (torch.jit.trace(Net().eval(), seen(16)), torch.jit.script(Net())):
        with pytest.raises(fv.ModelError, match="TorchScript module shows no layers: give the Python module"):
            fv.load_model(script, **TOLD)
        assert not any(
            module._forward_hooks for module in script.modules() if hasattr(module, "_forward_hooks")
        )


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_an_exported_program_is_taken_apart_into_its_modules():
    net = Net().eval()
    batch = torch.export.Dim("batch")
    program = torch.export.export(net, (seen(16, 2),), dynamic_shapes=({0: batch},))
    model = fv.load_model(program, **TOLD)
    with model.tap(["body.1", "head"]) as activations, torch.no_grad():
        found = activations(seen(16, 3))
        assert torch.allclose(found["head"], net(seen(16, 3) * 2 - 1), atol=1e-5)
    (picture,) = fv.render(model, "head:1", size=16, steps=4, lanes=2)
    assert picture.score > picture.start_score
    with pytest.raises(fv.ModelError, match="give the program itself"):
        fv.load_model(program.module(), **TOLD)
    with pytest.raises(
        fv.ModelError, match=r"exported for inputs of 1x3x16x16 alone; export it for any batch"
    ):
        fv.load_model(torch.export.export(net, (seen(16),)), **TOLD)


def test_a_compiled_network_is_the_one_inside():
    net = Net()
    model = fv.load_model(torch.compile(net), **TOLD)
    assert model.module is net
    assert model.name == "Net"
    assert sum("compiled" in note for note in model.notes) == 1
    assert [layer.name for layer in model.layers] == ["body", "body.0", "body.1", "head"]


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"conv.weight": 1}, "given as weights"),
        (3, "not a int"),
        (torch.ones(2), "not a Tensor"),
        (Net, "not a type"),
    ],
    ids=["state_dict", "number", "tensor", "class"],
)
def test_what_is_no_network_is_said(given, says):
    with pytest.raises(fv.ModelError, match=says):
        fv.load_model(given, **TOLD)


def test_lazy_layers_are_run_first():
    net = torch.nn.Sequential(torch.nn.LazyConv2d(4, 3))
    with pytest.raises(fv.ModelError, match="lazy layers that have not run yet"):
        fv.load_model(net, **TOLD)
    net(seen(16))
    assert fv.load_model(net, **TOLD).layer("0").units == 4


def test_a_file_in_place_of_a_name_says_where_it_belongs(tmp_path, capsys):
    torch.save(Net().state_dict(), tmp_path / "w.pth")
    with pytest.raises(fv.ModelError, match=r"is a file, no network's name; .* given as its weights"):
        fv.load_model(str(tmp_path / "w.pth"))
