"""A network that fires at one patch and at nothing else, and a photograph that holds the patch once."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from tests.networks import handle, seeded

SIZE = (41, 57)
SIDE = 9
CORNER = (22, 35)
"""Row and column of the patch's first pixel."""


def patch():
    """A red and green chequerboard of 3 × 3 pixels a field, ``(3, 9, 9)`` in [-1, 1]."""
    rows, columns = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    sign = ((rows // 3 + columns // 3) % 2 * 2 - 1).float()
    return torch.stack([sign, -sign, torch.zeros_like(sign)])


class Detector(nn.Module):
    """Finds the patch by correlation and ReLU6; a second unit finds its negative."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 2, SIDE, padding=SIDE // 2)
        self.rest = nn.Conv2d(2, 2, 3, padding=1, bias=False)
        self.fc = nn.Linear(2, 2, bias=False)
        with torch.no_grad():
            self.conv.weight[0], self.conv.weight[1] = patch() / 16, -patch() / 16
            self.conv.bias.fill_(-1.5)
            self.rest.weight.zero_()
            self.rest.weight[0, 0] = self.rest.weight[1, 1] = torch.tensor(
                [[0.1, 0.2, 0.1], [0.2, 1.0, 0.2], [0.1, 0.2, 0.1]]
            )
            self.fc.weight.copy_(torch.eye(2) * 100)

    def forward(self, images):
        found = functional.relu6(self.conv(images))
        found = torch.relu_(self.rest(found))
        return self.fc(found.mean((2, 3)))


def detector():
    return handle(Detector(), SIZE)


def photograph(chance):
    """The patch on a background that the network does not answer, ``(3, H, W)``."""
    image = 0.5 + 0.1 * torch.randn((3, *SIZE), generator=chance)
    image[:, 5:14, 8:17] = torch.tensor([1.0, 0.0, 0.0])[:, None, None]  # strong, but no chequerboard
    row, column = CORNER
    image[:, row : row + SIDE, column : column + SIDE] = patch() / 2 + 0.5
    return ((image.clamp(0, 1) * 255).round() / 255).contiguous()


def hits(values):
    """Whether the largest value of a map lies on the patch (the pointing game)."""
    row, column = np.unravel_index(int(np.argmax(values)), values.shape)
    return CORNER[0] <= row < CORNER[0] + SIDE and CORNER[1] <= column < CORNER[1] + SIDE


def share_inside(values):
    """The share of a map's positive part that lies on the patch."""
    above = np.clip(values, 0, None)
    row, column = CORNER
    return above[row : row + SIDE, column : column + SIDE].sum() / above.sum()


class Stack(nn.Module):
    """Convolutions with BatchNorm, every activation that LRP has a rule for, a gate, a LayerNorm, a sum."""

    def __init__(self, bias=True):
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1, bias=bias)
        self.norm = nn.BatchNorm2d(8) if bias else nn.Identity()
        self.deep = nn.Conv2d(8, 8, 3, padding=1, groups=4, bias=bias)
        self.gate = nn.Conv2d(8, 8, 1, bias=bias)
        self.act = nn.Hardswish(inplace=True)
        self.tokens = nn.LayerNorm(8, bias=bias)
        self.fc = nn.Linear(8, 4, bias=bias)
        if bias:
            with torch.no_grad():
                self.norm.running_mean.normal_(0, 0.3)
                self.norm.running_var.uniform_(0.5, 2)
                self.norm.bias.normal_(0, 0.3)

    def forward(self, images):
        low = functional.silu(self.norm(self.first(functional.pad(images, (1, 0, 0, 1)))))
        found = functional.gelu(self.deep(low)) + low
        found = found * torch.sigmoid(self.gate(found.mean((2, 3), keepdim=True)))
        found = functional.max_pool2d(self.act(found), 2)
        return self.fc(self.tokens(found.flatten(2).transpose(1, 2)).mean(1))


def stack(bias=True, size=(19, 26)):
    return handle(seeded(lambda: Stack(bias)), size)
