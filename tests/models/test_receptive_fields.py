"""Receptive fields and strides against arithmetic."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import featvis as fv
from tests.networks import handle, seeded


def fields(model, size):
    return {
        info.name: (info.receptive_field, info.stride) for info in model.layers_with_receptive_fields(size)
    }


VGG16 = {
    "features.0": (3, 1),
    "features.2": (5, 1),
    "features.7": (14, 2),
    "features.14": (40, 4),
    "features.21": (92, 8),
    "features.28": (196, 16),
}
"""conv1_1, conv1_2, conv2_2, conv3_3, conv4_3, conv5_3: published."""


@pytest.fixture(scope="module")
def vgg():
    return fv.load_model(seeded(lambda: narrow_vgg16()), mean=(0.5,) * 3, std=(0.5,) * 3, input_size=64)


def narrow_vgg16():
    """VGG16's kernels, strides and names with 4 channels a layer."""
    layers, channels = [], 3
    for place in (1, 1, "M", 1, 1, "M", 1, 1, 1, "M", 1, 1, 1, "M", 1, 1, 1, "M"):
        if place == "M":
            layers.append(nn.MaxPool2d(2, 2))
        else:
            layers += [nn.Conv2d(channels, 4, 3, padding=1), nn.ReLU(inplace=True)]
            channels = 4
    net = nn.Module()
    net.features = nn.Sequential(*layers)
    net.forward = net.features.forward
    return net


def test_vgg16s_receptive_fields_are_the_published_ones(vgg):
    found = fields(vgg, (256, 320))
    for layer, (field, stride) in VGG16.items():
        assert found[layer] == ((field, field), (stride, stride)), layer
    assert found["features.5"] == ((10, 10), (2, 2)), "conv2_1"


def test_a_field_larger_than_the_canvas_is_not_measured(vgg):
    found = fields(vgg, (64, 80))
    assert found["features.14"] == ((40, 40), (4, 4))
    assert found["features.28"][0] is None


@pytest.mark.slow
def test_vgg16s_receptive_fields_by_torchvisions_own_network():
    found = fields(fv.load_model("torchvision:vgg16", weights="none"), (128, 160))
    for layer, (field, stride) in VGG16.items():
        if field < 120:
            assert found[layer] == ((field, field), (stride, stride)), layer


def test_kernels_that_are_not_square():
    net = nn.Sequential(
        nn.Conv2d(3, 2, (3, 7), stride=(2, 1)),
        nn.Conv2d(2, 2, (1, 3), stride=(1, 2), dilation=(1, 2)),
        nn.AvgPool2d((5, 2), stride=(3, 1)),
    )
    found = fields(handle(seeded(lambda: net), (96, 130)), (96, 130))
    assert found["0"] == ((3, 7), (2, 1))
    # f + (k - 1) · dilation · stride before it
    assert found["1"] == ((3, 7 + 2 * 2 * 1), (2, 2))
    assert found["2"] == ((3 + 4 * 2, 11 + 1 * 2), (6, 2))


def test_a_receptive_field_in_height_only():
    net = nn.Sequential(nn.Conv2d(3, 2, (9, 1)), nn.Conv2d(2, 2, (5, 1)))
    found = fields(handle(seeded(lambda: net), (64, 33)), (64, 33))
    assert found == {"0": ((9, 1), (1, 1)), "1": ((13, 1), (1, 1))}


@pytest.mark.parametrize("size", [(50, 71), (64, 48), (33, 90)], ids=str)
def test_the_canvas_does_not_change_the_field(size):
    net = seeded(lambda: nn.Sequential(nn.Conv2d(3, 2, 5, stride=3), nn.ReLU(), nn.Conv2d(2, 2, 3, stride=2)))
    found = fields(handle(net, size), size)
    assert found["0"] == ((5, 5), (3, 3))
    assert found["2"] == ((11, 11), (6, 6))


def test_the_field_is_where_the_gradient_is(chance):
    net = seeded(lambda: nn.Sequential(nn.Conv2d(3, 4, (5, 3), stride=2), nn.Tanh(), nn.Conv2d(4, 1, (3, 4))))
    model = handle(net, (41, 60))
    (field, _stride) = fields(model, (41, 60))["2"]
    images = torch.rand((1, 3, 41, 60), generator=chance).requires_grad_()
    (gradient,) = torch.autograd.grad(net(images)[0, 0, 8, 12], images)
    reached = gradient[0].abs().sum(0) > 0
    assert field == (int(reached.any(1).sum()), int(reached.any(0).sum()))


def test_measuring_leaves_shapes_and_order_as_they_were():
    model = handle(seeded(lambda: nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten())), (20, 31))
    plain = model.layers
    measured = model.layers_with_receptive_fields((20, 31))
    assert [(info.name, info.shape, info.kind) for info in plain] == [
        (info.name, info.shape, info.kind) for info in measured
    ]
    assert measured[1].receptive_field is None, "a vector has no field"


def test_a_module_that_runs_twice_has_the_field_of_its_last_call():
    relu = nn.ReLU()
    net = nn.Sequential(nn.Conv2d(3, 2, 3), relu, nn.Conv2d(2, 2, 3), relu)
    found = fields(handle(seeded(lambda: net), (33, 48)), (33, 48))
    assert found["1"] == found["2"] == ((5, 5), (1, 1))
