"""Random small networks of every make that people bring, each known by its number."""

from __future__ import annotations

import random

import torch
from torch import nn
from torch.nn import functional


class Residual(nn.Module):
    def __init__(self, units, chance):
        super().__init__()
        self.conv, self.inplace = nn.Conv2d(units, units, 3, padding=1), chance.random() < 0.5

    def forward(self, found):
        more = self.conv(found)
        if self.inplace:
            more += found
            return functional.relu_(more)
        return functional.relu(more + found)


class Squeeze(nn.Module):
    def __init__(self, units):
        super().__init__()
        self.down, self.up = nn.Linear(units, max(1, units // 2)), nn.Linear(max(1, units // 2), units)

    def forward(self, found):
        gate = self.up(torch.relu(self.down(found.mean((2, 3))))).sigmoid()
        return found * gate[:, :, None, None]


class Attended(nn.Module):
    """The map as tokens, with a class token or without, and back."""

    def __init__(self, units, chance):
        super().__init__()
        heads = 2 if units % 2 == 0 else 1
        self.attention = nn.MultiheadAttention(units, heads, batch_first=True)
        self.norm = nn.LayerNorm(units)
        self.first = nn.Parameter(torch.randn(1, 1, units)) if chance.random() < 0.5 else None

    def forward(self, found):
        batch, units, height, width = found.shape
        tokens = found.flatten(2).transpose(1, 2)
        if self.first is not None:
            tokens = torch.cat([self.first.expand(batch, -1, -1), tokens], 1)
        tokens = self.norm(tokens + self.attention(tokens, tokens, tokens, need_weights=False)[0])
        tokens = tokens[:, 0 if self.first is None else 1 :]
        return tokens.transpose(1, 2).reshape(batch, units, height, width).contiguous()


class LastNorm(nn.Module):
    def __init__(self, units):
        super().__init__()
        self.norm = nn.LayerNorm(units)

    def forward(self, found):
        return self.norm(found.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def norm_of(kind, units):
    norms = {
        "batch": nn.BatchNorm2d,
        "still": lambda units: nn.BatchNorm2d(units, track_running_stats=False),
        "group": lambda units: nn.GroupNorm(1, units),
        "instance": nn.InstanceNorm2d,
        "last": LastNorm,
    }
    return norms[kind](units)


class Network(nn.Module):
    """What a number says: depth, views, norms, attention, what it returns, what it takes, what is wrong."""

    def __init__(self, number):
        super().__init__()
        chance = random.Random(number)
        self.channels = chance.choice([1, 3, 3, 3, 4])
        self.size = chance.choice([(16, 16), (20, 28), (28, 28), (32, 32), (33, 17), (9, 40)])
        units = self.channels
        blocks = []
        for _ in range(chance.randint(1, 4)):
            wider = chance.choice([3, 4, 6, 8])
            blocks.append(
                nn.Conv2d(units, wider, chance.choice([1, 3]), padding=1, stride=chance.choice([1, 1, 2]))
            )
            units = wider
            kind = chance.choice(["batch", "still", "group", "instance", "last", "none", "none"])
            if kind != "none":
                blocks.append(norm_of(kind, units))
            blocks.append(chance.choice([
                nn.ReLU(), nn.ReLU(inplace=True), nn.ReLU6(), nn.GELU(), nn.Tanh(), nn.LeakyReLU(0.1),
                nn.Hardswish(), nn.Identity(),
            ]))  # fmt: skip
            extra = chance.random()
            if extra < 0.15:
                blocks.append(Residual(units, chance))
            elif extra < 0.25:
                blocks.append(Squeeze(units))
            elif extra < 0.4:
                blocks.append(Attended(units, chance))
            elif extra < 0.5:
                blocks.append(nn.Dropout2d(0.3))
            elif extra < 0.55:
                blocks.append(nn.MaxPool2d(2, ceil_mode=True))
        self.body = nn.Sequential(*blocks)
        self.ending = chance.choice(["view", "rows", "mean", "flatten", "map", "squeeze", "fixed"])
        with torch.no_grad():
            self.eval()
            found = self.body(torch.zeros(2, self.channels, *self.size))
        room = found[0].numel() if self.ending in ("view", "rows", "flatten", "fixed") else units
        self.room = room
        classes = chance.choice([2, 5, 10])
        self.head = nn.Conv2d(units, classes, 1) if self.ending == "map" else nn.Linear(room, classes)
        self.extra = nn.Linear(units, 3)
        self.returns = chance.choice(
            ["one"] * 5 + ["tuple", "dict", "list", "softmax", "log", "sigmoid", "nested"]
        )
        self.second = chance.choice(["no"] * 5 + ["default", "default", "needed"])
        self.wrong = chance.choice(["no"] * 12 + [
            "no_grad", "detach", "dropout", "noise", "raises", "nan", "round", "mixes", "counts", "numpy",
            "batch",
        ])  # fmt: skip
        self.register_buffer("seen", torch.zeros(1))
        if self.wrong == "nan":
            with torch.no_grad():
                self.head.weight.view(-1)[0] = float("nan")

    def run(self, images):
        found = self.body(images)
        if self.wrong == "mixes":
            found = found - found.mean(0, keepdim=True) / 2
        if self.wrong == "detach":
            found = found.detach()
        if self.wrong == "numpy":
            found = torch.from_numpy(found.detach().numpy())
        pooled = found.mean((2, 3))
        if self.ending == "view":
            flat = found.view(found.size(0), -1)
        elif self.ending == "rows":
            flat = found.view(-1, self.room)
        elif self.ending in ("flatten", "fixed"):
            flat = found.flatten(1)
        elif self.ending == "squeeze":
            flat = functional.adaptive_avg_pool2d(found, 1).squeeze()
        else:
            flat = found if self.ending == "map" else pooled
        if self.wrong == "dropout":
            flat = functional.dropout(flat, 0.5, training=True)
        if self.wrong == "noise":
            flat = flat + torch.randn_like(flat)
        if self.wrong == "round":
            flat = (flat * 20).round()
        if self.wrong == "counts":
            self.seen += 1
        if self.wrong == "raises" and len(images) > 2:
            raise KeyError("mask")
        if self.wrong == "batch":
            assert len(images) == 1, "one image at a time"
        return self.head(flat), pooled

    def forward(self, images, scale=None):
        if self.second == "needed":
            images = images * scale.mean()
        elif scale is not None:
            images = images * scale
        if self.wrong == "no_grad":
            with torch.no_grad():
                answer, pooled = self.run(images)
        else:
            answer, pooled = self.run(images)
        if self.returns == "tuple":
            return answer, self.extra(pooled)
        if self.returns == "dict":
            return {"out": answer, "aux": self.extra(pooled)}
        if self.returns == "list":
            return [answer]
        if self.returns == "nested":
            return {"logits": (answer, pooled), "loss": None, "name": "x"}
        if self.returns == "softmax":
            return answer.softmax(1) if answer.dim() > 1 else answer.softmax(0)
        if self.returns == "log":
            return answer.log_softmax(1) if answer.dim() > 1 else answer.log_softmax(0)
        return answer.sigmoid() if self.returns == "sigmoid" else answer


def build(number):
    """Return the network of this number, in eval mode, always with the same weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(number)
        network = Network(number)
        for norm in network.modules():
            if isinstance(norm, nn.BatchNorm2d) and norm.running_var is not None:
                norm.running_mean.normal_(0, 0.3)
                norm.running_var.uniform_(0.5, 2)
    return network.eval()


FILE = """
from tests.random_networks import build
BUILT = []
def make():
    network = build({number})
    BUILT.append(network)
    import tests.random_networks
    tests.random_networks.LAST = network
    channels = (0.5,) * network.channels
    return network, {{"mean": channels, "std": channels, "input_size": network.size}}
"""
LAST = None
