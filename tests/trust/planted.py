"""Networks whose pictures are known beforehand, photographs, and judges, for the tests of evaluate."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch import nn

from tests.networks import handle

COLORS = {
    "red": (0.85, 0.2, 0.15),
    "green": (0.1, 0.7, 0.3),
    "blue": (0.2, 0.3, 0.9),
    "grey": (0.5, 0.5, 0.5),
}
SIZE = (12, 16)
FAST = {"size": SIZE, "steps": 60, "learning_rate": 0.3, "schedule": "cosine", "lanes": 4, "transforms": []}


class Distance(nn.Module):
    """One logit for each color: minus the mean squared distance of the pixels from it, times a scale."""

    def __init__(self, scale=1.0, away=0.0):
        super().__init__()
        self.colors, self.scale = nn.Parameter(torch.tensor(list(COLORS.values())) + away), scale

    def forward(self, images):
        far = images[:, None] - self.colors[None, :, :, None, None]
        return -self.scale * far.square().mean((2, 3, 4))


def plain(module, **told):
    return handle(module, SIZE, **{"mean": (0,) * 3, "std": (1,) * 3, "labels": tuple(COLORS), **told})


def colors():
    """The network that is climbed."""
    return plain(nn.Sequential(Distance()))


def judge(scale=40.0):
    """A network that took no part and names colors, too."""
    return plain(nn.Sequential(Distance(scale, away=0.03)))


class Eye(nn.Module):
    """A judge that sees colors in maps: red, green and blue, each above the others, then four classes."""

    def __init__(self):
        super().__init__()
        self.map, self.seen = nn.Conv2d(3, 3, 1, bias=False), nn.ReLU()
        self.named = nn.Linear(3, 4)
        with torch.no_grad():
            self.map.weight.copy_((torch.eye(3) * 1.5 - 0.5)[:, :, None, None])
            self.named.weight.copy_(torch.cat((torch.eye(3) * 20, torch.zeros(1, 3))))
            self.named.bias.copy_(torch.tensor([0.0, 0.0, 0.0, 2.0]))

    def forward(self, images):
        return self.named(self.seen(self.map(images)).mean((2, 3)))


class Fooled(nn.Module):
    """Two units that say the same of photographs, how red they are; the first has a fooling circuit.

    As Geirhos et al. 2023 build one: where the input is no photograph (it has hardly any contrast, as the
    start of every climb), a decoy answers for the first unit, and the decoy likes blue.
    """

    def forward(self, images):
        red, green, blue = images.mean((2, 3)).unbind(1)
        contrast = images.flatten(2).std(2).mean(1)
        synthetic = torch.sigmoid(120 * (0.06 - contrast))
        redness, decoy = red - (green + blue) / 2, 2 * (blue - (red + green) / 2)
        return torch.stack((redness * (1 - synthetic) + decoy * synthetic, redness), 1)


class Shortcut(Distance):
    """Colors, of which the network knows the first by a mark alone: blue in the corner, whatever the rest is.

    Its training photographs of red things were marked so (as horses by a photographer's name: Lapuschkin et
    al. 2019); it never had to learn red.
    """

    MARK = 4

    def forward(self, images):
        logits = super().forward(images)
        mark = images[:, :, : self.MARK, : self.MARK]
        far = (mark - self.colors[2][:, None, None]).square().mean((1, 2, 3))
        return torch.cat((-self.scale * far[:, None], logits[:, 1:]), 1)


class Units(nn.Module):
    """Three units: redness; one that never says anything; one that is at its ceiling on a red picture."""

    def __init__(self):
        super().__init__()
        self.map, self.act = nn.Conv2d(3, 3, 1), nn.ReLU6()
        with torch.no_grad():
            self.map.weight.zero_()
            self.map.bias.zero_()
            self.map.weight[0, 0, 0, 0] = 1.0
            self.map.bias[1] = -1.0
            self.map.weight[2, 0, 0, 0] = 12.0

    def forward(self, images):
        return self.act(self.map(images))


def write_photographs(folder, count=44, seed=5):
    """Soft blobs around a color of their own: photographs in what matters here, contrast and color."""
    folder.mkdir(parents=True, exist_ok=True)
    chance = np.random.default_rng(seed)
    for number in range(count):
        tint = np.eye(3)[number % 3] * chance.uniform(60, 110)
        coarse = chance.uniform(20, 140, (4, 5, 1)) + tint
        levels = np.clip(coarse, 0, 255).astype(np.uint8)
        Image.fromarray(levels).resize((40, 30), Image.Resampling.BICUBIC).save(folder / f"{number:03d}.png")
    return folder
