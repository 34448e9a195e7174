"""Residual branches pass a share of the gradient: against formulas, and against hooks set by hand."""

from __future__ import annotations

import pytest
import torch
import torchvision
from torch import Tensor, nn

import featvis as fv
from featvis.models.borrow.long_ways import in_a_network, residual_gradients


class Twice(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return 2 * x

    @staticmethod
    def backward(ctx, gradient):
        return 2 * gradient


def in_place(branch: Tensor, x: Tensor) -> Tensor:
    branch += x
    return branch


def in_place_on_the_way_past(branch: Tensor, x: Tensor) -> Tensor:
    kept = x * 1.0
    kept += branch
    return kept


def bent(x: Tensor) -> Tensor:
    """Two operations of gradient 4 x."""
    return (x * x) * 2


SUMS = {
    "branch + x": lambda x: bent(x) + x,
    "x + branch": lambda x: x + bent(x),
    "torch.add": lambda x: torch.add(x, bent(x)),
    "method": lambda x: bent(x).add(x),
    "branch += x": lambda x: in_place(bent(x), x),
    "add_": lambda x: bent(x).add_(x),
    "x += branch": lambda x: in_place_on_the_way_past(bent(x), x),
    "both worked on": lambda x: bent(x) * 3 / 3 + x * 1.0,
    "a function of one's own": lambda x: Twice.apply(x * x) + x,
}


@pytest.mark.parametrize("name", SUMS)
def test_the_branch_passes_its_share_and_nothing_else_changes(name):
    x = torch.tensor([1.0, -2.0, 0.5], requires_grad=True)
    with residual_gradients(0.25), in_a_network():
        y = SUMS[name](x * 1.0)
    assert torch.equal(y, 2 * x.detach() ** 2 + x.detach())
    (gradient,) = torch.autograd.grad(y.sum(), x)
    assert gradient.tolist() == pytest.approx((1 + 0.25 * 4 * x.detach()).tolist())


def test_ways_that_are_alike_and_sums_of_other_things_stay():
    x = torch.tensor([1.0, -2.0], requires_grad=True)
    plain = torch.tensor([3.0, 4.0])
    with residual_gradients(0.25), in_a_network():
        y = x * 2 + x * 3 + plain
        z = (x * x) + 1.0
        wide = (x * x * x)[:, None] + x  # a table: no two ways to one place
    (gradient,) = torch.autograd.grad(y.sum() + z.sum(), x)
    assert gradient.tolist() == pytest.approx((5 + 2 * x.detach()).tolist())
    (gradient,) = torch.autograd.grad(wide.sum(), x)
    assert gradient.tolist() == pytest.approx((2 * 3 * x.detach() ** 2 + 2).tolist())


def test_what_reads_the_branch_elsewhere_is_spared():
    x = torch.tensor([2.0], requires_grad=True)
    with residual_gradients(0.5), in_a_network():
        branch = x * x * x
        y = x + branch
    (gradient,) = torch.autograd.grad((y + branch).sum(), x)
    assert gradient.item() == pytest.approx(1 + 0.5 * 12 + 12)


def test_only_inside_a_network_and_only_within_the_context():
    x = torch.tensor([2.0], requires_grad=True)
    with residual_gradients(0.5):
        outside = x + x * x * x
    with in_a_network():
        without = x + x * x * x
    assert torch.autograd.grad((outside + without).sum(), x)[0].item() == pytest.approx(26)


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.a, self.b, self.head = (nn.Conv2d(c, 4, 3, padding=1) for c in (3, 4, 4, 4))

    def forward(self, x):
        x = self.stem(x)
        return self.head(x + self.b(torch.tanh(self.a(x))))


class Half(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return gradient / 2


NETWORKS = {
    "one's own": (Residual, "head", ["b"]),
    "ResNet": (
        lambda: torchvision.models.resnet18(weights=None),
        "layer2",
        ["layer1.0.bn2", "layer1.1.bn2", "layer2.0.bn2", "layer2.1.bn2"],
    ),
}


def moved(model: fv.ModelHandle, layer: str, **fields: object) -> Tensor:
    """Return where one step of plain gradient ascent moves the pixels."""
    start = {"pixels": torch.randn(1, 3, 20, 24, generator=torch.Generator().manual_seed(1))}
    options = {"steps": 1, "optimizer": "sgd", "momentum": 0.0, "learning_rate": 100.0, "redirect_steps": 0}
    space = fv.PixelImage(size=(20, 24))
    (step,) = fv.ascend(model, fv.channel(layer, 1), space, start=start, **options, **fields)
    return step.images - space.decode(start)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_step_goes_where_hooks_set_by_hand_lead(name):
    make, layer, branches = NETWORKS[name]
    torch.manual_seed(0)
    module = make().eval()
    model = fv.load_model(module, mean=(0.5,) * 3, std=(0.5,) * 3, input_size=24)
    plain, got = moved(model, layer), moved(model, layer, residual_gradients=0.5)
    for branch in branches:
        module.get_submodule(branch).register_forward_hook(lambda _, __, out: Half.apply(out))
    by_hand = moved(model, layer)
    assert float((by_hand - plain).norm() / plain.norm()) > 0.05
    assert float((by_hand - got).norm() / plain.norm()) < 1e-4


def test_it_is_of_the_recipe_and_older_keys_stay():
    recipe = fv.Recipe(residual_gradients=0.5)
    assert recipe.key("a", 0, "w") != fv.Recipe().key("a", 0, "w")
    assert "residual_gradients" not in fv.Recipe(residual_gradients=1.0).to_json()
