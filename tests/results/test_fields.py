"""What a PNG or a manifest tells is what we write, or it counts as damaged or as not there."""

from __future__ import annotations

import json
import math

import pytest

import featvis as fv
from featvis.errors import OutputError
from featvis.results.fields import ENTRY, FIELDS
from featvis.results.manifest import read_manifest, read_sound_manifest
from featvis.results.picture import TEXT, load_image, load_picture
from tests.hostile.changes import png_with, text_of
from tests.networks import small

OPTIONS = {"size": (17, 24), "steps": 2, "lanes": 2}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    fv.render(small(), "norm:0:3", out=out, **OPTIONS)
    return out


@pytest.fixture
def told(folder):
    return json.loads((folder / "manifest.json").read_text())


def write(told, place):
    place.mkdir(exist_ok=True)
    (place / "manifest.json").write_text(json.dumps(told))
    return place


def test_every_field_of_an_entry_has_a_kind(folder, told):
    picture = load_picture(folder / "norm" / "0001.png")
    assert set(picture.entry("x.png")) <= set(ENTRY)
    assert set(FIELDS) < set(ENTRY)
    for entry in told["pictures"]:
        assert all(ENTRY[name](value) for name, value in entry.items())


def test_a_sound_manifest_is_read_as_it_is(folder, told):
    assert read_sound_manifest(folder) == told


@pytest.mark.parametrize("name", sorted(set(ENTRY) - {"target", "seed", "key", "file"}))
@pytest.mark.parametrize(
    "value", [[{}], {"a": 1}, "\ud800", 1j], ids=["list", "table", "half", "none of JSON's"]
)
def test_a_field_of_another_kind_counts_as_not_there(told, tmp_path, name, value):
    if value == 1j:
        value = [[1]]
    before = dict(told["pictures"][1])
    told["pictures"][1][name] = value
    read = read_sound_manifest(write(told, tmp_path / "out"))["pictures"][1]
    before.pop(name, None)
    assert read == before


@pytest.mark.parametrize(
    ("name", "value"),
    [("target", 3), ("target", None),
     ("seed", "0"), ("seed", True), ("seed", -1), ("key", []), ("file", "../x.png"),
     ("file", "a\0b"), ("file", 3), ("target", "\ud800")],
)  # fmt: skip
def test_without_what_tells_pictures_apart_the_pictures_are_asked(folder, told, tmp_path, name, value):
    told["pictures"][1][name] = value
    assert read_sound_manifest(write(told, tmp_path / "out")) is None
    assert read_manifest(tmp_path / "out") is None, "none is there"


def test_what_is_deep_or_of_another_kind_is_left_out_of_the_top(told, tmp_path):
    deep = json.loads('{"a":' * 500 + "1" + "}" * 500)
    first = next(iter(told["recipes"]))
    told["recipes"] = {**told["recipes"], "deep": deep, "list": [1], "number": 1}
    for name, value in [("gallery", deep), ("gallery", []), ("model", [1]), ("recipe", "x"), ("created", {})]:
        read = read_sound_manifest(write({**told, name: value}, tmp_path / "out"))
        assert name not in read
        assert list(read["recipes"]) == [first]
        assert len(read["pictures"]) == 3


@pytest.mark.parametrize(
    "content",
    [
        "[" * 10**5,
        '{"pictures": ' * 900,
        "",
        "null",
        '{"pictures": {}}',
        '{"pictures": [1]}',
        '{"pictures": [[]]}',
    ],
    ids=["deep", "deep tables", "empty", "null", "table", "numbers", "lists"],
)
def test_a_damaged_manifest_is_made_anew_from_the_pictures(folder, tmp_path, content):
    import shutil

    shutil.copytree(folder, tmp_path / "out")
    (tmp_path / "out" / "manifest.json").write_text(content)
    read = read_manifest(tmp_path / "out")
    assert [entry["target"] for entry in read["pictures"]] == ["norm:0", "norm:1", "norm:2"]


def test_a_manifest_that_would_fill_the_memory_is_not_taken_for_damaged(folder, tmp_path):
    (tmp_path / "manifest.json").write_text('{"pictures":[' + "[]," * 10**7 + "[]]}")
    with pytest.raises(OutputError, match="too large"):
        read_manifest(tmp_path)


@pytest.mark.parametrize(
    ("name", "value"),
    [("recipe", [1]), ("recipe", None), ("status", "fine"), ("status", ["ok"]),
     ("seed", "1"), ("seed", 10**400),
     ("unit", -1), ("unit", "3"), ("layer", 3), ("label", "\ud800"), ("trace", "up"), ("trace", ["up"]),
     ("score", "high"), ("attempt", -1), ("channels", 0), ("channels", 10**9), ("channels", math.inf),
     ("channels", "x"), ("alpha", 3), ("model", []), ("verdicts", [1]), ("candidates", {}), ("steps", "2")],
)  # fmt: skip
def test_a_png_that_tells_something_else_is_damaged(folder, tmp_path, name, value):
    content = (folder / "norm" / "0001.png").read_bytes()
    told = json.loads(text_of(content))
    (tmp_path / "x.png").write_bytes(png_with(content, json.dumps({**told, name: value})))
    with pytest.raises(OutputError, match=r"damaged") as caught:
        load_picture(tmp_path / "x.png")
    assert len(str(caught.value)) < 400


def test_what_is_no_text_of_ours_cannot_set_other_fields(folder, tmp_path):
    content = (folder / "norm" / "0001.png").read_bytes()
    told = json.loads(text_of(content))
    more = {"levels": [[1]], "snapshots": {"1": 2}, "preprocessing": 3, "transparency": 4, "unknown": 5}
    (tmp_path / "x.png").write_bytes(png_with(content, json.dumps({**told, **more})))
    picture = load_picture(tmp_path / "x.png")
    assert picture.levels.shape == (3, 17, 24)
    assert (picture.snapshots, picture.preprocessing, picture.transparency) == ({}, None, None)


def test_a_text_too_long_or_too_deep_is_damaged(folder, tmp_path):
    content = (folder / "norm" / "0001.png").read_bytes()
    for text in (
        "[" * 10**5,
        '{"a":' * 200 + "1" + "}" * 200,
        "[]",
        "3",
        "{" + " " * TEXT + "}",
        '{"seed":' + "9" * 5000,
    ):
        (tmp_path / "x.png").write_bytes(png_with(content, text))
        with pytest.raises(OutputError, match="damaged"):
            load_picture(tmp_path / "x.png")


def test_a_canvas_from_an_image_is_bounded(tmp_path):
    from PIL import Image

    Image.new("L", (40, 30)).save(tmp_path / "x.png")
    assert load_image(tmp_path / "x.png", 1, most=1200).shape == (1, 30, 40)
    with pytest.raises(OutputError, match="30x40 pixels are too large for a canvas"):
        load_image(tmp_path / "x.png", 1, most=1199)
    assert load_image(tmp_path / "x.png", 1, (3, 4), most=1199).shape == (1, 3, 4)


def test_levels_are_as_they_were_read_before(tmp_path):
    import numpy as np
    import torch
    from PIL import Image

    levels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    Image.fromarray(levels).save(tmp_path / "x.png")
    expected = np.array(Image.fromarray(levels), dtype=np.float32) / 255
    assert torch.equal(
        load_image(tmp_path / "x.png", 3), torch.from_numpy(expected.transpose(2, 0, 1).copy())
    )
    grey = np.array(Image.fromarray(levels).convert("L"), dtype=np.float32) / 255
    assert torch.equal(load_image(tmp_path / "x.png", 1), torch.from_numpy(grey[None]))
