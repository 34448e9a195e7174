"""Folders of plain images: which is of which class, and two of them beside each other."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image
from torch import nn

import featvis as fv
from featvis.cli import main
from featvis.trust.folders import class_number, read_claimed, read_classes
from tests.trust.planted import COLORS, FAST, SIZE, colors, judge, plain

NUMBER = {name: place for place, name in enumerate(COLORS)}


def paint(path, color, wash=0.0):
    """An image of one of the judge's colors, washed out so much."""
    path.parent.mkdir(parents=True, exist_ok=True)
    levels = (1 - wash) * np.array(COLORS[color]) + wash * np.array(COLORS["grey"])
    flat = np.broadcast_to(np.uint8(255 * levels), (*SIZE, 3))
    Image.fromarray(np.ascontiguousarray(flat)).save(path)


@pytest.mark.parametrize(
    ("names", "claims"),
    [
        (["0.png", "0002.jpg", "x/3.webp"], ["0", "0002", "3"]),
        (["12_class0001.png", "Class-2 b7.png"], ["0001", "2"]),
        (["dog_2.jpg", "0003-seed1.png", "red.png"], ["0003", "2", "red"]),
        (["1/a7_8.png", "2/a.png"], ["1", "2"]),
        (["red/77.png", "blue/78.png"], ["blue", "red"]),
        (["tabby_cat.png"], ["tabby cat"]),
    ],
)
def test_names_say_of_which_class_an_image_is(names, claims, tmp_path):
    for name in names:
        paint(tmp_path / name, "red")
    (tmp_path / "notes.txt").write_text("7")
    assert [one.label for one in read_claimed(tmp_path)] == claims


def test_a_name_with_several_numbers_needs_a_table(tmp_path):
    for name in ("001_263.png", "002_5.png"):
        paint(tmp_path / "images" / name, "red")
    with pytest.raises(fv.UserError, match=r"which of 001, 263 is its class is not told.*classes=FILE"):
        read_claimed(tmp_path / "images")
    table = tmp_path / "classes.csv"
    table.write_text("\ufeffclass,file\n2,001_263.png\n\nred, 002_5\n", "utf-8")
    assert read_classes(table) == {"001_263.png": "2", "002_5": "red"}
    assert [one.label for one in read_claimed(tmp_path / "images", table)] == ["2", "red"]
    table.write_text("just one column\n")
    with pytest.raises(fv.UserError, match="each line is FILE,CLASS"):
        read_claimed(tmp_path / "images", table)


def test_what_is_no_folder_or_holds_nothing_is_told(tmp_path):
    with pytest.raises(fv.UserError, match="does not exist"):
        read_claimed(tmp_path / "nowhere")
    (tmp_path / "text.txt").write_text("no image")
    with pytest.raises(fv.UserError, match="no image that can be read"):
        read_claimed(tmp_path)


@pytest.mark.parametrize(
    ("label", "says"),
    [("9", "9"), ("mauve", "mauve"), ("0:2", "not one class"), ("all", "not one class")],
)
def test_a_class_that_the_judge_does_not_know_is_told_with_its_file(label, says, tmp_path):
    paint(tmp_path / "it.png", "red")
    (tmp_path / "t.csv").write_text(f"it.png,{label}\n")
    (one,) = read_claimed(tmp_path, tmp_path / "t.csv")
    with pytest.raises(fv.TargetError, match=f"it.png: .*{says}"):
        class_number(one, judge())


