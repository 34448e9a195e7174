"""A neuron is shown the part of the canvas that it sees: the same activations, gradients and pictures."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import featvis as fv
from featvis.models.layers.window import Window
from tests.networks import handle


def network():
    torch.manual_seed(0)
    return handle(
        nn.Sequential(
            nn.Conv2d(3, 6, 3, stride=2, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(6, 8, 3, padding=1),
            nn.MaxPool2d(2),
            nn.Conv2d(8, 7, 3, padding=1),
        )
    )


@pytest.mark.parametrize("position", [(0, 0), (7, 3), (11, 15), (6, 8)])
def test_the_window_holds_all_that_the_position_sees(position):
    model = network()
    size = (48, 64)
    window = model.window("4", position, size)
    assert window is not None
    assert window.size[0] * window.size[1] < 0.7 * 48 * 64
    generator = torch.Generator().manual_seed(9)
    images = torch.rand((3, 3, *size), generator=generator)
    other = torch.rand((3, 3, *size), generator=generator)
    window.of(other)[:] = window.of(images)  # all else is another
    with model.tap(["4"], size=size) as activations:
        row, column = position
        whole = activations(images)["4"][:, :, row, column]
        torch.testing.assert_close(activations(other)["4"][:, :, row, column], whole)
    with model.tap(["4"], size=window.size) as activations:
        row, column = window.position
        torch.testing.assert_close(activations(window.of(images))["4"][:, :, row, column], whole)


def test_a_network_that_looks_at_everything_has_no_window():
    class Everything(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3, padding=1)
            self.scaled = nn.Identity()

        def forward(self, images):
            found = self.conv(images)
            return self.scaled(found * found.mean((2, 3), keepdim=True).sigmoid())

    model = handle(Everything())
    assert model.window("scaled", (20, 20), (48, 64)) is None
    assert model.window("conv", (20, 20), (48, 64)) is not None


def test_a_neurons_picture_is_the_whole_canvas_picture(monkeypatch):
    options = {
        "size": (48, 64),
        "steps": 12,
        "lanes": 2,
        "transforms": [fv.Warp(jitter=4), fv.Noise(sd=0.05)],
    }
    model = network()
    shown = []
    of = Window.of
    monkeypatch.setattr(Window, "of", lambda self, images: shown.append(self.size) or of(self, images))
    windowed = fv.render(model, ["4:2@5,7", "4:6@5,7"], **options)
    assert shown, "the run used it"
    monkeypatch.setattr(type(model), "window", lambda *_: None)
    plain = fv.render(model, ["4:2@5,7", "4:6@5,7"], **options)
    for one, other in zip(windowed, plain, strict=True):
        assert one.score > one.start_score
        assert abs(one.levels.astype(int) - other.levels.astype(int)).mean() < 0.5
        assert one.score == pytest.approx(other.score, rel=2e-2)


def test_sums_and_penalties():
    bound = (fv.neuron("4", 2, (5, 7)) - 0.1 * fv.total_variation()).bind(network().at((48, 64)))
    assert bound.place() == ("4", (5, 7))
    assert bound.moved((1, 2)).place() == ("4", (1, 2))
    two = (fv.neuron("4", 2, (5, 7)) + fv.channel("2", 1)).bind(network().at((48, 64)))
    assert two.place() is None, "something else is read, too"
    assert fv.channel("4", 1).bind(network().at((48, 64))).place() is None
