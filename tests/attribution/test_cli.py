from __future__ import annotations

import json
import shutil

import pytest
import torch
from PIL import Image

from featvis.attribution.attribute import attribute
from featvis.attribution.register import methods
from featvis.cli import main
from tests.attribution.planted import CORNER, SIDE, SIZE, detector, photograph

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
    assert all(f"{method}: score" in told for method in methods())
    names = {path.name for path in (folder / "out").iterdir()}
    assert names == {f"{m}{end}" for m in methods() for end in ("-overlay.png", "-map.png", ".json")} | {
        "grid.png",
        "grid.json",
    }
    numbers = json.loads((folder / "out" / "grid.json").read_text())
    assert set(numbers["methods"]) == set(methods())
    assert numbers["methods"]["occlusion"]["window"] == 9
    assert 0 <= numbers["methods"]["saliency"]["deletion"] <= 1
    assert set(numbers["rank_correlation_with_edges"]) == set(methods())
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
    assert "2 directions of rest from 1 photograph," in captured.out
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


def attributed(network, *given):
    """What one run over the photograph tells, by method."""
    folder, options = network
    arguments = ["attribute", str(folder / "photo.png"), "--target", "fc:0", "--no-curves"]
    shutil.rmtree(folder / "out", ignore_errors=True)  # or this would lie beside the others by another name
    assert main([*arguments, *given, *options]) == 0
    methods = given[given.index("--method") + 1].split(",")
    return {one: json.loads((folder / "out" / f"{one}.json").read_text()) for one in methods}


def test_windows_are_laid_as_densely_as_asked_before_the_baseline_asked_for(network):
    given = ("--method", "occlusion", "--window", "9", "--stride")
    dense = attributed(network, *given, "3")["occlusion"]
    assert (dense["window"], dense["stride"]) == (9, 3)
    coarse = attributed(network, *given, "9")["occlusion"]
    assert coarse["stride"] == 9
    row, column = dense["largest_at"]
    assert CORNER[0] <= row < CORNER[0] + SIDE
    assert CORNER[1] <= column < CORNER[1] + SIDE
    assert dense["sum"] != coarse["sum"]
    model, image = detector(), photograph(torch.Generator().manual_seed(3))
    given = ("--method", "integrated-gradients", "--steps", "30", "--baseline")
    for baseline, level in (("black", 0.0), ("white", 1.0)):
        with torch.no_grad():
            nothing = model.module(torch.full_like(image, level)[None] * 2 - 1)[0, 0].item()
        told = attributed(network, *given, baseline)["integrated-gradients"]
        assert told["baseline_score"] == pytest.approx(nothing, abs=1e-5)
        assert told["sum"] == pytest.approx(told["score"] - nothing + told["completeness_gap"], abs=1e-3)
    # A blurred patch still answers a little.
    given = ("--method", "occlusion", "--window", "9", "--stride", "9", "--baseline", "blur")
    assert attributed(network, *given)["occlusion"]["sum"] < coarse["sum"]


def test_noisy_copies_are_as_many_and_as_noisy_as_asked(network):
    def largest(*given):
        return attributed(network, "--method", "saliency", *given)["saliency"]["largest"]

    plain = largest()
    assert largest("--smooth", "3", "--noise", "1e-6") == pytest.approx(plain, rel=1e-3)
    noisy = largest("--smooth", "3", "--noise", "0.3", "--seed", "5")
    assert largest("--smooth", "3", "--noise", "0.3", "--seed", "5") == noisy
    model = detector()
    again = attribute(
        model, network[0] / "photo.png", "fc:0", "saliency", size=SIZE, smooth=3, noise=0.3, seed=5
    )
    assert noisy == pytest.approx(again.to_json()["largest"])
    others = [("2", "0.3", "5"), ("3", "0.2", "5"), ("3", "0.3", "6")]
    for copies, noise, seed in others:
        assert largest("--smooth", copies, "--noise", noise, "--seed", seed) != noisy


def test_one_method_beside_the_edge_detector_where_a_grid_is_asked_for(network):
    folder = network[0] / "out"
    attributed(network, "--method", "grad-cam", "--layer", "conv")
    assert not (folder / "grid.png").exists()
    attributed(network, "--method", "grad-cam", "--layer", "conv", "--grid")
    told = json.loads((folder / "grid.json").read_text())
    assert list(told["methods"]) == ["grad-cam"]
    assert told["methods"]["grad-cam"]["layer"] == "conv"
    assert -1 <= told["rank_correlation_with_edges"]["grad-cam"] <= 1
    with Image.open(folder / "grid.png") as sheet:
        assert 3 * SIZE[1] < sheet.width < 4 * SIZE[1]  # the photograph, the method, the edges


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
