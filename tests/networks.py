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


class Layouts(nn.Module):
    """One network with every layout of units; ``num_prefix_tokens`` as timm's transformers say it."""

    def __init__(self):
        super().__init__()
        self.num_prefix_tokens = 2
        self.map = nn.Conv2d(3, 6, 3, stride=2, padding=1)
        self.map_last = nn.Linear(6, 7)
        self.extra = nn.Parameter(torch.randn(1, 2, 7))
        self.tokens = nn.Linear(7, 5)
        self.signal = nn.Conv1d(5, 4, 3, padding=1)
        self.vector = nn.Linear(4, 3)

    def forward(self, images):
        found = self.map_last(self.map(images).permute(0, 2, 3, 1))
        found = torch.cat([self.extra.expand(len(found), -1, -1), found.flatten(1, 2)], 1)
        found = self.signal(self.tokens(found).transpose(1, 2))
        return self.vector(found.mean(2))


def layouts(size=(17, 10)):
    """Canvas 17 × 10 gives a map of 9 rows by 5 columns."""
    return handle(seeded(Layouts), size)


def activations_of(model, name, images):
    """What a layer gives, read without the tap."""
    found = {}
    hook = dict(model.module.named_modules())[name].register_forward_hook(
        lambda _m, _i, output: found.update(given=output.detach().clone())
    )
    mean, std = (torch.tensor(values)[:, None, None] for values in (model.mean, model.std))
    training = model.module.training
    with torch.no_grad():
        model.module.eval()((images - mean) / std)
    model.module.train(training)
    hook.remove()
    return found["given"]


def scores_of(model, objective, images):
    """The scores of images under an objective, as the loop would compute them, without transforms."""
    size = tuple(images.shape[2:])
    bound = objective.bind(model.at(size))
    with model.tap(bound.layers, size=size) as activations:
        return bound(activations(images) if bound.layers else {}, images)
