"""Statistics of activations against NumPy and against BatchNorms in train mode, over files of many shapes."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import featvis as fv
from featvis.photographs.framing import frame_middle
from tests.networks import handle, seeded, small

SIZE = (17, 24)
SHAPES = [(33, 21), (17, 24), (19, 60), (50, 25), (23, 23)]


@pytest.fixture
def folder(tmp_path):
    chance = np.random.default_rng(5)
    place = tmp_path / "photos"
    for number, (height, width) in enumerate(SHAPES):
        there = place / ["cats", "dogs"][number % 2]
        there.mkdir(parents=True, exist_ok=True)
        coarse = chance.integers(0, 256, (4, 5, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC).save(
            there / f"{number}.png"
        )
    (place / "notes.txt").write_text("none")
    return place


def shown(folder, size=SIZE):
    """Every photograph as the network is shown it, ``(N, 3, H, W)``, in [-1, 1]."""
    canvases = []
    for path in sorted(folder.rglob("*.png")):
        with Image.open(path) as photo:
            frame = frame_middle((photo.height, photo.width), size)
            canvases.append(frame.lay(photo, Image.Resampling.BILINEAR))
    return np.stack(canvases).astype(np.float64) / 127.5 - 1


class Plain(nn.Module):
    """Convolutions without any BatchNorm, one of which runs twice."""

    def __init__(self):
        super().__init__()
        self.one = nn.Conv2d(3, 4, 3, stride=2)
        self.two = nn.Conv2d(4, 5, 3, padding=1)
        self.again = nn.Conv2d(5, 5, 1)
        self.three = nn.Conv2d(5, 6, 3, padding=1)
        self.squeeze = nn.Conv2d(6, 6, 1)
        self.classes = nn.Linear(6, 3)

    def forward(self, images):
        found = torch.relu_(self.two(torch.relu_(self.one(images))))
        found = torch.relu_(self.three(self.again(self.again(found))))
        pooled = found.mean((2, 3), keepdim=True)
        return self.classes((pooled * self.squeeze(pooled)).flatten(1))


@pytest.fixture
def model():
    return handle(seeded(Plain), SIZE)


def convolved(images, layer, stride=1, padding=0):
    """A convolution by loops over its kernel, in float64."""
    weight, bias = (one.detach().double().numpy() for one in (layer.weight, layer.bias))
    images = np.pad(images, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    rows, columns = (1 + (side - 3) // stride for side in images.shape[2:])
    total = 0
    for row in range(3):
        for column in range(3):
            seen = images[
                :, :, row : row + stride * rows : stride, column : column + stride * columns : stride
            ]
            total = total + np.einsum("oi,bihw->bohw", weight[:, :, row, column], seen[:, :, :rows, :columns])
    return total + bias[:, None, None]


def test_they_are_mean_and_variance_over_positions_and_photographs(model, folder):
    found = fv.activation_statistics(model, folder, batch=2)
    assert list(found.layers) == ["one", "two", "three"], "neither what runs twice nor one position"
    assert (found.photographs, found.skipped, found.size, found.kind) == (5, 1, SIZE, "Conv2d")
    net = model.module
    first = convolved(shown(folder), net.one, stride=2)
    second = convolved(first.clip(0), net.two, padding=1)
    for name, maps in (("one", first), ("two", second)):
        values = maps.transpose(1, 0, 2, 3).reshape(maps.shape[1], -1)
        np.testing.assert_allclose(found.layers[name], [values.mean(1), values.var(1)], rtol=2e-5, atol=1e-6)


def test_the_width_of_a_batch_does_not_matter_and_the_size_does(model, folder):
    one, all_at_once = (fv.activation_statistics(model, folder, batch=batch) for batch in (1, 9))
    larger = fv.activation_statistics(model, folder, size=(20, 31))
    for name, values in one.layers.items():
        np.testing.assert_allclose(values, all_at_once.layers[name], rtol=1e-5, atol=1e-7)
        assert not np.allclose(values, larger.layers[name], rtol=1e-3)
    assert larger.size == (20, 31)


class Normed(nn.Module):
    def __init__(self):
        super().__init__()
        wide = [3, 4, 5, 6]
        pairs = itertools.pairwise(wide)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Conv2d(old, new, 3, bias=False), nn.BatchNorm2d(new, momentum=1.0))
            for old, new in pairs
        )

    def forward(self, images):
        for block in self.blocks:
            images = torch.relu_(block(images))
        return images


def test_they_are_what_a_batchnorm_in_train_mode_keeps(folder):
    net = seeded(Normed)
    images = torch.from_numpy(shown(folder)).float()
    for norm in (block[1] for block in net.blocks):  # the later ones then see what eval mode shows them
        net.eval()
        norm.train()
        net(images)
    counts = [len(images) * side for side in (15 * 22, 13 * 20, 11 * 18)]
    model = handle(net.eval(), SIZE)
    found = fv.activation_statistics(model, folder, batch=2)
    assert list(found.layers) == [f"blocks.{place}.0" for place in range(3)]
    for block, values, number in zip(net.blocks, found.layers.values(), counts, strict=True):
        kept = block[1].running_mean, block[1].running_var * (number - 1) / number
        np.testing.assert_allclose(values, torch.stack(kept).numpy(), rtol=1e-4, atol=1e-6)


class Transformer(nn.Module):
    """A patch embedding, then blocks of LayerNorm and a layer over tokens."""

    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 6, stride=6)
        self.token = nn.Parameter(torch.randn(1, 1, 8))
        self.norms = nn.ModuleList(nn.LayerNorm(8) for _ in range(2))
        self.mixing = nn.ModuleList(nn.Linear(8, 8) for _ in range(2))
        self.head = nn.Linear(8, 4)
        for norm in self.norms:
            nn.init.normal_(norm.weight)

    def forward(self, images):
        tokens = self.patches(images).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.token.expand(len(tokens), -1, -1), tokens], 1)
        for norm, mix in zip(self.norms, self.mixing, strict=True):
            tokens = tokens + torch.relu(mix(norm(tokens)))
        return self.head(tokens[:, 0])


def test_of_a_transformer_they_are_those_of_its_layernorms(folder):
    model = handle(seeded(Transformer), (24, 36))
    found = fv.activation_statistics(model, folder)
    assert (found.kind, list(found.layers)) == ("LayerNorm", ["norms.0", "norms.1"])
    net, images = model.module.double(), torch.from_numpy(shown(folder, (24, 36)))
    with torch.no_grad():
        tokens = net.patches(images).flatten(2).transpose(1, 2)
        tokens = torch.cat([net.token.expand(len(tokens), -1, -1), tokens], 1)
        mean, variance = tokens.mean(2, keepdim=True), tokens.var(2, correction=0, keepdim=True)
        normed = (tokens - mean) / (variance + 1e-5).sqrt() * net.norms[0].weight + net.norms[0].bias
    flat = normed.flatten(0, 1)
    expected = torch.stack((flat.mean(0), flat.var(0, correction=0)))
    np.testing.assert_allclose(found.layers["norms.0"], expected.numpy(), rtol=1e-3, atol=1e-5)


def test_the_same_call_reads_its_file_and_another_leaves_it(model, folder, tmp_path, monkeypatch):
    out, shows = tmp_path / "mine.safetensors", []
    real = type(model).tell_each
    monkeypatch.setattr(type(model), "tell_each", lambda *given: (shows.append(1), real(*given))[1])
    first = fv.activation_statistics(model, folder, out=out)
    assert shows
    before = out.read_bytes()
    shows.clear()
    again = fv.activation_statistics(model, str(folder), out=str(out))
    assert not shows
    assert repr(again) == repr(first)
    assert all((again.layers[name] == values).all() for name, values in first.layers.items())
    fv.activation_statistics(model, folder, out=tmp_path / "other").save(tmp_path / "third")
    assert (tmp_path / "other").read_bytes() == (tmp_path / "third").read_bytes() == before
    shows.clear()
    images = [torch.from_numpy(one / 2 + 0.5).float() for one in shown(folder)]
    for photographs, changes in ((folder, {"size": (20, 24)}), (images, {}), (folder / "cats", {})):
        with pytest.raises(fv.OutputError, match=r"holds statistics of other photographs.*name another file"):
            fv.activation_statistics(model, photographs, out=out, **changes)
    with torch.no_grad():
        model.module.one.weight[0, 0, 0, 0] += 1
    with pytest.raises(fv.OutputError, match="name another file"):
        fv.activation_statistics(model, folder, out=out)
    assert not shows
    assert out.read_bytes() == before


def test_images_in_memory_are_photographs_too(model, folder, tmp_path):
    images = [torch.from_numpy(one / 2 + 0.5).float() for one in shown(folder)]
    out = tmp_path / "of-images.safetensors"
    found = fv.activation_statistics(model, images, out=out)
    for name, values in fv.activation_statistics(model, folder).layers.items():
        np.testing.assert_allclose(found.layers[name], values, rtol=1e-4, atol=1e-6)
    assert repr(fv.activation_statistics(model, images, out=out)) == repr(found)
    with pytest.raises(fv.OutputError, match="name another file"):
        fv.activation_statistics(model, images[:2], out=out)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"photographs": "nowhere"}, "does not exist"),
        ({"photographs": []}, "no photograph"),
        ({"out": "photos/mine.safetensors"}, "among the photographs"),
        ({"out": "text"}, "holds no activation statistics.*not written over"),
        ({"out": "."}, "is a folder"),
        ({"size": 0}, "at least 1"),
        ({"batch": 0}, "at least 1"),
        ({"size": 2}, "2x2|least"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else None,
)
def test_mistakes_are_told_before_anything_is_measured(given, message, model, folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text").write_text("precious")
    monkeypatch.setattr(type(model), "tell_each", lambda *given: pytest.fail("measured"))
    with pytest.raises(fv.UserError, match=message):
        fv.activation_statistics(model, **{"photographs": folder, **given})
    assert (tmp_path / "text").read_text() == "precious"


def test_a_network_without_such_layers_is_told(folder):
    flat = handle(nn.Sequential(nn.Flatten(), nn.Linear(3 * 17 * 24, 4)), SIZE)
    with pytest.raises(fv.ModelError, match="no Conv2d and no LayerNorm"):
        fv.activation_statistics(flat, folder)


def test_numbers_that_are_not_finite_are_no_statistics(model, folder):
    with torch.no_grad():
        model.module.two.bias[1] = float("inf")
    with pytest.raises(fv.ModelError, match="not finite"):
        fv.activation_statistics(model, folder)


class Counting(Plain):
    """Counts its calls, and draws random numbers for nothing."""

    def __init__(self):
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, images):
        self.calls += 1
        torch.rand(3)
        return super().forward(images)


def test_the_network_is_given_back_as_it_was(folder):
    model = handle(seeded(Counting), SIZE)
    model.module.train()
    before = {name: value.clone() for name, value in model.module.state_dict().items()}
    state = torch.get_rng_state()
    fv.activation_statistics(model, folder)
    assert all(torch.equal(value, before[name]) for name, value in model.module.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)
    assert model.module.training
    assert not any(inner._forward_hooks for inner in model.module.modules())


def test_it_may_be_measured_while_it_is_lent(folder):
    """Within another borrowing, which has folded and laid it out for itself."""
    model = small()
    plain = fv.activation_statistics(model, folder)
    with model.tap(["fc"]) as activations:
        found = fv.activation_statistics(model, folder)
        assert activations(torch.rand(1, 3, *SIZE))["fc"].shape == (1, 5)
    for name, values in plain.layers.items():
        np.testing.assert_array_equal(found.layers[name], values)


@pytest.mark.parametrize(
    "change",
    [
        lambda told, arrays: told.update(layers=["one", "gone"]),
        lambda told, arrays: told.update(layers=[]),
        lambda told, arrays: told.update(layers=7),
        lambda told, arrays: told.update(size=[3]),
        lambda told, arrays: told.update(photographs="many"),
        lambda told, arrays: told.update(format="activation statistics 0"),
        lambda told, arrays: arrays.update({"layers.one": np.zeros((3, 4))}),
        lambda told, arrays: arrays.update({"layers.one": np.full((2, 4), np.nan)}),
        lambda told, arrays: arrays.update({"layers.one": np.full((2, 4), -1.0)}),
    ],
)
def test_a_damaged_file_is_told_in_one_line(change, model, folder, tmp_path):
    from safetensors import safe_open
    from safetensors.numpy import save_file

    out = tmp_path / "mine.safetensors"
    fv.activation_statistics(model, folder, out=out)
    with safe_open(out, "numpy") as opened:
        told = json.loads(opened.metadata()["featvis"])
        arrays = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    change(told, arrays)
    save_file(arrays, out, {"featvis": json.dumps(told)})
    with pytest.raises(fv.OutputError, match=r"activation statistics|damaged") as caught:
        fv.load_activation_statistics(out)
    assert "\n" not in str(caught.value)


def test_a_layer_may_have_any_name(folder, tmp_path):
    net = nn.Sequential()
    names = ["__metadata__", "é", "a b"]
    for place, name in enumerate(names):
        net.add_module(name, nn.Conv2d(3 + place, 4 + place, 3))
    fv.activation_statistics(handle(net, SIZE), folder, out=tmp_path / "mine.safetensors")
    assert list(fv.load_activation_statistics(tmp_path / "mine.safetensors").layers) == names


def test_statistics_of_images_are_told_from_these(model, folder, tmp_path):
    fv.image_statistics(folder, size=SIZE, out=tmp_path / "images.safetensors")
    with pytest.raises(fv.OutputError, match="but image statistics"):
        fv.load_activation_statistics(tmp_path / "images.safetensors")
    fv.activation_statistics(model, folder, out=tmp_path / "mine.safetensors")
    with pytest.raises(fv.OutputError, match="no image statistics"):
        fv.load_statistics(tmp_path / "mine.safetensors")
