"""In bfloat16 weights are cast once while a network is borrowed: the same numbers as cast each time."""

from __future__ import annotations

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

import featvis as fv
from tests.networks import handle, seeded, small

SIZE = (17, 24)


class Casts(TorchDispatchMode):
    """Counts the numbers that are cast to bfloat16, by whether they are a step's or the weights'."""

    def __init__(self, weights):
        super().__init__()
        self.weights, self.count = weights, 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if "_to_copy" in str(func) and kwargs.get("dtype") == torch.bfloat16:
            self.count += args[0].shape in self.weights
        return func(*args, **kwargs)


def shapes(module):
    return {parameter.shape for parameter in module.parameters()}


def test_no_step_casts_a_weight():
    model = small()
    images = torch.rand((2, 3, *SIZE))
    with model.tap(["fc"], size=SIZE, precision="bfloat16") as activations:
        with Casts(shapes(model.module)) as seen:
            activations(images)
        assert seen.count == 0
        assert model.module.conv1.weight.dtype == torch.bfloat16
        assert model.module.norm.weight.dtype == torch.float32, "autocast leaves a BatchNorm its own"
    assert {parameter.dtype for parameter in model.module.parameters()} == {torch.float32}


def test_what_is_computed_is_autocasts_own_to_the_last_bit():
    model = small()
    images = torch.rand((2, 3, *SIZE))
    with model.tap(["conv2", "fc"], size=SIZE, precision="bfloat16", cheaper=False) as activations:
        read = activations(images)
    with model.tap(["conv2", "fc"], size=SIZE, cheaper=False) as activations:
        assert model.module.conv1.weight.dtype == torch.float32
        with torch.autocast("cpu", dtype=torch.bfloat16):
            plain = activations(images)
    assert read["fc"].dtype == torch.bfloat16
    for name, value in read.items():
        assert torch.equal(value, plain[name])


class Scaled(nn.Module):
    """Reads a layer's weight beside using the layer, and has a layer with a forward of its own."""

    class Own(nn.Linear):
        def forward(self, values):
            return (values[:, :, None] * self.weight.double().mT).sum(1).float()

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.own = self.Own(4, 5)

    def forward(self, images):
        return self.own(self.conv(images).mean((2, 3)).float())


def test_a_layer_with_a_forward_of_its_own_keeps_its_weights():
    model = handle(seeded(Scaled), SIZE)
    with model.tap(["own"], size=SIZE, precision="bfloat16") as activations:
        assert model.module.own.weight.dtype == torch.float32
        assert model.module.conv.weight.dtype == torch.bfloat16
        activations(torch.rand((1, 3, *SIZE)))


def test_a_half_network_stays_as_it_is():
    model = fv.load_model(seeded(Scaled).half(), mean=(0.5,) * 3, std=(0.5,) * 3, input_size=SIZE)
    with model.tap(["conv"], size=SIZE, precision="bfloat16"):
        assert model.module.conv.weight.dtype == torch.float16
