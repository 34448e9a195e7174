"""The guide's commands for a network of one's own, each typed as it stands there."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
import torch

from featvis.cli import main
from tests.documents import GUIDES, blocks
from tests.networks import seeded

TEXT = blocks(GUIDES / "your-network.md", "sh")[0]
COMMANDS = [line.partition(" #")[0].strip() for line in TEXT.splitlines()]

NET = """
from torch import nn
from tests.networks import Small, seeded

class Net(Small):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(8, 10)
        del self.fc

    def forward(self, images):
        found = self.relu1(self.conv1(images))
        return self.head(self.flat(self.pool(self.relu2(self.norm(self.conv2(found))))))

def make():
    net = seeded(Net)
    told = dict(mean=(.5,) * 3, std=(.5,) * 3, input_size=(17, 24), labels=[f"digit {n}" for n in range(10)])
    return net, told
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("net.py").write_text(NET)
    names = {}
    exec(NET, names)
    net = names["make"]()[0]
    torch.save({"model": net.state_dict(), "model_ema": net.state_dict()}, "best.pth")
    torch.save(seeded(names["Net"], seed=3).state_dict(), "other.pth")
    Path("classes.txt").write_text("".join(f"class {n}\n" for n in range(10)))
    return tmp_path


def elsewhere(line):
    """The words of a command, without the folder that it names."""
    words = shlex.split(line)[1:]
    place = words.index("--out") if "--out" in words else len(words)
    return [*words[:place], *words[place + 2 :]]


QUICK = ["--size", "24x32", "--steps", "2", "--lanes", "2", "--out", "out"]


def test_there_are_six():
    assert len(COMMANDS) == 6


@pytest.mark.parametrize("line", COMMANDS[1:3])
def test_a_network_renders_with_its_weights(line, place):
    assert main([*elsewhere(line), *QUICK]) == 0
    pictures = json.loads(Path("out/manifest.json").read_text())["pictures"]
    assert [picture["unit"] for picture in pictures] == list(range(10))
    assert pictures[3]["label"] == ("class 3" if "--labels" in line else "digit 3")


def test_its_layers_are_listed(place, capsys):
    _, *words = shlex.split(COMMANDS[0])
    assert main([*words, "--json", "--no-fields"]) == 0
    told = {layer["name"]: layer for layer in json.loads(capsys.readouterr().out)}
    assert told["head"]["units"] == 10
    assert told["conv1"]["shape"] == [1, 6, 28, 28]


@pytest.mark.slow
def test_a_fine_tuned_network_renders_its_own_classes(place, capsys):
    from torchvision import models

    torch.save({"state_dict": models.resnet18(num_classes=7).state_dict()}, "best.pth")
    assert main([*elsewhere(COMMANDS[3]), *QUICK]) == 0
    assert "built with the file's 7 classes" in capsys.readouterr().err
    assert len(json.loads(Path("out/manifest.json").read_text())["pictures"]) == 7


def test_a_network_of_bgr_and_255_renders(place):
    assert main([*elsewhere(COMMANDS[4]), *QUICK]) == 0
    (picture,) = json.loads(Path("out/manifest.json").read_text())["pictures"]
    assert picture["status"] == "ok"


def test_a_judge_with_weights_of_its_own_is_asked(place, capsys):
    assert main([*shlex.split(COMMANDS[1])[1:], *QUICK[:-1], "gallery/mine"]) == 0
    capsys.readouterr()
    _, *words = shlex.split(COMMANDS[5])
    assert main([*words, "--json"]) == 0
    assert list(json.loads(capsys.readouterr().out)["judges"]) == ["file:net.py:make"]
