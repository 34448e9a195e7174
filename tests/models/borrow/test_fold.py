"""BatchNorm folded into convolutions: the same picture as the plain path, and nothing folded that is read."""

import pytest
import torch
from torch import nn

import featvis as fv
from featvis.models.borrow.fold import Pair


class Branches(nn.Module):
    """One convolution read by its BatchNorm alone, one whose output goes elsewhere too."""

    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6)
        self.conv2, self.bn2 = nn.Conv2d(6, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.shared = False

    def forward(self, images):
        one = torch.relu(self.bn1(self.conv1(images)))
        two = self.conv2(one)
        three = self.bn2(two) + one
        return (three + two if self.shared else three).mean((2, 3))


def _network(shared=False):
    with torch.random.fork_rng():
        torch.manual_seed(3)
        module = Branches().eval()
        module.shared = shared
        for norm in (module.bn1, module.bn2):
            for value in (norm.running_mean, norm.running_var, norm.weight.data, norm.bias.data):
                value.uniform_(0.4, 1.6)
    return fv.load_model(module, mean=(0.4,) * 3, std=(0.25,) * 3, input_size=24)


def _read(model, layers, images):
    with model.tap(layers, size=(20, 28)) as activations:
        return activations(images)


@pytest.mark.parametrize("layer", ["bn1", "bn2", "conv2"])
def test_a_folded_network_gives_what_the_plain_one_gives(layer):
    model = _network()
    images = torch.rand((2, 3, 20, 28), generator=torch.Generator().manual_seed(1))
    gradients, given = [], []
    for pairs in (None, []):
        model._pairs = pairs
        shown = images.clone().requires_grad_()
        out = _read(model, [layer], shown)[layer]
        (gradient,) = torch.autograd.grad(out.square().sum(), shown)
        gradients.append(gradient)
        given.append(out)
    torch.testing.assert_close(given[0], given[1], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-3, atol=1e-4)


def test_the_pairs_are_found_by_running_the_network():
    assert _network()._trusted_pairs() == [Pair("conv1", "bn1"), Pair("conv2", "bn2")]


def test_a_convolution_that_something_else_reads_is_not_trusted():
    assert _network(shared=True)._trusted_pairs() == []


def test_a_convolution_that_is_read_is_not_folded():
    model = _network()
    images = torch.rand((2, 3, 20, 28))
    plain = model.module.conv1((images - 0.4) / 0.25)
    torch.testing.assert_close(_read(model, ["conv1", "bn2"], images)["conv1"], plain, rtol=1e-4, atol=1e-5)


def test_a_hook_of_the_user_sees_the_plain_output():
    model = _network()
    images = torch.rand((2, 3, 20, 28))
    plain = model.module.conv1((images - 0.4) / 0.25).detach()
    seen = []
    model._trusted_pairs()
    model.module.conv1.register_forward_hook(lambda _, __, output: seen.append(output.detach().clone()))
    _read(model, ["bn2"], images)
    torch.testing.assert_close(seen[-1], plain, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("least", [0.4, 0.0])
def test_moments_are_those_of_the_plain_inputs(least):
    model = _network()
    model.module.bn2.weight.data[2] = least  # at 0 what came in cannot be told, so it must not be folded
    images = torch.rand((2, 3, 20, 28), generator=torch.Generator().manual_seed(2))
    given, gradients = [], []
    layers = ["moments of bn1", "moments of bn2", "bn2"]
    for pairs in (None, []):
        model._pairs = pairs
        shown = images.clone().requires_grad_()
        found = _read(model, layers, shown)
        score = sum((found[name].square() * 0.3).sum() for name in layers)
        gradients.append(torch.autograd.grad(score, shown)[0])
        given.append([found[name].detach() for name in layers])
    one = torch.relu(model.module.bn1(model.module.conv1((images - 0.4) / 0.25)))
    inputs = model.module.conv2(one)
    slow = torch.stack((inputs.mean((2, 3)), inputs.square().mean((2, 3))), 1)
    for moments in given:
        torch.testing.assert_close(moments[1], slow, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-3, atol=1e-3)


def test_the_network_is_unfolded_again():
    model = _network()
    before = {name: value.clone() for name, value in model.module.state_dict().items()}
    with model.tap(["bn2"], size=(20, 28)) as activations:
        activations(torch.rand(1, 3, 20, 28))
    after = model.module.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert model.module.conv1.bias is None
    assert "forward" not in model.module.bn1.__dict__
