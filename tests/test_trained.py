"""Small networks of one's own: their class pictures by the default command are recognized by themselves."""

from __future__ import annotations

import json
import time

import pytest
import torch

import featvis as fv
from featvis.cli import main
from tests.trained import Anywhere, Colours, Digits, Spectrogram, trained

FILE = """
import torch
from tests.trained import {make}
def make():
    network = {make}({classes})
    network.load_state_dict(torch.load({weights!r}))
    told = {{"mean": (0.5,) * {channels}, "std": (0.5,) * {channels}}}
    return network, told if {size} is None else {{**told, "input_size": {size}}}
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "classes", "channels", "size", "told"),
    [
        (Digits, 10, 1, (28, 28), True),
        (Digits, 10, 1, (28, 28), False),
        (Colours, 10, 3, (32, 32), True),
        (Colours, 10, 3, (32, 32), False),
        (Anywhere, 10, 3, (32, 32), True),
        (Spectrogram, 8, 1, (65, 129), True),
    ],
)
def test_every_class_is_recognized_by_the_network_itself(
    make, classes, channels, size, told, tmp_path, capsys
):
    network = trained(make, classes, channels, size)
    weights, file = tmp_path / "w.pt", tmp_path / "net.py"
    torch.save(network.state_dict(), weights)
    asked = size if told else None
    file.write_text(
        FILE.format(make=make.__name__, classes=classes, channels=channels, weights=str(weights), size=asked)
    )
    layer = "fc2" if make is Digits else "fc"
    began = time.process_time()
    assert (
        main(["render", "--layer", layer, "--model", f"file:{file}:make", "--out", str(tmp_path / "out")])
        == 0
    )
    seconds = time.process_time() - began
    assert f"canvas {size[0]}x{size[1]}" in capsys.readouterr().err
    sure = 0
    pictures = json.loads((tmp_path / "out" / "manifest.json").read_text())["pictures"]
    assert len(pictures) == classes
    for entry in pictures:
        image = fv.load_picture(tmp_path / "out" / entry["file"]).image
        assert tuple(image.shape) == (channels, *size)
        with torch.no_grad():
            chances = network((image[None] - 0.5) / 0.5).softmax(1)[0]
        sure += bool(chances.argmax() == entry["unit"] and chances[entry["unit"]] >= 0.9)
    assert sure >= 0.95 * classes
    assert seconds < 20, "of the processor, of which there may be many"
