"""Small classifiers, trained in seconds on data made here, for the tests."""

from __future__ import annotations

import torch
from torch import nn


class Digits(nn.Module):
    """A multilayer perceptron of the first tutorial: gray images of 28 by 28, flattened by a view."""

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(784, 128), nn.Linear(128, classes)

    def forward(self, images):
        return self.fc2(torch.relu(self.fc1(images.view(-1, 784))))


class Colours(nn.Module):
    """A convolutional network of 32 by 32 with a view before its classifier."""

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(16, 32, 3, padding=1)
        self.norm1, self.norm2 = nn.BatchNorm2d(16), nn.BatchNorm2d(32)
        self.fc = nn.Linear(32 * 8 * 8, classes)

    def forward(self, images):
        found = nn.functional.max_pool2d(torch.relu(self.norm1(self.conv1(images))), 2)
        found = nn.functional.max_pool2d(torch.relu(self.norm2(self.conv2(found))), 2)
        return self.fc(found.view(found.size(0), -1))


class Anywhere(nn.Module):
    """A convolutional network that runs at any size, so that nothing but its owner tells which is its own."""

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(32, 48, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        )  # fmt: skip
        self.fc = nn.Linear(48, classes)

    def forward(self, images):
        return self.fc(self.body(images))


class Spectrogram(nn.Module):
    """A convolutional network of one channel of 65 frequencies by 129 times."""

    def __init__(self, classes: int = 8) -> None:
        super().__init__()
        self.conv1, self.conv2 = (
            nn.Conv2d(1, 12, 5, stride=2, padding=2),
            nn.Conv2d(12, 24, 3, stride=2, padding=1),
        )
        self.norm1, self.norm2 = nn.BatchNorm2d(12), nn.BatchNorm2d(24)
        self.fc = nn.Linear(24 * 17 * 33, classes)

    def forward(self, images):
        found = torch.relu(self.norm1(self.conv1(images)))
        found = torch.relu(self.norm2(self.conv2(found)))
        return self.fc(found.flatten(1))


def patterns(classes, channels, size, count, generator, wave=3):
    """Noisy images of each class, shifted at random; values in [0, 1]."""
    height, width = size
    coarse = torch.rand((classes, channels, wave, wave), generator=torch.Generator().manual_seed(5))
    means = nn.functional.interpolate(coarse, size=size, mode="bilinear", align_corners=True)
    labels = torch.randint(0, classes, (count,), generator=generator)
    images = means[labels]
    rows = torch.randint(-height // 10, height // 10 + 1, (count,), generator=generator).tolist()
    columns = torch.randint(-width // 10, width // 10 + 1, (count,), generator=generator).tolist()
    shifted = [
        torch.roll(image, (row, column), (1, 2))
        for image, row, column in zip(images, rows, columns, strict=True)
    ]
    noise = torch.randn((count, channels, *size), generator=generator) * 0.15
    return (torch.stack(shifted) + noise).clamp(0, 1), labels


def trained(make, classes, channels, size, steps=300, batch=64):
    """Train a network on :func:`patterns`, normalized by mean and deviation .5; returns it in eval mode."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = make(classes).train()
    generator = torch.Generator().manual_seed(1)
    images, labels = patterns(classes, channels, size, 2048, generator)
    optimizer = torch.optim.Adam(network.parameters(), 2e-3)
    for _ in range(steps):
        chosen = torch.randint(0, len(images), (batch,), generator=generator)
        loss = nn.functional.cross_entropy(network((images[chosen] - 0.5) / 0.5), labels[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    network.eval()
    fresh, truth = patterns(classes, channels, size, 512, generator)
    with torch.no_grad():
        right = (network((fresh - 0.5) / 0.5).argmax(1) == truth).float().mean()
    assert right > 0.9, f"trained to {right:.2f} only"
    return network
