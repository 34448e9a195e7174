"""Circuits: expanded weights are the one convolution that the path amounts to; attributions as by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import featvis as fv
from tests.networks import handle, seeded, small

SIZE = (24, 20)


def vgg_like():
    """The first eight layers of a VGG, narrow."""
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.Conv2d(4, 4, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        nn.Conv2d(4, 6, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.Conv2d(6, 6, 3, padding=1),
    )


class Vgg(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = vgg_like()

    def forward(self, images):
        return self.features(images)


@pytest.fixture
def model():
    return handle(seeded(Vgg), SIZE)


@pytest.fixture
def images(chance):
    return [torch.rand((3, *SIZE), generator=chance) for _ in range(3)]


def test_through_one_convolution_the_kernels_are_its_weights(model):
    found = fv.circuit(model, "features.7:2")
    nearest = found.paths[0]
    assert (nearest.layer, nearest.read, nearest.is_linear) == ("features.5", "features.6", True)
    assert np.allclose(nearest.kernels, model.module.features[7].weight[2].detach().numpy(), atol=1e-6)
    # The second goes through a ReLU and a max pool, and says so.
    assert (found.paths[1].layer, found.paths[1].read, found.paths[1].is_linear) == (
        "features.2",
        "features.3",
        False,
    )
    assert "not linear" in found.paths[1].way
    assert "its own picture" in found.paths[1].way


@pytest.mark.parametrize(
    ("layer", "stride", "box"), [("features.5", 1, 3), ("features.2", 2, 10), ("features.0", 2, 12)]
)
def test_through_relus_the_kernels_are_activation_times_gradient_by_hand(layer, stride, box, model, images):
    (path,) = fv.circuit(model, "features.7:2", layer, photographs=images).paths
    assert not path.is_linear
    assert path.way.startswith("attribution (activation times gradient) over 3 photographs")
    modules, total = list(model.module.features), 0
    at = int(layer.rpartition(".")[2])
    for image in images:
        given = image[None] * 2 - 1
        for module in modules[: at + 1]:
            given = module(given.clone())
        given = given.detach().requires_grad_()
        rest = given.clone()
        for module in modules[at + 1 :]:
            rest = module(rest)
        answers = rest[0, 2]
        # The window of the middle position (6, 5), and which positions have it wholly inside.
        before = (box - (2 if stride == 2 else 1)) // 2
        whole = [
            (row, column)
            for row in range(12)
            for column in range(10)
            if row * stride - before >= 0
            and row * stride - before + box <= given.shape[2]
            and column * stride - before >= 0
            and column * stride - before + box <= given.shape[3]
        ]
        row, column = max(whole, key=lambda place: float(answers[place].detach()))
        (slope,) = torch.autograd.grad(answers[row, column], given)
        top, left = row * stride - before, column * stride - before
        total = total + (given * slope)[0, :, top : top + box, left : left + box].detach()
    assert path.kernels.shape == tuple(total.shape)
    assert np.allclose(path.kernels, (total / 3).numpy(), atol=1e-5)


class Linear(nn.Module):
    """A path of convolutions, BatchNorm, an average pool and upsampling, and a shortcut."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3)
        self.middle = nn.Conv2d(4, 5, 3, padding=1)
        self.norm = nn.BatchNorm2d(5)
        self.skip = nn.Conv2d(4, 5, 1)
        self.pool = nn.AvgPool2d(2)
        self.up = nn.Upsample(scale_factor=2)
        self.last = nn.Conv2d(5, 3, 3, padding=1)
        with torch.no_grad():
            self.norm.running_mean.normal_()
            self.norm.running_var.uniform_(0.5, 2)
            self.norm.weight.normal_()

    def forward(self, images):
        found = self.first(images)
        return self.last(self.up(self.pool(self.norm(self.middle(found)) + self.skip(found))))


