"""Small networks whose behaviour is known, for the tests."""

from __future__ import annotations

import torch
from torch import nn

import featvis as fv


def seeded(make, seed=7):
    """Build a network from fixed random weights, whatever the global state of chance."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make()


def handle(module, size=(17, 24), channels=3, **told):
    """Wrap a network that takes images in [0, 1] shifted to [-1, 1]."""
    told = {"mean": (0.5,) * channels, "std": (0.5,) * channels, "input_size": size, **told}
    return fv.load_model(module, **told)


class Small(nn.Module):
    """Two convolutions, BatchNorm with statistics of its own, in-place ReLUs, a classifier."""

    def __init__(self, channels=3):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 6, 3, padding=1)
        self.relu1 = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(6, 8, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.relu2 = nn.ReLU6(inplace=True)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flat = nn.Flatten()
        self.drop = nn.Dropout(0.5)
        self.fc = nn.Linear(8, 5)
        with torch.no_grad():
            self.norm.running_mean.normal_(0, 0.3)
            self.norm.running_var.uniform_(0.5, 2)

    def forward(self, images):
        found = self.relu1(self.conv1(images))
        found = self.relu2(self.norm(self.conv2(found)))
        return self.fc(self.drop(self.flat(self.pool(found))))


def small(channels=3, size=(17, 24), **told):
    return handle(seeded(lambda: Small(channels)), size, channels, **told)


def correlation(one, other):
    one, other = one.flatten().double(), other.flatten().double()
    one, other = one - one.mean(), other - other.mean()
    return float(one @ other / (one.norm() * other.norm()))


PLAIN = {
    "transforms": [],
    "optimizer": "sgd",
    "lanes": 2,
    "space": fv.PixelImage(decorrelate=False),
}
"""Options under which the picture follows the gradient itself: no transforms, no Adam, no colour matrix."""
