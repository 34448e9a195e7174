"""A network whose units look for what has a name, photographs of that, and a pair that knows the names."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.nn import functional

import featvis as fv
from tests.networks import handle, seeded

WORDS = ("red", "green", "blue", "stripes", "checks", "grey")
SIDE, PLACE, EACH = 48, 20, 6
"""Pixels of a photograph and of the square in it; photographs of each word."""
UNITS = ("red", "green", "blue", "stripes", None, "red", "red or stripes")
"""What each unit looks for; the fifth says the same of everything."""


def texture(word, side, period, chance):
    """A square of what a word names, noisy, in [0, 1]."""
    levels = np.full((3, side, side), 0.5)
    rows, columns = np.indices((side, side)) // (period // 2)
    if word in WORDS[:3]:
        levels[:] = 0.1
        levels[WORDS.index(word)] = 0.9
    elif word == "stripes":
        levels[:] = rows % 2
    elif word == "checks":
        levels[:] = (rows + columns) % 2
    return np.clip(levels + chance.normal(0, 0.06, levels.shape), 0, 1)


def write_photographs(folder):
    """Grey photographs with a square of one thing in each."""
    folder.mkdir()
    chance = np.random.default_rng(3)
    for word in WORDS[:5]:
        for number in range(EACH):
            levels = texture("grey", SIDE, 4, chance)
            top, left = chance.integers(0, SIDE - PLACE, 2)
            levels[:, top : top + PLACE, left : left + PLACE] = texture(word, PLACE, 4, chance)
            image = Image.fromarray((levels.transpose(1, 2, 0) * 255).round().astype(np.uint8))
            image.save(folder / f"{number}-{word}.png")
    return folder


class Planted(nn.Module):
    """Units of 8 by 8 pixels, each of which looks for what its place in UNITS says; then six features."""

    def __init__(self):
        super().__init__()
        self.seen = nn.Conv2d(3, len(UNITS), 8)
        self.relu = nn.ReLU()
        self.pool = nn.AdaptiveMaxPool2d(1)
        self.flat = nn.Flatten()
        self.fc = nn.Linear(len(UNITS), 3)
        stripes = torch.tensor([-1.0, -1, 1, 1]).repeat(2)[:, None].expand(8, 8)
        with torch.no_grad():
            self.seen.weight.zero_()
            self.seen.bias.zero_()
            for unit, what in enumerate(UNITS):
                if what in WORDS[:3]:
                    self.seen.weight[unit] = -0.5 / 64
                    self.seen.weight[unit, WORDS.index(what)] = 1 / 64
                elif what == "stripes":
                    self.seen.weight[unit] = stripes / 192
                elif what == "red or stripes":
                    self.seen.weight[unit] = self.seen.weight[0] + 1.6 * stripes / 192
            self.seen.bias[4] = 1.0

    def forward(self, images):
        return self.fc(self.flat(self.pool(self.relu(self.seen(images)))))


def planted(**told):
    """The network, which takes levels as they are."""
    return handle(seeded(Planted), (SIDE, SIDE), **{"mean": (0.0,) * 3, "std": (1.0,) * 3, **told})


class Pair(nn.Module):
    """A small image encoder, and a bag of words."""

    def __init__(self):
        super().__init__()
        self.look = nn.Sequential(
            nn.Conv2d(3, 16, 5, 2, 2),
            nn.ReLU(),
            nn.Conv2d(16, 24, 3, 2, 1),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
        )
        self.project = nn.Linear(24, 8)
        self.read = nn.EmbeddingBag(len(WORDS) + 1, 8, padding_idx=len(WORDS))
        self.logit_scale = nn.Parameter(torch.tensor(2.5))

    def encode_image(self, images):
        return self.project(self.look(images).flatten(1))

    def encode_text(self, tokens):
        return self.read(tokens)


def tokenize(texts):
    """The numbers of the words that are known, in a row of four."""
    known = [[WORDS.index(word) for word in text.split() if word in WORDS] for text in texts]
    return torch.tensor([(row + [len(WORDS)] * 4)[:4] for row in known])


def train_pair(steps=40):
    """The pair, trained as CLIP is, on squares of 8 pixels enlarged to 16; about a second."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        pair, chance = Pair(), np.random.default_rng(8)
        optimizer = torch.optim.Adam(pair.parameters(), 0.01)
        names = torch.arange(len(WORDS)).repeat_interleave(4)
        for _ in range(steps):
            squares = [texture(WORDS[name], 16, 8, chance) for name in names]
            shifted = [np.roll(one, chance.integers(0, 8), 1) for one in squares]
            images = torch.tensor(np.stack(shifted)).float() * 2 - 1
            seen = functional.normalize(pair.encode_image(images), dim=1)
            read = functional.normalize(pair.encode_text(tokenize(WORDS)), dim=1)
            optimizer.zero_grad()
            functional.cross_entropy(pair.logit_scale.exp() * seen @ read.T, names).backward()
            optimizer.step()
    return pair.eval()


def loaded(pair):
    """The pair as featvis takes it."""
    return fv.load_paired(pair, tokenize, mean=(0.5,) * 3, std=(0.5,) * 3, input_size=16)
