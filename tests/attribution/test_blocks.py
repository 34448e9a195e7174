from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image

import featvis as fv
from featvis.attribution.blocks import find_blocks, load_icons
from featvis.cli import main
from featvis.errors import OutputError, TargetError
from tests.attribution.planted import CORNER, detector, hits, photograph


def test_contributions_of_the_last_map_and_the_bias_are_the_logit(lite0, chance):
    photo = torch.rand((3, 64, 96), generator=chance)
    found = find_blocks(lite0, photo, "classifier:281", "bn2")
    assert found.contributions.shape == (1280, 2, 3)
    bias = lite0.module.classifier.bias[281].item()
    assert found.contributions.sum(dtype=np.float64) + bias == pytest.approx(found.score, rel=1e-3)
    # Unit 7 by hand: its mean times the classifier's weight.
    with lite0.tap(["bn2"], size=(64, 96)) as tap:
        read = tap(torch.from_numpy(found.photo)[None].float() / 255)["bn2"][0, 7]
    by_hand = read / 6 * lite0.module.classifier.weight[281, 7]
    assert np.allclose(found.contributions[7], by_hand.detach(), atol=1e-6)


def test_the_planted_unit_contributes_where_the_patch_is(chance):
    found = find_blocks(detector(), photograph(chance), "fc:0", "conv")
    (unit, value), (other, less) = found.strongest(2)
    assert (unit, other) == (0, 1)
    assert value > 10 * abs(less)
    assert hits(found.contributions[0])
    row, column = np.unravel_index(found.contributions[0].argmax(), found.contributions[0].shape)
    assert found.places()[row][column][0] == 0
    told = found.to_json(2)
    assert told["places"][row][column]["contribution"] == pytest.approx(found.contributions[0, row, column])


def test_the_sheet_shows_a_units_picture_where_it_contributes_most(chance, tmp_path):
    model = detector()
    options = {"size": (41, 57), "steps": 1, "lanes": 1, "transforms": []}
    fv.render(model, "conv:0", out=tmp_path / "gallery", **options)
    icons = load_icons(tmp_path / "gallery", "conv")
    assert set(icons) == {0}
    found = find_blocks(model, photograph(chance), "fc:0", "rest")
    green = {0: Image.new("RGB", (9, 9), (0, 255, 0))}
    plain, shown = (np.asarray(found.sheet(2, given)).astype(int) for given in (None, green))
    greens = (shown == (0, 255, 0)).all(2)
    assert greens.any()
    assert not (plain == (0, 255, 0)).all(2).any()
    # The largest is where the patch is.
    rows, columns = found.contributions.shape[1:]
    height, width = 48 * rows, 48 * columns
    middle = (int((CORNER[0] + 4.5) / 41 * height), int((CORNER[1] + 4.5) / 57 * width))
    assert greens[middle]
    assert not greens[: height // 8, : width // 8].any()


def test_mistakes(lite0, tmp_path, chance):
    photo = torch.rand((3, 64, 96), generator=chance)
    with pytest.raises(TargetError, match="gives a map"):
        find_blocks(lite0, photo, "classifier:281", "classifier")
    with pytest.raises(TargetError, match="runs after"):
        find_blocks(lite0, photo, "blocks.1:3", "blocks.3")
    with pytest.raises(OutputError, match="no gallery"):
        load_icons(tmp_path, "blocks.3")


def test_the_command_lists_units_and_writes_both_files(tmp_path, capsys, chance):
    photo = torch.rand((64, 96, 3), generator=chance)
    Image.fromarray((photo * 255).byte().numpy()).save(tmp_path / "photo.png")
    given = ["blocks", str(tmp_path / "photo.png"), "-t", "classifier:tabby", "-l", "bn2", "--count", "3"]
    assert main([*given, "--size", "64x96", "--out", str(tmp_path / "out")]) == 0
    told = capsys.readouterr().out
    numbers = json.loads((tmp_path / "out" / "blocks.json").read_text())
    assert [f"bn2:{one['unit']}" in told for one in numbers["units"]] == [True] * 3
    assert len(numbers["places"]) == 2
    with Image.open(tmp_path / "out" / "blocks.png") as opened:
        assert opened.width >= 96
    assert main([*given, "--icons", str(tmp_path)]) == 2
