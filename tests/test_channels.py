"""Networks of any number of channels and of signals, from the request to the file."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import featvis as fv
from featvis.cli import main
from featvis.results.views import make_view, plot_signal, principal_colors
from tests.networks import PLAIN, correlation, handle, seeded


class Filter(nn.Module):
    """One linear filter of the whole image."""

    def __init__(self, weights):
        super().__init__()
        self.filter = nn.Conv2d(weights.shape[0], 1, weights.shape[1:], bias=False)
        self.filter.weight = nn.Parameter(weights[None].clone())

    def forward(self, images):
        return self.filter(images)


class Listener(nn.Module):
    """A matched filter for one waveform, then its loudest answer."""

    def __init__(self, waveform):
        super().__init__()
        self.match = nn.Conv1d(waveform.shape[0], 1, waveform.shape[1], bias=False)
        self.match.weight = nn.Parameter(waveform[None].clone())
        self.loudest = nn.AdaptiveMaxPool1d(1)

    def forward(self, signals):
        return self.loudest(self.match(signals)).flatten(1)


class Recorder(nn.Module):
    """A network of signals with every layout that signals have."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(2, 5, 5, stride=2, padding=2)
        self.norm = nn.BatchNorm1d(5)
        self.relu = nn.ReLU(inplace=True)
        self.tokens = nn.Linear(5, 4)
        self.head = nn.Linear(4, 3)

    def forward(self, signals):
        found = self.relu(self.norm(self.conv(signals)))
        return self.head(self.tokens(found.transpose(1, 2)).mean(1))


def test_a_filter_of_13_channels_comes_back_as_its_weights(chance):
    weights = torch.randn((13, 9, 14), generator=chance)
    model = handle(Filter(weights), (9, 14), 13)
    (picture,) = fv.render(model, "filter:0", **{**PLAIN, "size": (9, 14), "steps": 4, "learning_rate": 0.1})
    assert correlation(picture.image - 0.5, weights) > 0.98


def chirp(channels=1, length=48):
    """A rising tone that swells and fades; the second channel the same upside down."""
    time = torch.linspace(-1, 1, length)
    wave = torch.exp(-4 * time**2) * torch.sin(2 * torch.pi * (4 * time + 1.5 * time**2))
    return torch.stack([wave, -wave][:channels])


@pytest.mark.parametrize("channels", [1, 2])
def test_a_matched_filter_s_optimum_is_its_waveform(channels):
    wave = chirp(channels)
    model = handle(Listener(wave), 48, channels, signal=True)
    (picture,) = fv.render(model, "loudest:0", **{**PLAIN, "steps": 4, "learning_rate": 0.1})
    assert picture.levels.shape == (channels, 1, 48)
    assert correlation(picture.image - 0.5, wave) > 0.98


def test_from_a_falling_spectrum_it_is_the_waveform_weighted_by_the_spectrum_s_power():
    wave = chirp()
    model = handle(Listener(wave), 48, 1, signal=True)
    told = {**PLAIN, "steps": 4, "learning_rate": 0.1, "space": {"name": "fourier", "exponent": 1.0}}
    (picture,) = fv.render(model, "loudest:0", **told)
    # One gradient step moves each wave by the square of its gain: the spectrum is the wave's times 1 / k².
    waves = np.fft.rfftfreq(48)
    expected = np.fft.irfft(np.fft.rfft(wave[0].numpy()) / np.maximum(waves, 1 / 48) ** 2, 48)
    found = picture.image[0, 0] - 0.5
    assert correlation(found, torch.from_numpy(expected)) > 0.97
    assert correlation(found, torch.from_numpy(expected)) > correlation(found, wave) + 0.02


def test_the_layers_of_a_network_of_signals_are_understood():
    model = handle(seeded(Recorder), 40, 2, signal=True)
    kinds = {layer.name: (layer.kind, layer.units) for layer in model.layers}
    assert kinds["conv"] == ("signal", 5)
    assert kinds["tokens"] == ("tokens", 4)
    assert kinds["head"] == ("vector", 3)
    for target in ("conv:1", "norm:2", "tokens:3", "head:0"):
        (picture,) = fv.render(model, target, steps=12, lanes=1)
        assert picture.levels.shape == (2, 1, 40)
        assert picture.score > picture.start_score, target


def test_a_signal_is_as_long_as_asked_for_and_never_high():
    model = handle(seeded(Recorder), 40, 2, signal=True)
    (picture,) = fv.render(model, "conv:1", steps=1, lanes=1, size=56)
    assert picture.size == (1, 56)
    with pytest.raises(fv.CanvasError, match="1xLENGTH"):
        fv.render(model, "conv:1", steps=1, size=(8, 56))
    with pytest.raises(fv.ModelError, match="length"):
        handle(seeded(Recorder), (4, 40), 2, signal=True)


def test_a_signal_s_score_is_the_network_s_own_for_the_values_beside_the_picture(tmp_path):
    network = seeded(Recorder)
    model = handle(network, 40, 2, signal=True)
    (picture,) = fv.render(model, "conv:1", steps=6, lanes=1, out=tmp_path)
    values = np.load(tmp_path / "conv" / "0001.npy")
    assert values.shape == (2, 1, 40)
    with torch.no_grad():
        score = network.eval().conv(torch.from_numpy(values)[:, 0][None])[0, 1].mean()
    assert picture.score == pytest.approx(float(score), abs=1e-5)
    (again,) = fv.render(model, "conv:1", steps=6, lanes=1, out=tmp_path)
    assert np.array_equal(again.levels, picture.levels)
    assert fv.reproduce(tmp_path / "conv" / "0001.png", model).png() == picture.png()


