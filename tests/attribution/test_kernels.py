"""The weights of layers that read pixels, as images."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import featvis as fv
from featvis.attribution.kernels import pixel_weights
from featvis.cli import main
from tests.networks import handle, seeded, small


def linear(channels=3, size=(4, 5)):
    count = channels * size[0] * size[1]
    return handle(seeded(lambda: nn.Sequential(nn.Flatten(), nn.Linear(count, 3))), size, channels)


def test_a_linear_models_weights_lie_as_its_pixels_do():
    model = linear()
    weights = pixel_weights(model, "1")
    assert weights.shape == (3, 3, 4, 5)
    # One bright pixel moves the outputs by its weight, and by no other.
    image = torch.full((1, 3, 4, 5), 0.5)
    spot = image.clone()
    spot[0, 2, 3, 1] = 1.0  # (1 - .5) / .5 = 1 for the network
    with model.tap(["1"]) as activations:
        moved = (activations(spot)["1"] - activations(image)["1"])[0].detach()
    torch.testing.assert_close(moved, weights[:, 2, 3, 1], atol=1e-5, rtol=0)


def test_the_first_convolution_and_no_other():
    model = small()
    torch.testing.assert_close(pixel_weights(model, "conv1"), model.module.conv1.weight.detach())
    for layer, told in [
        ("conv2", "reads what other layers made.*'conv1'"),
        ("fc", "reads what other layers made.*'conv1'"),
        ("relu1", "is a ReLU"),
        ("conv3", "did you mean"),
    ]:
        with pytest.raises(fv.TargetError, match=told):
            fv.weights_image(model, layer)


def test_a_convolution_of_one_pixel_that_keeps_the_size_does_not_hide_what_comes_after():
    module = seeded(lambda: nn.Sequential(nn.Conv2d(3, 3, 1), nn.Conv2d(3, 4, 3, padding=1)))
    with pytest.raises(fv.TargetError, match="reads what other layers made"):
        pixel_weights(handle(module), "1")


def tiles(image, side, count):
    """Cut the grid's first row of tiles out: 6 pixels of gap, the title's 30 above."""
    pixels = np.asarray(image)
    return [pixels[30 : 30 + side[0], 6 + n * (side[1] + 6) :][:, : side[1]] for n in range(count)]


def test_colours_are_signed_and_on_one_scale():
    model = handle(nn.Sequential(nn.Conv2d(3, 3, (2, 1), bias=False)))
    with torch.no_grad():
        model.module[0].weight.zero_()
        model.module[0].weight[0, 0, 0, 0] = 2.0
        model.module[0].weight[1, 1, 1, 0] = -1.0
    first, second, third = tiles(fv.weights_image(model, "0"), (64, 32), 3)
    assert first[0, 0].tolist() == [255, 128, 128]
    assert first[63, 31].tolist() == [128, 128, 128]
    assert second[63, 0].tolist() == [128, 64, 128], "half as strong as the strongest of all units"
    assert (third == 128).all()
    (alone,) = tiles(fv.weights_image(model, "0", [1]), (64, 32), 1)
    assert (alone == second).all(), "the scale does not depend on which units are shown"
    doubled = tiles(fv.weights_image(model, "0", scale=4.0), (64, 32), 1)[0]
    assert 190 <= doubled[0, 0, 0] <= 192
    with pytest.raises(fv.UserError, match="above 0"):
        fv.weights_image(model, "0", scale=0.0)


def test_one_channel_is_blue_below_zero_and_red_above():
    model = linear(1, (2, 2))
    with torch.no_grad():
        model.module[1].weight.copy_(torch.tensor([[1.0, -1, 0, 0.5]]).expand(3, 4))
    (tile,) = tiles(fv.weights_image(model, "1", [2]), (64, 64), 1)
    red, blue, none, half = tile[0, 0], tile[0, 63], tile[63, 0], tile[63, 63]
    assert int(red[0]) > int(red[2]) + 60
    assert int(blue[2]) > int(blue[0]) + 60
    assert none.min() > 235
    assert np.ptp(none) < 8
    assert int(half[0]) - int(half[2]) > 20
    assert half.sum() > red.sum()


def test_the_command(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(
        "from tests.networks import small\ndef build():\n    return small().module\n"
    )
    options = ["--model", "file:net.py:build", "--mean", "0.5,0.5,0.5", "--std", "0.5,0.5,0.5"]
    assert main(["weights", "conv1", "--units", "1:3", *options, "--out", "w.png"]) == 0
    with Image.open(tmp_path / "w.png") as saved:
        expected = fv.weights_image(small(), "conv1", [1, 2])
        assert saved.height == expected.height
    for given, said in [
        (["conv2"], "reads what other layers made"),
        (["conv1", "--units", "99"], "out of range"),
        (["conv1", "--scale", "-1"], "--scale"),
        (["conf1"], "did you mean 'conv1'"),
    ]:
        capsys.readouterr()
        assert main(["weights", *given, *options]) == 2
        assert said in capsys.readouterr().err.strip().splitlines()[-1]
    assert not (tmp_path / "weights.png").exists()
