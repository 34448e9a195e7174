"""Eigendistortions are singular vectors where the network is linear, and of JᵀJ where it is not."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import featvis as fv
from tests.networks import handle, seeded, small


def linear(outputs=60):
    """A linear network of 3 x 4 x 5 pixels; its matrix by the pixels in [0, 1]."""
    module = seeded(lambda: nn.Sequential(nn.Flatten(), nn.Linear(60, outputs)))
    return handle(module, (4, 5)), module[1].weight.detach().double() * 2  # images are shown in [-1, 1]


def cosine(one, other):
    one, other = one.flatten().double(), other.flatten().double()
    return abs(float(one @ other / (one.norm() * other.norm())))


def test_of_a_linear_network_they_are_its_singular_vectors(chance):
    model, matrix = linear()
    photograph = torch.rand((3, 4, 5), generator=chance)
    found = fv.eigendistortions(model, "1", photograph, count=2, steps=60)
    _, values, vectors = torch.linalg.svd(matrix)
    for place in range(2):
        assert cosine(found.most[place], vectors[place]) > 0.999
        assert cosine(found.least[place], vectors[-1 - place]) > 0.99
    assert found.most_values == pytest.approx((values[:2] ** 2).tolist(), rel=1e-4)
    assert found.least_values == pytest.approx((values[-2:].flip(0) ** 2).tolist(), abs=1e-4)
    assert found.is_settled
    assert torch.allclose(found.most.flatten(1) @ found.most.flatten(1).T, torch.eye(2), atol=1e-5)


def test_the_largest_is_found_in_few_steps(chance):
    model, matrix = linear()
    found = fv.eigendistortions(model, "1", torch.rand((3, 4, 5), generator=chance), steps=20)
    _, _, vectors = torch.linalg.svd(matrix)
    assert cosine(found.most[0], vectors[0]) > 0.99
    assert found.errors[0] < 0.01


def test_what_a_narrow_layer_does_not_notice_at_all(chance):
    model, matrix = linear(outputs=10)
    found = fv.eigendistortions(model, "1", torch.rand((3, 4, 5), generator=chance), steps=60)
    assert found.least_values[0] == pytest.approx(0, abs=1e-6)
    assert float((matrix @ found.least[0].flatten().double()).norm()) < 1e-2 * found.most_values[0] ** 0.5
    assert found.ratio > 100


def test_of_a_network_with_relus_they_are_of_its_jacobian_there(chance):
    model = small(size=(6, 5))
    photograph = (torch.rand((3, 6, 5), generator=chance) * 255).round() / 255
    found = fv.eigendistortions(model, "relu2", photograph, steps=90)
    module = model.module.eval()

    def answer(pixels):
        given = module.relu1(module.conv1(pixels.reshape(1, 3, 6, 5) * 2 - 1))
        return module.relu2(module.norm(module.conv2(given))).flatten()

    jacobian = torch.autograd.functional.jacobian(answer, photograph.flatten()).double()
    values, vectors = torch.linalg.eigh(jacobian.T @ jacobian)
    assert found.most_values[0] == pytest.approx(float(values[-1]), rel=1e-3)
    assert cosine(found.most[0], vectors[:, -1]) > 0.99
    most, least = (jacobian @ one.flatten().double() for one in (found.most[0], found.least[0]))
    assert float(most.norm()) > 20 * float(least.norm())
    assert found.image(strength=0.5).min() >= 0
    assert "Eigendistortions('relu2', eigenvalues" in repr(found)
    assert found._repr_png_().startswith(b"\x89PNG")


class Attends(nn.Module):
    """Attention as transformers run it, fused, which has no second derivative."""

    def __init__(self):
        super().__init__()
        self.parts = nn.Conv2d(3, 8, 2, stride=2)
        self.last = nn.Linear(8, 8)

    def forward(self, images):
        tokens = self.parts(images).flatten(2).transpose(1, 2)[:, None]
        return self.last(nn.functional.scaled_dot_product_attention(tokens, tokens, tokens)[:, 0])


class Cut(torch.autograd.Function):
    """A function whose author wrote one derivative."""

    @staticmethod
    def forward(ctx, given):
        return given * 2

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, slope):
        return slope * 2


class Once(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 1)

    def forward(self, images):
        return self.conv(Cut.apply(images))


def test_attention_is_no_hindrance_and_a_network_without_second_derivative_is_said(chance):
    photograph = torch.rand((3, 4, 6), generator=chance)
    model = handle(seeded(Attends), (4, 6), unit_axis=2)
    found = fv.eigendistortions(model, "last", photograph, steps=72)
    shown = (photograph * 255).round() / 255
    jacobian = torch.autograd.functional.jacobian(
        lambda pixels: model.module(pixels.reshape(1, 3, 4, 6) * 2 - 1).flatten(), shown.flatten()
    )
    _, values, vectors = torch.linalg.svd(jacobian.detach())
    assert found.most_values[0] == pytest.approx(float(values[0]) ** 2, rel=1e-3)
    assert cosine(found.most[0], vectors[0]) > 0.99
    with pytest.raises(fv.ModelError, match="no second derivative up to 'conv'"):
        fv.eigendistortions(handle(Once(), (4, 6)), "conv", photograph)


def test_mistakes_are_said(chance):
    model, _ = linear()
    photograph = torch.rand((3, 4, 5), generator=chance)
    with pytest.raises(fv.RecipeError, match="count is a whole number"):
        fv.eigendistortions(model, "1", photograph, count=0)
    with pytest.raises(fv.RecipeError, match="at most 30"):
        fv.eigendistortions(model, "1", photograph, count=31)
    with pytest.raises(fv.TargetError, match="unknown layer"):
        fv.eigendistortions(model, "2", photograph)
    model.module[1].weight.data.zero_()
    with pytest.raises(fv.TargetError, match="does not answer to any change"):
        fv.eigendistortions(handle(model.module, (4, 5)), "1", photograph)
