"""Pictures of a trained network of videos: they move as its classes do."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn

import featvis as fv
from tests.networks import seeded

FRAMES, HEIGHT, WIDTH = 8, 18, 24
MOVES = ((0, 2), (0, -2), (2, 0), (-2, 0))
"""Rows and columns from frame to frame: right, left, down, up."""


def videos(count, generator):
    """Soft textures that drift in one of four directions; a single frame tells nothing of which."""
    which = torch.randint(len(MOVES), (count,), generator=generator)
    still = torch.fft.rfft2(torch.randn((count, 1, HEIGHT, WIDTH), generator=generator))
    cycles = torch.fft.fftfreq(HEIGHT)[:, None] ** 2 + torch.fft.rfftfreq(WIDTH) ** 2
    still = torch.fft.irfft2(still * torch.exp(-cycles / (2 * 0.12**2)), s=(HEIGHT, WIDTH))
    still = 0.2 * still / still.std((2, 3), keepdim=True)
    moved = [
        torch.stack([one.roll((down * t, right * t), (1, 2)) for t in range(FRAMES)], 1)
        for one, (down, right) in zip(still, (MOVES[move] for move in which.tolist()), strict=True)
    ]
    shown = torch.stack(moved)
    return (shown + 0.1 * torch.randn(shown.shape, generator=generator)).clamp(-1, 1), which


class Mover(nn.Module):
    """A small network of gray videos."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv3d(1, 16, (3, 5, 5), padding=(1, 2, 2))
        self.conv2 = nn.Conv3d(16, 24, 3, stride=2, padding=1)
        self.relu, self.head = nn.ReLU(), nn.Linear(24, len(MOVES))

    def forward(self, shown):
        return self.head(self.relu(self.conv2(self.relu(self.conv1(shown)))).mean((2, 3, 4)))


def motion(video):
    """Rows and columns by which each frame is best rolled to be the next one."""
    centred = video - video.mean((1, 2), keepdim=True)
    found = {
        shift: float(
            sum((one.roll(shift, (0, 1)) * other).sum() for one, other in itertools.pairwise(centred))
        )
        for shift in itertools.product(range(-4, 5), repeat=2)
    }
    return max(found, key=lambda shift: found[shift])


def test_motion_is_measured_as_it_is():
    still = torch.rand((HEIGHT, WIDTH), generator=torch.Generator().manual_seed(0))
    for down, right in MOVES:
        assert motion(torch.stack([still.roll((down * t, right * t), (0, 1)) for t in range(4)])) == (
            down,
            right,
        )


@pytest.mark.slow
def test_class_pictures_move_in_their_direction(tmp_path):
    network, generator = seeded(Mover), torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam(network.parameters(), 5e-3)
    for _ in range(200):
        shown, which = videos(32, generator)
        loss = nn.functional.cross_entropy(network(shown), which)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    told = {"mean": (0.5,), "std": (0.5,), "input_size": (HEIGHT, WIDTH)}
    model = fv.load_model(network.eval(), **told, frames=FRAMES, labels=["right", "left", "down", "up"])
    pictures = fv.render(model, "head", size=(HEIGHT, WIDTH), lanes=4, out=tmp_path)
    with torch.no_grad():
        shown = torch.stack([torch.from_numpy(picture.values) for picture in pictures])
        assert network(shown).softmax(1).diagonal().min() >= 0.9
    for picture, (down, right) in zip(pictures, MOVES, strict=True):
        found = motion(picture.image)
        along = found[0] * down + found[1] * right
        across = found[0] * right + found[1] * down
        assert along > abs(across), (picture.label, found)
