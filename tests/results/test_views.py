"""What is looked at and listened to where a picture is no image."""

from __future__ import annotations

import io
import wave

import numpy as np
import pytest
from PIL import Image
from torch import nn

import featvis as fv
from featvis.results.sounds import make_wav
from featvis.results.views import PLOT_WIDTH, make_frames, make_view, plot_signal, spectrogram
from tests.networks import handle, seeded


def tone(cycles, length=1024):
    """A tone of so many cycles over its length, as 8-bit levels."""
    return np.round(127.5 + 100 * np.sin(2 * np.pi * cycles * np.arange(length) / length)).astype(np.uint8)


def test_a_tone_is_a_line_at_its_height():
    for cycles in (64, 256, 448):
        levels = spectrogram(tone(cycles)).astype(int)
        assert levels.shape[0] == 65
        # Row 0 is half the rate, 512 cycles; row 64 none.
        assert (levels.argmin(0) == 64 - cycles // 8).all()
        assert levels.min() == 0
        assert np.median(levels) > 180


def test_a_rising_tone_rises():
    time = np.arange(2048) / 2048
    levels = np.round(127.5 + 100 * np.sin(2 * np.pi * (100 * time + 400 * time**2))).astype(np.uint8)
    rows = spectrogram(levels).argmin(0)
    assert (np.diff(rows) <= 0).all()
    assert rows[0] - rows[-1] > 40


def test_silence_is_white():
    assert (spectrogram(np.full(600, 128, np.uint8)) == 255).all()


def test_a_long_signal_is_as_wide_as_the_sheet_and_keeps_its_extremes():
    values = np.full((2, 16000), 128, np.uint8)
    values[0, 8000], values[1, 15999] = 255, 0
    plot = np.asarray(plot_signal(values, height=51)).astype(int)
    assert plot.shape == (103, PLOT_WIDTH, 3)
    blue, red = ((plot == color).all(2) for color in ((31, 119, 180), (214, 39, 40)))
    assert set(np.flatnonzero(blue[0])) == {PLOT_WIDTH // 2}, "the one peak"
    assert set(np.flatnonzero(red[-1])) == {PLOT_WIDTH - 1}, "the one trough"


def test_a_view_of_a_signal_that_is_long_enough_has_the_spectrogram_below():
    short, long = (np.stack([tone(20, length)] * 2)[:, None] for length in (511, 512))
    assert make_view(short).size == (511, 129)
    assert make_view(long).size == (512, 129 + 1 + 2 * 65)


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (2, "RGB"), (3, "RGB"), (5, "RGB")])
def test_frames_are_shown_in_their_order(channels, mode):
    levels = np.random.default_rng(0).integers(0, 256, (5 * channels, 7, 10), dtype=np.uint8)
    frames = make_frames(levels, 5)
    assert [(frame.size, frame.mode) for frame in frames] == [((10, 7), mode)] * 5
    if channels in (1, 3):
        for place, frame in enumerate(frames):
            own = levels[place * channels : (place + 1) * channels].transpose(1, 2, 0)
            assert np.array_equal(np.asarray(frame).reshape(7, 10, channels), own)
    sheet = make_view(levels, 5)
    assert sheet.size == (3 * 11 - 1, 2 * 8 - 1)
    assert sheet.crop((11, 8, 21, 15)).tobytes() == frames[4].tobytes()


def test_frames_of_many_channels_have_their_colours_in_common():
    still = np.random.default_rng(0).integers(0, 256, (6, 7, 10), dtype=np.uint8)
    first, second = make_frames(np.concatenate([still, still]), 2)
    assert first.tobytes() == second.tobytes()


def read(data):
    with wave.open(io.BytesIO(data)) as file:
        shape = (file.getnframes(), file.getnchannels())
        told = (file.getframerate(), file.getsampwidth())
        return np.frombuffer(file.readframes(shape[0]), "<i2").reshape(shape).T / 32767, told


@pytest.mark.parametrize(
    ("mean", "std", "factor"),
    [(0.5, 0.5, 1), (0.5, 1.0, 1), (0.5, 0.25, 1 / 2), (0.0, 1.0, 1), (0.25, 0.25, 1 / 3)],
)
def test_a_wav_holds_what_the_network_takes(mean, std, factor):
    levels = np.random.default_rng(0).integers(0, 256, (2, 999), dtype=np.uint8)
    levels[0, :2] = 0, 255
    found, told = read(make_wav(levels, 22050, (mean,) * 2, (std,) * 2))
    assert told == (22050, 2)
    np.testing.assert_allclose(found, (levels / 255 - mean) / std * factor, atol=1 / 32767)


def test_it_lies_beside_a_picture_whose_rate_was_told(tmp_path):
    network = seeded(lambda: nn.Sequential(nn.Conv1d(2, 5, 5), nn.ReLU(), nn.Conv1d(5, 4, 3)))
    for rate in (None, 8000):
        model = handle(network, 60, 2, signal=True, sample_rate=rate)
        (picture,) = fv.render(model, "2:1", steps=2, lanes=1, out=tmp_path / str(rate))
        path = tmp_path / str(rate) / "2" / "0001.wav"
        assert path.exists() == (rate is not None)
    found, told = read(path.read_bytes())
    assert told == (8000, 2)
    np.testing.assert_allclose(found, picture.values[:, 0], atol=1 / 32767)
    assert picture.wav == path.read_bytes()
    with pytest.raises(fv.OutputError, match="sample_rate=16000"):
        _ = fv.load_picture(path.with_suffix(".png")).wav


def test_a_video_lies_beside_its_picture_in_motion(tmp_path):
    network = seeded(lambda: nn.Sequential(nn.Conv3d(3, 4, 3), nn.ReLU()))
    model = handle(network, (10, 14), 3, frames=5)
    (picture,) = fv.render(model, "0:1", size=(10, 14), steps=12, lanes=1, out=tmp_path, video="gif")
    with Image.open(tmp_path / "0" / "0001.view.gif") as film:
        assert (film.n_frames, film.size) == (5, (14, 10))
        film.seek(3)
        shown = np.asarray(film.convert("RGB")).astype(int)
    assert abs(shown - np.asarray(picture.film[3])).mean() < 12, "but for the GIF's 256 colours"
    with Image.open(tmp_path / "0" / "0001.view.png") as sheet:
        assert sheet.tobytes() == picture.view.tobytes()
    with Image.open(tmp_path / "0" / "0001.gif") as way:
        assert way.size == picture.view.size, "the way of the run shows sheets"
    with pytest.raises(fv.OutputError, match="one frame"):
        _ = fv.load_picture(_gray(tmp_path)).film


def _gray(folder):
    model = handle(seeded(lambda: nn.Sequential(nn.Conv2d(1, 4, 3))), (10, 14), 1)
    return fv.render(model, "0:1", size=(10, 14), steps=1, lanes=1)[0].save(folder / "plain.png")


@pytest.mark.parametrize("frames", [0, -5, 4, "five", 2.5])
def test_frames_that_cannot_be_are_a_damaged_picture(frames, tmp_path):
    model = handle(seeded(lambda: nn.Sequential(nn.Conv3d(3, 4, 3))), (10, 14), 3, frames=5)
    (picture,) = fv.render(model, "0:1", size=(10, 14), steps=1, lanes=1)
    picture.frames = frames
    path = tmp_path / "x.png"
    path.write_bytes(picture.png())
    with pytest.raises(fv.OutputError, match="damaged"):
        fv.load_picture(path)
