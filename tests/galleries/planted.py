"""A tiny network in a file of its own, and configs that build galleries of it in a moment."""

from __future__ import annotations

import json
from pathlib import Path

NET = '''
import torch
from torch import nn


class Odd(nn.Module):
    """Passes on what it is given, but for its third channel, which is no number."""

    def forward(self, maps):
        nan = torch.log(-maps[:, 2:3].square() - 1)
        return torch.cat([maps[:, :2], nan, maps[:, 3:]], 1)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 24, 3, padding=1)
        self.relu = nn.ReLU()
        self.conv2 = nn.Conv2d(24, 32, 3, stride=2, padding=1)
        self.odd = Odd()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flat = nn.Flatten()
        self.fc = nn.Linear(32, 5)
        with torch.no_grad():
            self.conv1.weight[5] = 0
            self.conv1.bias[5] = -1  # its ReLU never wakes

    def forward(self, images):
        maps = self.conv2(self.relu(self.conv1(images)))
        self.odd(maps)
        return self.fc(self.flat(self.pool(maps)))


def make():
    return Net(), {"input_size": (16, 20)}
'''

HEAD = """
model = "file:net.py:make"
mean = [0.5, 0.5, 0.5]
std = [0.5, 0.5, 0.5]
title = "Planted"
"""

RECIPE = """
[recipe]
size = [16, 20]
steps = 3
lanes = 2
attempts = 2
"""


def write_config(folder, sections, recipe=RECIPE, head=HEAD):
    """Write the network and a config beside it; ``sections`` is TOML."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "net.py").write_text(NET)
    path = folder / "planted.toml"
    path.write_text(head + recipe + sections)
    return path


def section(targets, **told):
    lines = [f"{key} = {json.dumps(value)}" for key, value in {"targets": targets, **told}.items()]
    return "\n[[sections]]\n" + "\n".join(lines) + "\n"


def manifest(folder):
    return json.loads((folder / "manifest.json").read_text("utf-8"))


def pngs(folder):
    """The bytes of every picture by its place."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(Path(folder).glob("*/*.png"))
        if path.name != "grid.png"
    }


def strays(folder):
    return sorted(Path(folder).rglob(".*"))
