"""Files appear whole, in their folder, or not at all."""

from __future__ import annotations

import os

import pytest

import featvis as fv
from featvis.errors import OutputError
from featvis.files import check_inside
from featvis.photographs.crops import write_crops
from featvis.results.store import check_writable
from tests.networks import small

OPTIONS = {"size": (17, 24), "steps": 1, "lanes": 1}


def test_a_folder_that_a_link_leads_out_of_is_refused(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out" / "norm").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "out" / "loop").symlink_to(tmp_path / "out" / "loop")
    for place in ("norm/0001.png", "loop/0001.png", "../0001.png"):
        with pytest.raises(OutputError, match="leads out of"):
            check_inside(tmp_path / "out" / place, tmp_path / "out")
    check_inside(tmp_path / "out" / "conv1" / "0001.png", tmp_path / "out")
    # The folder itself may be a link: its user named it.
    (tmp_path / "named").symlink_to(tmp_path / "out")
    check_inside(tmp_path / "named" / "conv1" / "0001.png", tmp_path / "named")
    with pytest.raises(OutputError, match="leads out of"):
        fv.render(small(), "norm:1", out=tmp_path / "out", **OPTIONS)
    assert list((tmp_path / "elsewhere").iterdir()) == []
    assert fv.render(small(), "conv1:1", out=tmp_path / "out", **OPTIONS)[0].status == "ok"


def test_a_device_or_a_pipe_is_not_replaced(tmp_path):
    from featvis.files import write_whole

    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for name in ("pipe", "folder"):
        with pytest.raises(OutputError, match="no regular file"):
            write_whole(tmp_path / name, b"x")
    assert (tmp_path / "pipe").is_fifo()
    (tmp_path / "link").symlink_to(tmp_path / "gone")
    assert write_whole(tmp_path / "link", b"x").read_bytes() == b"x"
    assert not (tmp_path / "gone").exists(), "a link is replaced, not followed"


def test_trying_whether_a_folder_can_be_written_writes_nothing_through_a_link(tmp_path):
    (tmp_path / "precious").write_text("mine")
    (tmp_path / "out").mkdir()
    for name in (".featvis-writable", ".featvis-"):
        (tmp_path / "out" / name).symlink_to(tmp_path / "precious")
    check_writable(tmp_path / "out")
    assert (tmp_path / "precious").read_text() == "mine"
    assert sorted(os.listdir(tmp_path / "out")) == [".featvis-", ".featvis-writable"]


def test_crops_of_a_box_that_is_none_of_the_photographs_are_not_cut(tmp_path):
    from PIL import Image

    Image.new("RGB", (20, 10), "red").save(tmp_path / "red.png")
    boxes = [(0, 0, 10, 20), None, (0, 0, 10**9, 10**9), (5, 5, 0, 5), (8, 0, 3, 3), (0, 18, 3, 3)]
    examples = [
        {"image": "red.png", "file": f"c/{place}.webp", "box": box} for place, box in enumerate(boxes)
    ]
    write_crops(tmp_path, tmp_path / "out", [{"examples": examples}], channels=3)
    assert [example["file"] for example in examples] == ["c/0.webp", "c/1.webp", None, None, None, None]
    assert sorted(os.listdir(tmp_path / "out" / "c")) == ["0.webp", "1.webp"]