@pytest.mark.parametrize(("channels", "beside"), [(1, False), (3, False), (4, True), (13, True)])
def test_what_no_screen_shows_gets_a_view_and_its_values(channels, beside, chance, tmp_path):
    weights = torch.randn((channels, 9, 14), generator=chance)
    model = handle(Filter(weights), (9, 14), channels)
    (picture,) = fv.render(model, "filter:0", size=(9, 14), steps=2, lanes=1, out=tmp_path)
    assert (tmp_path / "filter" / "0000.view.png").exists() == beside
    assert (tmp_path / "filter" / "0000.npy").exists() == beside
    assert picture.view.size == (14, 9)
    assert fv.load_picture(tmp_path / "filter" / "0000.png").levels.shape == (channels, 9, 14)
    if beside:
        values = np.load(tmp_path / "filter" / "0000.npy")
        assert (values * weights.numpy()).sum() == pytest.approx(picture.score, rel=1e-4)
        with Image.open(tmp_path / "filter" / "0000.view.png") as opened:
            assert opened.mode == "RGB"


def test_principal_colours_show_the_pattern_that_varies_most():
    rows = np.arange(24)[:, None] / 24
    strong, weak = (
        np.sin(2 * np.pi * rows) + np.zeros((24, 20)),
        np.cos(4 * np.pi * rows) + np.zeros((24, 20)),
    )
    mixed = 128 + 80 * strong * np.linspace(0.2, 1, 7)[:, None, None]
    mixed[3] += 15 * weak
    shown = principal_colors(np.round(mixed).astype(np.uint8)).astype(float) - 128
    assert np.corrcoef(shown[0].ravel(), strong.ravel())[0, 1] > 0.99
    assert abs(np.corrcoef(shown[1].ravel(), weak.ravel())[0, 1]) > 0.95
    assert shown[0].std() > 3 * shown[1].std() > 3 * shown[2].std()


def test_a_plotted_signal_stands_where_its_values_are():
    values = np.array([[0, 255, 128, 64], [255, 255, 255, 255]], dtype=np.uint8)
    sheet = np.asarray(plot_signal(values, height=51)).astype(int)
    assert sheet.shape == (103, 256, 3)
    blue = (sheet == (31, 119, 180)).all(2)
    centers = [32 + 64 * place for place in range(4)]
    assert [int(np.flatnonzero(blue[:, column]).mean()) for column in centers] == pytest.approx(
        [50, 0, 25, 37], abs=2
    )
    red = (sheet == (214, 39, 40)).all(2)
    assert set(np.flatnonzero(red.any(1))) == {52}, "the second channel at its strip's upper edge"
    assert make_view(values[:, None]).size == (256, 129)


NETWORKS = """
import torch
from torch import nn

def listener():
    torch.manual_seed(1)
    network = nn.Sequential(nn.Conv1d(2, 5, 5, stride=2, padding=2), nn.ReLU(), nn.Conv1d(5, 4, 3))
    return network, {"mean": (0.5,) * 2, "std": (0.25,) * 2, "input_size": (1, 60), "signal": True}

def bands():
    torch.manual_seed(1)
    network = nn.Sequential(nn.Conv2d(13, 5, 3), nn.ReLU(), nn.Conv2d(5, 4, 3))
    return network, {"mean": (0.5,) * 13, "std": (0.5,) * 13, "input_size": (12, 18)}
"""


@pytest.mark.parametrize(("name", "channels", "size"), [("listener", 2, (1, 60)), ("bands", 13, (12, 18))])
def test_the_command_line_renders_them(name, channels, size, tmp_path, capsys):
    (tmp_path / "networks.py").write_text(NETWORKS)
    where = f"file:{tmp_path / 'networks.py'}:{name}"
    told = ["--steps", "8", "--lanes", "1", "--out", str(tmp_path / "out")]
    if name == "bands":
        told += ["--size", "12x18"]
    assert main(["render", "--model", where, "2:1", *told]) == 0
    picture = fv.load_picture(tmp_path / "out" / "2" / "0001.png")
    assert picture.levels.shape == (channels, *size)
    assert picture.score > picture.start_score
    values = np.load(tmp_path / "out" / "2" / "0001.npy")
    with torch.no_grad():
        score = fv.load_model(where).module(torch.from_numpy(values[:, 0] if size[0] == 1 else values)[None])
    assert picture.score == pytest.approx(float(score[0, 1].mean()), abs=1e-4)
    assert main(["render", "--model", where, "2:1", *told, "--size", "7x9x3"]) == 2


def test_another_network_of_the_same_build_takes_signals_too():
    model = handle(seeded(Recorder), 40, 2, signal=True)
    other = model.copy(seeded(Recorder, seed=8))
    (picture,) = fv.render(other, f"{other.output_layer}:0", size=40, steps=1)
    assert picture.levels.shape[1] == 1
    assert (other.signal, other.notes, other.spreads) == (True, model.notes, model.spreads)


def test_a_folder_of_signals_can_be_evaluated(tmp_path):
    model = handle(seeded(Recorder), 40, 2, signal=True)
    fv.render(model, "conv:1,2", steps=2, out=tmp_path)
    told = fv.evaluate(tmp_path, model=model, judges=[])
    assert [np.isfinite(picture["random_weights"]["z"]) for picture in told["pictures"]] == [True, True]
