"""A photograph taken apart: places, units, groups, what they say to classes, and the page."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image

import featvis as fv
from featvis.cli import main
from featvis.explore.building_blocks import _pooled
from tests.explore.test_atlas import COLOURS, SIDE, colours

OPTIONS = {"groups": 3, "size": 8, "steps": 1, "transforms": [], "lanes": 4, "progress": False}
BIAS = (0.5, -0.25, 1.0)


@pytest.fixture(scope="module")
def photo(tmp_path_factory):
    """Three bands, red, green and blue, each two positions of the pooled map wide."""
    levels = np.zeros((SIDE, SIDE, 3), dtype=np.uint8)
    for place, colour in enumerate(COLOURS.values()):
        levels[:, place * 8 : place * 8 + 8] = colour
    path = tmp_path_factory.mktemp("photo") / "bands <i>.png"
    Image.fromarray(levels).save(path)
    return path


@pytest.fixture(scope="module")
def taken(photo, tmp_path_factory):
    out = tmp_path_factory.mktemp("blocks") / "page"
    targets = [f"fc:{name}" for name in COLOURS]
    return fv.building_blocks(colours(), photo, targets, ["pool", "seen"], out, **OPTIONS)


def test_contributions_and_the_bias_are_the_logit_where_the_path_is_linear(taken, photo):
    levels = torch.from_numpy(np.asarray(Image.open(photo)).transpose(2, 0, 1).copy()).float()[None] / 255
    with colours().tap(["fc"], size=(SIDE, SIDE)) as tap, torch.no_grad():
        logits = tap(levels)["fc"][0].tolist()
    for layer in taken.layers:
        assert layer.scores == pytest.approx(logits, rel=1e-5)
        for target, bias in enumerate(BIAS):
            # A map of 24 x 24 is shown by 14 x 14 places: nothing is lost by that.
            assert layer.rest(target) == pytest.approx(bias, abs=1e-4)
    assert taken.layers[1].contributions.shape == (3, 3, 14, 14)


def test_each_band_speaks_for_its_class_by_its_unit(taken):
    layer = taken.layers[0]
    assert layer.contributions.shape == (3, 3, 6, 6)
    for number in range(3):
        band = layer.contributions[number][:, :, number * 2 : number * 2 + 2]
        assert band[number].sum() == pytest.approx(band.sum(), rel=1e-5)
        assert band.sum() > 5 * layer.contributions[(number + 1) % 3][:, :, number * 2 : number * 2 + 2].sum()
    told = json.loads((taken.folder / "blocks.json").read_text())["layers"][0]
    unit, activation, *spoken = max(told["units"][0], key=lambda row: row[2])
    assert unit == 0
    assert activation == pytest.approx(230 / 127.5, rel=1e-3)
    assert spoken == pytest.approx([2 * 230 / 127.5 / 36, 0, 0], rel=1e-3)


def test_groups_share_out_what_is_said(taken):
    layer = taken.layers[0]
    assert layer.groups.explained > 0.99
    # Three groups of three colours hold all of the activation, so they say all of it.
    assert layer.group_contributions.sum(1) == pytest.approx(layer.contributions.sum((1, 2, 3)), rel=0.02)
    held = layer.group_maps.argmax(0)
    assert [len(set(held[:, n : n + 2].flatten().tolist())) for n in (0, 2, 4)] == [1, 1, 1]
    assert len(set(held[0].tolist())) == 3
    assert len(layer.group_pictures) == 3


def test_every_place_has_its_picture_and_folder_and_page_are_whole(taken, photo):
    layer = taken.layers[0]
    assert len(layer.pictures) == 36
    assert layer.magnitudes.shape == (6, 6)
    assert {picture.target.partition("@")[0] for picture in layer.pictures.values()} == {"pool"}
    page = taken.page.read_text()
    assert "bands <i>" not in page
    assert "bands &lt;i&gt;" in page
    before = {path: path.stat().st_mtime_ns for path in taken.folder.glob("objectives/*-*.png")}
    targets = [f"fc:{name}" for name in COLOURS]
    fv.building_blocks(colours(), photo, targets, ["pool", "seen"], taken.folder, **OPTIONS)
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_another_photograph_does_not_replace_what_is_there(taken, tmp_path):
    Image.new("RGB", (SIDE, SIDE), (200, 100, 50)).save(tmp_path / "plain.png")
    with pytest.raises(fv.OutputError, match="holds something else"):
        fv.building_blocks(colours(), tmp_path / "plain.png", "fc:red", "pool", taken.folder, **OPTIONS)


def test_the_control_is_of_random_weights(taken, photo, tmp_path):
    assert all(-1 <= one <= 1 for layer in taken.layers for one in layer.controls)
    image = fv.load_image(photo, 3)  # which has no file's name
    plain = fv.building_blocks(colours(), image, "fc:red", "pool", tmp_path / "p", control=False, **OPTIONS)
    assert plain.layers[0].controls == (None,)
    assert np.array_equal(plain.layers[0].contributions[0], taken.layers[0].contributions[0])
    assert json.loads((plain.folder / "blocks.json").read_text())["photograph"] == "photograph"
    assert "not made" in plain.page.read_text()


def test_maps_are_pooled_without_loss():
    maps = np.random.default_rng(0).normal(size=(2, 3, 31, 17))
    found = _pooled(maps, np.sum)
    assert found.shape == (2, 3, 14, 14)
    assert np.allclose(found.sum((2, 3)), maps.sum((2, 3)))
    assert np.array_equal(_pooled(maps[..., :9, :14], np.mean), maps[..., :9, :14])


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"groups": 0}, "groups is a whole number from 1"),
        ({"size": (8, 9)}, "size is a whole number"),
        ({"stepz": 1}, "did you mean 'steps'"),
    ],
)
def test_mistakes_are_told_before_anything_is_written(arguments, error, photo, tmp_path):
    with pytest.raises(fv.UserError, match=error):
        fv.building_blocks(colours(), photo, "fc:red", "pool", tmp_path / "no", **{**OPTIONS, **arguments})
    assert not (tmp_path / "no").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--layer", "blocks.4", "--against", "classifier:281"], "give --grid, too"),
        (["--layer", "blocks.4", "--layer", "blocks.5"], "--grid makes a page of several"),
        (["--layer", "blocks.4", "--grid", "--groups", "0"], "--groups is at least 1"),
        (["--layer", "blocks.4", "--grid", "--set", "size=9"], "give --tile"),
        ([], "say with --layer"),
    ],
)
def test_the_command_tells_mistakes(words, said, photo, capsys):
    assert main(["blocks", str(photo), "--target", "classifier:tabby", *words]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.slow
def test_the_command_makes_a_page(photo, tmp_path, capsys):
    words = ["--layer", "blocks.6", "--layer", "bn2", "--grid", "--against", "classifier:285", "--size", "64"]
    words += ["--tile", "16", "--steps", "1", "--groups", "2", "--out", str(tmp_path / "page"), "-q"]
    assert main(["blocks", str(photo), "--target", "classifier:tabby", *words]) == 0
    told = capsys.readouterr().out
    assert "bn2 for classifier:281: score" in told
    about = json.loads((tmp_path / "page/blocks.json").read_text())
    assert about["names"] == ["tabby", "Egyptian cat"]
    # The last map is averaged and weighted: what is left is the classifier's bias.
    bias = fv.load_model("efficientnet_lite0").module.classifier.bias[[281, 285]].tolist()
    assert about["layers"][1]["rests"] == pytest.approx(bias, abs=2e-3)
