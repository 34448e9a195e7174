from __future__ import annotations

import json

import pytest
import torch
from PIL import Image

from featvis.attribution.choices import METHODS
from featvis.cli import main
from tests.attribution.planted import SIZE, photograph

NETWORK = """
import featvis as fv
from tests.attribution.planted import detector
def build():
    return detector().module
"""


@pytest.fixture
def network(tmp_path):
    (tmp_path / "net.py").write_text(NETWORK)
    photo = photograph(torch.Generator().manual_seed(3))
    Image.fromarray((photo * 255).round().byte().permute(1, 2, 0).numpy()).save(tmp_path / "photo.png")
    source = f"file:{tmp_path / 'net.py'}:build"
    options = ["--model", source, "--mean", "0.5,0.5,0.5", "--std", "0.5,0.5,0.5", "--size", "41x57"]
    return tmp_path, [*options, "--out", str(tmp_path / "out")]


def test_all_methods_side_by_side(network, capsys):
    folder, options = network
    arguments = [
        "attribute",
        str(folder / "photo.png"),
        "--target",
        "fc:0",
        "--method",
        "all",
        "--steps",
        "4",
    ]
    assert main([*arguments, "--window", "9", *options]) == 0
    told = capsys.readouterr().out
    assert all(f"{method}: score" in told for method in METHODS)
    names = {path.name for path in (folder / "out").iterdir()}
    assert names == {f"{m}{end}" for m in METHODS for end in ("-overlay.png", "-map.png", ".json")} | {
        "grid.png",
        "grid.json",
    }
    numbers = json.loads((folder / "out" / "grid.json").read_text())
    assert set(numbers["methods"]) == set(METHODS)
    assert numbers["methods"]["occlusion"]["window"] == 9
    assert 0 <= numbers["methods"]["saliency"]["deletion"] <= 1
    assert set(numbers["rank_correlation_with_edges"]) == set(METHODS)
    with Image.open(folder / "out" / "grid.png") as sheet:
        assert sheet.width > 5 * SIZE[1]  # the photograph, seven methods, the edges: five columns


def test_components_then_where_they_are(network, capsys):
    folder, options = network
    (folder / "photos").mkdir()
    (folder / "photos" / "a.png").write_bytes((folder / "photo.png").read_bytes())
    (folder / "photos" / "notes.txt").write_text("no photograph")
    rows = str(folder / "rows.safetensors")
    given = ["components", "rest", str(folder / "photos"), "--count", "2", "--method", "pca"]
    assert main([*given, *options[:-1], rows]) == 0
    captured = capsys.readouterr()
    assert "2 directions of rest from 1 photographs" in captured.out
    assert "notes.txt is no readable photograph" in captured.err
    place = ["attribute", str(folder / "photo.png"), "--direction", f"{rows}:0", "--method", "grad-cam"]
    assert main([*place, *options]) == 0
    told = json.loads((folder / "out" / "grad-cam.json").read_text())
    assert told["target"].startswith("direction(rest")


def test_sanity_is_told(network, capsys):
    folder, options = network
    given = ["attribute", str(folder / "photo.png"), "-t", "fc:0", "--sanity", "--no-curves", *options]
    assert main(given) == 0
    assert "with all 3 layers random: rank correlation" in capsys.readouterr().out
    told = json.loads((folder / "out" / "saliency.json").read_text())
    assert [stage["randomized"] for stage in told["sanity"]] == [1, 2, 3]
    assert told["sanity"][0]["down_to"] == "fc"
    assert "deletion" not in told


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["photo.png"], "say with --target which unit"),
        (["photo.png", "-t", "fc:0", "--method", "lpr"], "did you mean 'lrp'"),
        (["photo.png", "-t", "fc:0", "--method", "saliency", "--area", "0.2"], "an option of extremal"),
        (["photo.png", "-t", "fc:0", "--method", "extremal", "--area", "2"], "between 0 and 1"),
        (["none.png", "-t", "fc:0"], "no photograph"),
        (["photo.png", "-t", "fc:0", "--direction", "x:1"], "not both"),
        (["photo.png", "--direction", "none.safetensors:1"], "no file 'none.safetensors'"),
        (["photo.png", "-t", "fc:9"], "unit 9 is out of range"),
    ],
)
def test_mistakes_are_one_line(network, capsys, monkeypatch, given, said):
    folder, options = network
    monkeypatch.chdir(folder)
    assert main(["attribute", *given, *options]) == 2
    told = capsys.readouterr().err.strip().splitlines()
    assert said in told[-1]
    assert told[-1].startswith("featvis: ")