def test_the_expanded_weights_of_a_linear_path_make_its_answers(chance):
    model = handle(seeded(Linear), (20, 16))
    (path,) = fv.circuit(model, "last:1", "first").paths
    assert path.is_linear
    module = model.module.eval()
    rows, columns = (torch.randn((1, 4, 18, 14), generator=chance) for _ in range(2))

    def rest(given):
        return module.last(module.up(module.pool(module.norm(module.middle(given)) + module.skip(given))))

    with torch.no_grad():
        apart = (rest(rows + columns) - rest(columns))[0, 1, 9, 7]
    _, height, width = path.kernels.shape
    kernels = torch.from_numpy(path.kernels)
    made = functional.conv2d(rows, kernels[None])[0, 0]
    # Somewhere the kernels lie so that they give exactly the unit's answer at its middle.
    assert float((made - apart).abs().min()) < 1e-5
    assert (height, width) == (6, 6)
    delta = torch.zeros(1, 4, 18, 14)
    delta[0, 2, 9, 7] = 1
    with torch.no_grad():
        middle = (rest(delta) - rest(torch.zeros_like(delta)))[0, 1, 9, 7]
    assert np.isclose(path.kernels[2], float(middle), atol=1e-6).any()


def test_of_conv_on_conv_they_are_the_product_of_weights():
    module = seeded(lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 5, 3), nn.Conv2d(5, 2, 3)))
    model = handle(module, (18, 18))
    found = fv.circuit(model, "2:1", depth=2)
    assert [path.layer for path in found.paths] == ["1", "0"]
    expanded = torch.zeros(4, 5, 5)
    for middle in range(5):
        for row in range(3):
            for column in range(3):
                weight = module[2].weight[1, middle, row, column].detach()
                expanded[:, row : row + 3, column : column + 3] += weight * module[1].weight[middle].detach()
    assert np.allclose(found.paths[1].kernels, expanded.numpy(), atol=1e-5)


def test_classes_are_fed_by_maps_and_vectors():
    model = small(labels=tuple("abcde"))
    found = fv.circuit(model, "fc:c")
    assert (found.label, found.target) == ("c", "fc:2")
    (nearest, _) = found.paths
    # relu2, then the mean over 9 x 12 positions, then the weights.
    assert (nearest.layer, nearest.read, nearest.is_linear) == ("conv2", "relu2", True)
    expected = (model.module.fc.weight[2] / 108).detach().numpy()
    assert nearest.kernels.shape == (8, 9, 12)
    assert np.allclose(nearest.kernels, expected[:, None, None], atol=1e-6)
    assert [unit for unit, _ in nearest.strongest(3)] == list(np.argsort(-np.abs(expected))[:3])
    (path,) = fv.circuit(model, "fc:2", "flat").paths
    assert np.allclose(path.kernels[:, 0, 0], model.module.fc.weight[2].detach().numpy(), atol=1e-6)


def test_the_network_is_given_back_and_what_is_found_shows_itself(model, images):
    before = {name: one.clone() for name, one in model.module.state_dict().items()}
    found = fv.circuit(model, "features.7:0", photographs=images)
    assert all(torch.equal(one, before[name]) for name, one in model.module.state_dict().items())
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in model.module.modules())
    assert repr(found).startswith("Circuit('features.7:0' from features.5 (weights: ")
    assert found._repr_png_().startswith(b"\x89PNG")
    told = found.to_json(2)
    assert len(told["paths"][0]["units"]) == 2
    kernel = np.array(told["paths"][0]["units"][0]["kernel"])
    assert kernel.sum() == pytest.approx(told["paths"][0]["units"][0]["sum"], abs=1e-4)
    image = np.asarray(found.paths[0].image(1)).astype(int)
    first = found.paths[0].kernels[1, 0, 0]
    assert (image[0, 0, 0] > image[0, 0, 2]) == (first > 0)  # red above zero, blue below


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (("features.7:0:2",), "names 2 units"),
        (("features.7:0@1,1",), "leave out the position"),
        (("features.2:0", "features.7"), "runs after"),
        (("features.7:0", "features.9"), "no layer|unknown layer"),
        (("features.7@a.safetensors:0",), "a circuit is of a unit"),
    ],
)
def test_mistakes_are_said(given, words, model):
    with pytest.raises(fv.UserError, match=words):
        fv.circuit(model, *given)
    with pytest.raises(fv.RecipeError, match="depth counts"):
        fv.circuit(model, "features.7:0", depth=0)


@pytest.mark.slow
def test_vgg16s_own_filters_are_found(vgg16_weights):
    model = fv.load_model("torchvision:vgg16", weights=vgg16_weights)
    found = fv.circuit(model, "features.7:12", depth=1, size=64)
    weights = model.module.features[7].weight[12].detach().numpy()
    assert np.allclose(found.paths[0].kernels, weights, atol=1e-5)
