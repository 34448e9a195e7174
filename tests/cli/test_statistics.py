"""``featvis statistics``, and rendering with the file that it writes."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import featvis as fv
from featvis.cli import main

SOURCE = """
import torch
from torch import nn

def make():
    torch.manual_seed(0)
    convolutions = [nn.Conv2d(3, 4, 3), nn.ReLU(True), nn.Conv2d(4, 5, 3), nn.ReLU(True), nn.Conv2d(5, 6, 3)]
    network = nn.Sequential(*convolutions, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4))
    return network, {"mean": (0.5,) * 3, "std": (0.5,) * 3, "input_size": (17, 24)}
"""
NETWORK = ["--model", "file:net.py:make"]


@pytest.fixture(autouse=True)
def _place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(SOURCE)
    (tmp_path / "photos").mkdir()
    chance = np.random.default_rng(0)
    for number in range(3):
        levels = chance.integers(0, 256, (20 + number, 31, 3), dtype=np.uint8)
        Image.fromarray(levels).save(tmp_path / "photos" / f"{number}.png")
    (tmp_path / "photos" / "notes.txt").write_text("none")


def test_it_says_what_it_measured_and_where_it_lies(capsys):
    assert main(["statistics", "photos", *NETWORK, "--out", "mine.safetensors"]) == 0
    shown = capsys.readouterr()
    *_, summary, place = shown.out.splitlines()
    assert summary == "Conv2d of file:net.py:make: 3 layers, 15 channels, 3 photographs at 17x24"
    assert place == "mine.safetensors"
    assert "1 of the folder's files are no photographs" in shown.err
    found = fv.activation_statistics(fv.load_model("file:net.py:make"), "photos")
    kept = fv.load_activation_statistics("mine.safetensors")
    assert all((kept.layers[name] == values).all() for name, values in found.layers.items())


def test_as_json_and_at_another_size(capsys):
    typed = ["statistics", "photos", *NETWORK, "--size", "20x30", "--out", "mine.safetensors", "--json", "-q"]
    assert main(typed) == 0
    told = json.loads(capsys.readouterr().out)
    assert told == {
        "model": "file:net.py:make",
        "kind": "Conv2d",
        "photographs": 3,
        "skipped": 1,
        "channels": 15,
        "layers": ["0", "2", "4"],
        "size": [20, 30],
        "file": "mine.safetensors",
    }


def test_the_file_is_a_penaltys(capsys):
    assert main(["statistics", "photos", *NETWORK, "--out", "mine.safetensors"]) == 0
    render = ["render", "7:1", *NETWORK, "--steps", "2", "--recipe", "portrait", "--out"]
    given = ["--set", "penalties.batchnorm.statistics=mine.safetensors"]
    assert main([*render, "plain"]) == 0
    assert main([*render, "out", *given]) == 0
    plain, held = (fv.load_picture(next(Path(out).rglob("0001.png"))) for out in ("plain", "out"))
    assert "batchnorm" not in [one["name"] for one in plain.recipe["penalties"]], "nothing to hold it to"
    assert held.recipe["penalties"][0]["statistics"].startswith("mine.safetensors#sha256:")
    assert (plain.levels != held.levels).any()
    again = ["reproduce", str(next(Path("out").rglob("0001.png"))), *NETWORK, "--unbounded"]
    capsys.readouterr()
    assert main([*again, "--out", "again.png"]) == 0
    assert "the same bytes" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (["nowhere", "--out", "x"], "no folder of photographs 'nowhere'"),
        (["photos", "--out", "photos"], "is a folder; --out is the file"),
        (["photos", "--out", "photos/x"], "among the photographs"),
        (["photos", "--out", "net.py"], "holds no activation statistics.*not written over"),
        (["photos"], "Missing option '--out'"),
        (["photos", "--out", "x", "--size", "0"], "size"),
    ],
)
def test_mistakes_are_one_line(typed, message, capsys):
    assert main(["statistics", *typed, *NETWORK]) == 2
    err = capsys.readouterr().err.splitlines()
    assert sum(line.startswith("featvis:") for line in err) == 1
    assert re.search(message, err[-1])
