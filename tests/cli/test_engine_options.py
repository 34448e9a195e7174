"""The engine's options as a user types them."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from featvis import load_picture
from featvis.cli import main

SMALL = ["--size", "32x48", "--steps", "3", "--lanes", "2"]


def render(tmp_path, *options, targets=("blocks.1:0:2",)):
    assert main(["render", *targets, *SMALL, *options, "--out", str(tmp_path)]) == 0
    return sorted((tmp_path / "blocks.1").glob("000[0-9].png"))


def test_options_reach_the_recipe(tmp_path):
    typed = [
        "--optimizer",
        "lbfgs",
        "--copies",
        "2",
        "--average",
        "0.5",
        "--band",
        "-3,-2.5",
        "--best-of",
        "2",
    ]
    picture = load_picture(render(tmp_path, *typed, targets=["blocks.1:0"])[0])
    expected = {"optimizer": "lbfgs", "copies": 2, "average": 0.5, "band": [-3.0, -2.5], "best_of": 2}
    assert {name: picture.recipe[name] for name in expected} == expected
    assert len(picture.candidates) == 2
    assert picture.evaluations == 3 * 2 * 2
    assert picture.score == min(picture.candidates), "above the band, the nearest to it"


def test_files_beside_the_pictures(tmp_path, capsys):
    render(tmp_path, "--snapshots", "1,2", "--video", "gif", "--morph", "gif", "--fps", "5")
    files = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.*") if path.is_file()}
    each = {f"blocks.1/000{n}{end}" for n in (0, 1) for end in (".png", ".gif", "-step1.png", "-step2.png")}
    assert files == each | {"blocks.1/grid.png", "manifest.json", "morph.gif"}
    assert str(tmp_path / "morph.gif") in capsys.readouterr().out
    assert len(json.loads((tmp_path / "manifest.json").read_text("utf-8"))["pictures"]) == 2
    with Image.open(tmp_path / "morph.gif") as opened:
        assert opened.info["duration"] == 200
        assert opened.size == (48, 32)
        first = np.asarray(opened.convert("RGB")).astype(int)
    assert abs(first.transpose(2, 0, 1) - load_picture(tmp_path / "blocks.1/0000.png").levels).mean() < 6


@pytest.mark.slow
def test_the_dry_run_counts_pictures_and_writes_nothing(tmp_path, capsys):
    out = tmp_path / "none"
    typed = [
        "render",
        "blocks.1:0:2",
        *SMALL,
        "--best-of",
        "3",
        "--snapshots",
        "2",
        "--dry-run",
        "--out",
        str(out),
    ]
    assert main(typed) == 0
    assert "2 pictures in 3 jobs of 2 lanes" in capsys.readouterr().out
    assert not out.exists()
