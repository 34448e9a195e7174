"""`featvis layers`: calls, second names, what was measured; signals and videos by options alone."""

import json
import wave

import pytest

import featvis as fv
from featvis.cli import main

SOURCE = """
from torch import nn
TOLD = dict(mean=(.5,) * 3, std=(.5,) * 3, input_size=16)
class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.inner = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.again, self.wide = self.inner, nn.Conv2d(4, 4, 15, padding=7)
        self.end = nn.Linear(4, 3)
    def forward(self, images):
        return self.end(self.wide(self.again(self.inner(self.first(images)))).mean((2, 3)))
def twice(): return Twice(), TOLD
def ears(): return nn.Sequential(nn.Conv1d(1, 4, 9), nn.Conv1d(4, 2, 5)), dict(mean=(.5,), std=(.5,))
def eyes(): return nn.Sequential(nn.Conv3d(3, 4, 3), nn.Conv3d(4, 2, 3)), TOLD
"""


@pytest.fixture(autouse=True)
def _place(tmp_path, monkeypatch):
    (tmp_path / "net.py").write_text(SOURCE)
    monkeypatch.chdir(tmp_path)


def rows(capsys, *typed):
    assert main(["layers", *typed]) == 0
    lines = capsys.readouterr().out.splitlines()[2:]
    return {line.split()[0]: line for line in lines}


def data(capsys, *typed):
    assert main(["layers", *typed, "--json"]) == 0
    return {one["name"]: one for one in json.loads(capsys.readouterr().out)}


def test_calls_and_second_names_stand_after_their_layer(capsys):
    found = rows(capsys, "file:net.py:twice")
    assert [*found] == ["first", "inner", "inner#1", "inner#2", "again", "wide", "end"]
    assert [found[name].split()[-2] for name in ("first", "inner", "inner#2", "again")] == [
        "3x3",
        *["7x7"] * 3,
    ]
    assert "not measured" in found["inner#1"]
    model = fv.load_model("file:net.py:twice")
    for name in found:
        assert fv.render(model, f"{name}:0", steps=1, lanes=1)[0].status in ("ok", "dead")


def test_what_was_not_measured_is_not_called_larger_than_the_canvas(capsys):
    found = rows(capsys, "file:net.py:twice", "--no-fields")
    assert all("not measured" in found[name] for name in ("first", "inner", "inner#1"))
    assert not any("> canvas" in line for line in found.values())
    assert "receptive_field" not in data(capsys, "file:net.py:twice", "--no-fields")["first"]
    told = data(capsys, "file:net.py:twice")
    assert told["first"]["receptive_field"] == [3, 3]
    assert told["wide"]["receptive_field"] is None  # 21 is beyond 16
    assert "> canvas" in rows(capsys, "file:net.py:twice")["wide"]


def test_a_network_of_signals_or_videos_is_named_by_options_alone(capsys, tmp_path):
    ears = ["file:net.py:ears", "--sample-rate", "8000"]
    assert data(capsys, *ears, "--input-size", "64")["1"]["shape"] == [1, 2, 52]
    assert data(capsys, *ears, "--input-size", "64", "--size", "32")["1"]["shape"] == [1, 2, 20]
    assert data(capsys, "file:net.py:eyes", "--frames", "6")["1"]["shape"] == [1, 2, 2, 12, 12]
    typed = ["--model", *ears, "--input-size", "64", "--size", "48", "--steps", "1", "--out", "heard"]
    assert main(["render", "1:0", *typed]) == 0
    assert fv.load_picture("heard/1/0000.png").size == (1, 48)
    with wave.open(str(tmp_path / "heard/1/0000.wav")) as sound:
        assert (sound.getframerate(), sound.getnframes()) == (8000, 48)
    typed = ["--model", "file:net.py:eyes", "--frames", "6", "--steps", "1", "--out", "seen"]
    assert main(["render", "1:0", *typed]) == 0
    assert fv.load_picture("seen/1/0000.png").frames == 6


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        (["--sample-rate", "8000", "--frames", "4"], "--sample-rate or --frames"),
        (["--sample-rate", "0"], "--sample-rate is at least 1"),
        (["--frames", "0"], "--frames is at least 1"),
    ],
)
def test_a_mistake_is_one_line(typed, says, capsys):
    assert main(["layers", "file:net.py:ears", *typed]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert says in line
