"""A picture whose score is not finite, at the end or on the way, has failed: everywhere it is told of."""

from __future__ import annotations

import json
import math

import pytest
import torch
from torch import nn

import featvis as fv
from featvis.cli import main
from featvis.results.manifest import read_sound_manifest
from tests.networks import handle, seeded

OPTIONS = {"size": 16, "steps": 32, "lanes": 2, "transforms": [], "learning_rate": 1.0}
TYPED = ["--size", "16", "--steps", "32", "--set", "learning_rate=1.0", "--set", "transforms=[]"]
NETWORK = """
from tests.run.test_failed import Odd, seeded
def build():
    return seeded(Odd), {"mean": (0.5,) * 3, "std": (0.5,) * 3, "input_size": (16, 16)}
"""


class Odd(nn.Module):
    """A convolution whose unit 1 is no number and whose unit 2 is infinite where they are strong.

    That no random image shows: a layer that gives what is not finite for such is refused beforehand.
    """

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.odd = OddUnits(self.conv.weight.detach().abs().sum((1, 2, 3)) * 0.55)

    def forward(self, images):
        return self.odd(self.conv(images))


class OddUnits(nn.Module):
    def __init__(self, most):
        super().__init__()
        self.register_buffer("most", most[:, None, None])

    def forward(self, maps):
        left = (self.most - maps)[:, 1:3]
        nan = maps[:, 1:2] + 0 * torch.log(left[:, :1])
        infinite = maps[:, 2:3] + torch.where(left[:, 1:] < 0, math.inf, 0.0)
        return torch.cat([maps[:, :1], nan, infinite, maps[:, 3:]], 1)


@pytest.fixture(scope="module")
def model():
    return handle(seeded(Odd), size=(16, 16))


def test_its_status_is_failed_and_the_others_are_as_alone(model):
    pictures = fv.render(model, "odd:0:4", **OPTIONS)
    assert [picture.status for picture in pictures] == ["ok", "failed", "failed", "ok"]
    assert [picture.reason for picture in pictures[1:3]] == ["its score is nan", "its score is inf"]
    alone = fv.render(model, "odd:3", **OPTIONS)
    assert alone[0].png() == pictures[3].png()


@pytest.mark.parametrize("more", [{}, {"patience": 1}, {"best_of": 2}, {"copies": 2}])
def test_failed_is_said_by_every_way_of_computing(model, more):
    nan = fv.objective(layers=["conv"])(lambda maps: torch.log(-maps["conv"].square().mean((1, 2, 3)) - 1))
    (picture,) = fv.render(model, nan, **{**OPTIONS, **more})
    assert picture.status == "failed"
    assert picture.reason == "its score is nan"
    assert not picture.is_one
    entry = picture.entry()
    assert entry["score"] is None
    assert entry["trace"] == []
    assert json.loads(json.dumps(entry, allow_nan=False))["status"] == "failed"


def test_a_score_that_is_not_finite_on_the_way_counts_too(model):
    steps = []

    def sometimes(maps):
        steps.append(None)
        scores = maps["conv"].mean((1, 2, 3))
        return scores * math.inf if len(steps) == 2 else scores

    objective = fv.objective(layers=["conv"])(sometimes)
    (picture,) = fv.render(model, objective, **{**OPTIONS, "learning_rate": 1e-9})
    assert picture.status == "failed"
    assert "score" in picture.reason


def test_it_has_no_file_and_is_tried_again(model, tmp_path):
    def make():
        return fv.objective(layers=["conv"], name="odd")(lambda maps: maps["conv"].mean((1, 2, 3)) * math.nan)

    for _ in range(2):
        (picture,) = fv.render(model, make(), out=tmp_path, **OPTIONS)
        assert picture.status == "failed"
        assert [path.name for path in tmp_path.rglob("*.png")] == ["grid.png"]
        (entry,) = json.loads((tmp_path / "manifest.json").read_text())["pictures"]
        assert (entry["status"], entry["file"], entry["score"]) == ("failed", None, None)
        assert "not finite" in entry["reason"] or "nan" in entry["reason"]
        assert read_sound_manifest(tmp_path)["pictures"][0]["status"] == "failed"


def test_a_saved_one_says_so_when_it_is_read(model, tmp_path):
    (picture,) = fv.render(model, "conv:0", **OPTIONS)
    for changes in ({"score": math.nan}, {"start_score": math.inf}, {"trace": [1.0, math.nan]}):
        odd = fv.load_picture(picture.save(tmp_path / "x.png"))
        for name, value in changes.items():
            setattr(odd, name, value)
        # As earlier versions wrote it, and as this one does.
        assert fv.load_picture(odd.save(tmp_path / "odd.png")).status == "failed"
        odd.status = "failed"
        assert fv.load_picture(odd.save(tmp_path / "odd.png")).status == "failed"
    assert fv.load_picture(picture.save(tmp_path / "x.png")).status == "ok"


def test_the_command_line_says_it_by_its_exit_code(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(NETWORK)
    typed = ["render", "--model", "file:net.py:build", *TYPED, "--lanes", "1"]
    assert main([*typed, "odd:0,3", "--out", "good"]) == 0
    capsys.readouterr()
    assert main([*typed, "odd:0:4", "--out", "odd"]) == 1
    shown = capsys.readouterr()
    assert "2 pictures in odd" in shown.out
    assert "2 of 4 pictures failed, odd:1 the first: its score is nan" in shown.err
    assert sorted(path.name for path in (tmp_path / "odd" / "odd").glob("0*")) == ["0000.png", "0003.png"]
    # The same command tries them again, and only them.
    assert main([*typed, "odd:0:4", "--out", "odd"]) == 1
    assert "2 of 4 pictures are there already" in capsys.readouterr().err
    assert main(["gallery", "status", "odd"]) == 0
    assert "2 done, 0 missing, 0 dead, 2 failed" in capsys.readouterr().out


def test_a_photograph_is_not_replaced_by_a_failure(tmp_path, monkeypatch, capsys):
    from PIL import Image

    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(NETWORK)
    Image.new("RGB", (16, 16), "red").save("photo.png")
    typed = ["dream", "photo.png", "--model", "file:net.py:build", "--layer", "odd", "--octaves", "1"]
    assert main([*typed, *TYPED[2:], "--out", "out"]) == 2
    assert "gives no picture: its score" in capsys.readouterr().err
    assert not list((tmp_path).glob("out/*.png"))