def test_two_folders_are_compared_class_by_class(tmp_path):
    for place, color in enumerate(("red", "green", "blue")):
        paint(tmp_path / "clear" / f"class{place}.png", color)
        for again in range(1 + place):
            paint(tmp_path / "washed" / color / f"{again}.png", color, wash=0.45)
    paint(tmp_path / "washed" / "grey" / "0.png", "grey")
    heard = []
    found = fv.compare_folders(
        tmp_path / "clear", tmp_path / "washed", judges=[judge()], draws=200, say=heard.append
    )
    assert found["classes"] == 3
    assert found["pictures"] == {"a": 3, "b": 6}
    assert found["left_out"] == {"a": 0, "b": 1}
    row = next(row for name, row in found["measures"].items() if name.startswith("probability"))
    expected = {"a": [], "b": []}
    for color in ("red", "green", "blue"):
        for side, wash in (("a", 0.0), ("b", 0.45)):
            shown = np.uint8(255 * ((1 - wash) * np.array(COLORS[color]) + wash * 0.5)) / 255
            far = np.array([((shown - np.array(other) - 0.03) ** 2).mean() for other in COLORS.values()])
            odds = np.exp(-40 * far)
            expected[side].append(odds[NUMBER[color]] / odds.sum())
    assert row["a"] == pytest.approx(np.mean(expected["a"]), abs=1e-4)
    assert row["b"] == pytest.approx(np.mean(expected["b"]), abs=1e-4)
    assert row["better"] == "a"
    assert row["interval"][1] < 0
    assert heard


def test_ours_beside_theirs_and_what_cannot_be_paired(tmp_path):
    network = colors()
    fv.render(network, "0:0:3", out=tmp_path / "ours", **FAST)
    for place in range(3):
        paint(tmp_path / "theirs" / f"{place}.png", list(COLORS)[place], wash=0.3)
    found = fv.compare_folders(tmp_path / "ours", tmp_path / "theirs", judges=[judge()], draws=100)
    assert (found["classes"], found["pictures"]) == (3, {"a": 3, "b": 3})
    with pytest.raises(fv.ModelError, match="was climbed itself"):
        fv.compare_folders(tmp_path / "ours", tmp_path / "theirs", judges=[network])
    features = plain(nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5)), labels=tuple("abcde"))
    found = fv.compare_folders(tmp_path / "theirs", tmp_path / "theirs", judges=[features], draws=100)
    assert found["classes"] == 3
    assert f"spread (D_σ), {features.name}" in found["measures"], "it names no classes, but has BatchNorm"
    paint(tmp_path / "other" / "3.png", "grey")
    with pytest.raises(fv.UserError, match="no class in common"):
        fv.compare_folders(tmp_path / "other", tmp_path / "theirs", judges=[judge()])
    with pytest.raises(fv.UserError, match="at least 100 draws"):
        fv.compare_folders(tmp_path / "ours", tmp_path / "theirs", judges=[], draws=9)


NETWORKS = """
from tests.trust.planted import COLORS, judge

def asked():
    told = {"mean": (0,) * 3, "std": (1,) * 3, "input_size": (12, 16), "labels": tuple(COLORS)}
    return judge().module, told
"""


def test_the_command_takes_two_folders(tmp_path, capsys):
    (tmp_path / "networks.py").write_text(NETWORKS)
    for place, color in enumerate(("red", "green", "blue")):
        paint(tmp_path / "a" / f"{place}.png", color)
        paint(tmp_path / "b" / f"{place}.png", color, wash=0.4)
    folders = ["compare", str(tmp_path / "a"), str(tmp_path / "b")]
    judged = ["--judge", f"file:{tmp_path / 'networks.py'}:asked"]
    assert main([*folders, *judged, "--json", str(tmp_path / "found.json")]) == 0
    shown = capsys.readouterr().out
    assert "3 classes, 3 and 3 pictures" in shown
    found = json.loads((tmp_path / "found.json").read_text())
    assert ("wins" in shown) == bool(found["yardsticks"])
    for typed, says in (
        ([*folders, "--targets", "0:1"], "--targets is about recipes"),
        ([*folders[:2], "portrait"], "name two folders, or two recipes"),
        (["compare", "portrait", "channel"], "--targets"),
        ([*folders, "--views", "3"], "--views is 1 or 8"),
        (["compare", "portrait", "channel", "-t", "blocks.1:0:2", "--classes", "x.csv"], "about folders"),
    ):
        assert main(typed) == 2
        told = capsys.readouterr().err
        assert says in told
        assert len(told.strip().splitlines()) == 1
