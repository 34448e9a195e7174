from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

import featvis as fv
from featvis.attribution.guided import GuidedReLU
from featvis.errors import ModelError
from tests.networks import handle, seeded

FORMS = {
    "module": nn.ReLU(),
    "in place": nn.ReLU(inplace=True),
    "functional": functional.relu,
    "functional in place": lambda x: functional.relu(x, inplace=True),
    "torch": torch.relu,
    "method": lambda x: x.relu(),
    "method in place, not returned": lambda x: (x.relu_(), x)[1],
    "relu6": nn.ReLU6(),
    "relu6 functional": functional.relu6,
    "hardtanh": nn.Hardtanh(0.0, 6.0, inplace=True),
}


@pytest.mark.parametrize("form", FORMS)
def test_positive_gradients_pass_where_the_input_is_positive(form, chance):
    inputs = torch.randn((2, 40), generator=chance) * 5
    slopes = torch.randn((2, 40), generator=chance)
    leaf = inputs.clone().requires_grad_()
    guide = GuidedReLU()
    with guide:
        given = FORMS[form](leaf * 1.0)
    ceiling = 6.0 if "6" in form or form == "hardtanh" else float("inf")
    assert torch.equal(given, inputs.clamp(0, ceiling))
    assert guide.met == 1
    (found,) = torch.autograd.grad(given, leaf, slopes)
    expected = slopes * (slopes > 0) * (inputs > 0) * (inputs < ceiling)
    assert torch.equal(found, expected)


def test_what_does_not_rectify_is_left_alone(chance):
    inputs = torch.randn(9, generator=chance).requires_grad_()
    guide = GuidedReLU()
    with guide:
        given = functional.hardtanh(inputs) + functional.silu(inputs)
    (found,) = torch.autograd.grad(given.sum(), inputs)
    (plain,) = torch.autograd.grad((functional.hardtanh(inputs) + functional.silu(inputs)).sum(), inputs)
    assert torch.equal(found, plain)
    assert guide.met == 0


def test_captums_guided_backprop_agrees_on_a_network_of_relu_modules(chance):
    from captum.attr import GuidedBackprop

    module = seeded(
        lambda: nn.Sequential(
            nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 30, 4)
        )
    )
    model = handle(module, (9, 10))
    photo = torch.rand((3, 9, 10), generator=chance)
    found = fv.attribute(model, photo, "5:2", "guided-backprop").values
    shown = ((photo[None] - 0.5) / 0.5).requires_grad_()
    with pytest.warns(UserWarning, match="backward hooks"):
        expected = GuidedBackprop(module.eval()).attribute(shown, target=2)
    # Captum's slopes are by what the network is shown, which is twice the image.
    assert torch.allclose(torch.from_numpy(found), 2 * expected[0].abs().amax(0), atol=1e-5)


def test_a_network_without_relus_says_so(chance):
    module = seeded(lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.SiLU(), nn.Flatten(), nn.Linear(4 * 35, 2)))
    with pytest.raises(ModelError, match="has none before"):
        fv.attribute(
            handle(module, (7, 9)), torch.rand((3, 7, 9), generator=chance), "3:1", "guided-backprop"
        )
