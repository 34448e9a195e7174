"""What of a network is worth climbing, found by running it and not by its modules' names."""

from __future__ import annotations

import torch
from torch import nn

import featvis as fv
from tests.networks import handle, seeded, small
from tests.pages.markup import Page


class Handed(nn.Module):
    def forward(self, images):
        return images.view(images.shape)


class Written(nn.Module):
    """Gives the very tensor that it was given, but not as it was."""

    def forward(self, images):
        return images.mul_(2)


class Kept(nn.Module):
    def forward(self, images):
        return images.clone()


def build():
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.Identity(), nn.ReLU(inplace=True), nn.Dropout(), Handed(), Written(), Kept(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Sequential(nn.Sequential(nn.Linear(4, 2))),
    )  # fmt: skip


def test_what_hands_on_its_input_is_found_whatever_it_is_called():
    layers = handle(seeded(build)).layers
    assert isinstance(layers, list)
    assert [layer.name for layer in layers if layer.passes] == ["1", "3", "4"]
    assert [layer.name for layer in layers.worth_climbing] == [
        "0",
        "2",
        "5",
        "6",
        "7",
        "8",
        "9",
        "9.0",
        "9.0.0",
    ]


def test_layers_show_themselves_with_the_rest_folded_away():
    layers = handle(seeded(build)).layers
    assert repr(layers) == "Layers(12 layers of Sequential, 9 worth climbing: 0, 2, 5, 6, …)"
    page = Page(layers._repr_html_())
    assert len(page.all("details")) == 2
    assert "12 layers of Sequential, 9 worth climbing" in page.text
    assert "3 not worth climbing" in page.text
    assert "1 inside of these" in page.text
    before, _, rest = page.text.partition("not worth climbing")
    assert "Dropout" in rest
    assert "Dropout" not in before
    assert "4x15x22" in before


def test_lite0s_table_is_short(lite0):
    page = Page(lite0.layers._repr_html_())
    shown = page.text.partition("inside of these")[0]
    assert "blocks.3" in shown
    assert "Identity" not in shown
    assert len(lite0.layers._repr_html_()) < 120_000
    assert 20 < len(lite0.layers.worth_climbing) < 170 < len(lite0.layers)


def test_a_layer_that_cannot_be_climbed_says_why():
    class Random(nn.Module):
        def forward(self, images):
            return images + torch.rand_like(images)

    layers = handle(seeded(lambda: nn.Sequential(nn.Conv2d(3, 4, 3), Random()))).layers
    assert [layer.name for layer in layers.worth_climbing] == ["0"]
    assert "random" in Page(layers._repr_html_()).text


def test_a_copy_and_measured_fields_are_lists_that_show_themselves_too():
    model = small()
    assert isinstance(model.layers_with_receptive_fields((17, 24)), type(model.layers))
    assert model.copy().layers == model.layers
    assert isinstance(fv.load_model(model).layers, list)
