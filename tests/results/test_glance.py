"""A picture's file is looked over without decoding it: whatever is torn or changed is noticed."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

import featvis as fv
from featvis.results.glance import glance
from featvis.results.picture import Picture


@pytest.fixture
def path(tmp_path):
    levels = np.random.default_rng(0).integers(0, 256, (3, 8, 8), dtype=np.uint8)
    picture = Picture(levels, "norm:1", 0, 2.5, 0.5, {"steps": 3}, "a1", label="schnecke", trace=[0.5, 2.5])
    return picture.save(tmp_path / "one.png")


def test_it_says_what_the_picture_says(path):
    told, picture = glance(path), fv.load_picture(path)
    fields = ("key", "status", "target", "score", "trace", "label", "recipe", "asked_key")
    assert {name: told.get(name) for name in fields} == {name: getattr(picture, name) for name in fields}


def test_texts_in_any_script(path):
    picture = fv.load_picture(path)
    picture.label = "蜗牛 ½"
    assert glance(picture.save(path))["label"] == "蜗牛 ½"


def test_every_changed_byte_is_noticed(path):
    whole = path.read_bytes()
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        assert glance(path) is None, place


def test_whatever_is_missing_or_too_much_is_noticed(path):
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        assert glance(path) is None, length
    path.write_bytes(whole + b"\0")
    assert glance(path) is None


def test_what_is_no_picture_of_ours_is_none(path, tmp_path):
    assert glance(tmp_path) is None
    assert glance(tmp_path / "gone.png") is None
    Image.new("RGB", (8, 8)).save(path)
    assert glance(path) is None
    for text in ("", "[]", '{"key": 3}', '{"key": "a1"}', "[" * 1000):
        info = PngImagePlugin.PngInfo()
        info.add_text("featvis", text)
        Image.new("RGB", (8, 8)).save(path, pnginfo=info)
        assert glance(path) is None, text


def test_what_could_not_be_scored_is_not_called_ok(path):
    picture = fv.load_picture(path)
    picture.trace = [0.5, float("nan")]
    assert glance(picture.save(path)) is None
