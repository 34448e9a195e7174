"""What was found is not searched again."""

from __future__ import annotations

import json
import os

import pytest

import featvis as fv
from tests.networks import small
from tests.photographs.photographs import photo, write_folder

TARGETS = {"conv1": [0, 3], "norm": [2]}


@pytest.fixture
def folder(tmp_path):
    place = tmp_path / "photos"
    write_folder(place, 12, broken=False)
    return place


class Counted:
    """A small network and how many photographs went through it."""

    def __init__(self):
        self.model, self.shown = small(size=(24, 24)), 0
        self.model.at((24, 24))
        self.model.module.conv1.register_forward_hook(self.count)

    def count(self, _module, inputs, _output):
        self.shown += len(inputs[0])

    def __call__(self, folder, targets, **told):
        self.shown = 0
        return fv.find_examples(self.model, folder, targets, **told)


@pytest.fixture
def find():
    return Counted()


def files(out):
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in out.rglob("*") if path.is_file()}


def test_the_same_question_runs_no_network(find, folder, tmp_path):
    out = tmp_path / "out"
    first = find(folder, TARGETS, out=out)
    assert find.shown >= 12
    before = files(out)
    assert len(before) == 1 + 3 * 9
    assert find(folder, TARGETS, out=out, batch=3) == first
    assert find.shown == 0
    assert files(out) == before
    # a part of it, in another order
    part = find(folder, {"norm": [2], "conv1": [3]}, out=out)
    assert find.shown == 0
    assert list(part["units"]) == ["norm:2", "conv1:3"]
    assert part["units"]["norm:2"] == first["units"]["norm:2"]
    assert files(out) == before
    written = json.loads(before["examples.json"])
    assert {key: written[key] for key in first} == first


def test_only_what_is_new_is_searched(find, folder, tmp_path, monkeypatch):
    from featvis.photographs import search

    asked = []
    plain = search.search_folder
    monkeypatch.setattr(
        search, "search_folder", lambda *given, **told: asked.append(given[2]) or plain(*given, **told)
    )
    out = tmp_path / "out"
    first = find(folder, TARGETS, out=out)
    before = files(out)
    more = find(folder, {"conv1": [0, 5, 3], "norm": [2], "fc": [1]}, out=out)
    assert asked == [{"conv1": [0, 3], "norm": [2]}, {"conv1": [5], "fc": [1]}]
    assert find.shown > 0
    assert {key: more["units"][key] for key in first["units"]} == first["units"]
    after = files(out)
    assert set(after) - set(before) == {
        f"examples/{unit}-{rank}.webp" for unit in ("conv1/0005", "fc/0001") for rank in range(9)
    }
    assert {name: after[name] for name in before if name != "examples.json"} == {
        name: before[name] for name in before if name != "examples.json"
    }
    alone = find(folder, {"conv1": [5], "fc": [1]})
    for key, unit in alone["units"].items():
        named = [{**one, "file": None} for one in more["units"][key]["examples"]]
        assert {**more["units"][key], "examples": named} == unit


@pytest.mark.parametrize("what", ["photograph", "time", "gone", "count", "size", "weights"])
def test_what_changes_values_is_searched_again(find, folder, tmp_path, what):
    import torch

    out = tmp_path / "out"
    find(folder, TARGETS, out=out)
    told = {}
    if what == "photograph":
        photo(77, 50, 50).save(folder / "another.png")
    elif what == "time":
        os.utime(folder / "photo 002.webp", ns=(5, 5))
    elif what == "gone":
        (folder / "photo 002.webp").unlink()
    elif what == "count":
        told = {"count": 4}
    elif what == "size":
        told = {"size": (30, 30)}
    else:
        with torch.no_grad():
            find.model.module.conv1.weight.mul_(2)
    again = find(folder, TARGETS, out=out, **told)
    assert find.shown > 0
    written = {path for path in files(out) if path != "examples.json"}
    assert written == {one["file"] for unit in again["units"].values() for one in unit["examples"]}
    assert len(written) == 3 * told.get("count", 9), "no crop of the earlier search is left"
    find(folder, TARGETS, out=out, **told)
    assert find.shown == 0


def test_an_interrupted_pass_leaves_what_was_there(find, folder, tmp_path):
    out = tmp_path / "out"
    find(folder, TARGETS, out=out)
    before = files(out)
    photo(77, 50, 50).save(folder / "another.png")

    def interrupt(_said):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        find(folder, TARGETS, out=out, say=interrupt)
    assert files(out) == before
    find(folder, TARGETS, out=out)
    assert find.shown > 0
    assert files(out) != before


def test_interrupted_among_the_crops_it_needs_no_second_pass(find, folder, tmp_path, monkeypatch):
    from featvis.photographs import crops

    out, whole = tmp_path / "out", tmp_path / "whole"
    find(folder, TARGETS, out=out)
    photo(77, 50, 50).save(folder / "another.png")
    expected = find(folder, TARGETS, out=whole)
    plain, left = crops.write_whole, [10]

    def fail(path, content):
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        return plain(path, content)

    monkeypatch.setattr(crops, "write_whole", fail)
    with pytest.raises(KeyboardInterrupt):
        find(folder, TARGETS, out=out)
    monkeypatch.undo()
    assert find(folder, TARGETS, out=out) == expected
    assert find.shown == 0
    assert files(out) == files(whole)


def test_a_crop_that_is_gone_is_cut_again(find, folder, tmp_path):
    out = tmp_path / "out"
    find(folder, TARGETS, out=out)
    before = files(out)
    (out / "examples" / "norm" / "0002-4.webp").unlink()
    find(folder, TARGETS, out=out)
    assert find.shown == 0
    assert files(out) == before


@pytest.mark.parametrize(
    "damage",
    [
        lambda record: "{",
        lambda record: "[]",
        lambda record: json.dumps({**record, "units": [1]}),
        lambda record: json.dumps({**record, "units": {key: {} for key in record["units"]}}),
        lambda record: json.dumps({**record, "images": "many"}),
        lambda record: json.dumps({**record, "format": 0}),
    ],
    ids=["cut", "list", "units", "empty units", "images", "format"],
)
def test_a_damaged_record_is_made_anew(find, folder, tmp_path, damage):
    out = tmp_path / "out"
    first = find(folder, TARGETS, out=out)
    before = files(out)
    record = json.loads(before["examples.json"])
    (out / "examples.json").write_text(damage(record))
    assert find(folder, TARGETS, out=out) == first
    assert find.shown > 0
    assert files(out) == before


@pytest.mark.parametrize("place", ["image", "file"])
def test_a_record_is_not_trusted_with_paths(find, folder, tmp_path, place):
    out = tmp_path / "out"
    first = find(folder, TARGETS, out=out)
    (tmp_path / "secret.png").write_bytes((folder / "photo 005.png").read_bytes())
    record = json.loads((out / "examples.json").read_text())
    record["units"]["conv1:0"]["examples"][0][place] = "../secret.png"
    record["crops_written"] = False
    (out / "examples.json").write_text(json.dumps(record))
    assert find(folder, TARGETS, out=out) == first
    assert find.shown > 0


def test_layers_whose_names_are_no_folders(tmp_path, folder):
    from torch import nn

    from featvis.results.store import safe_name
    from tests.networks import handle, seeded

    net = seeded(lambda: nn.Sequential(nn.ModuleDict({"a/b": nn.Conv2d(3, 2, 1)})))
    net.forward = lambda images: net[0]["a/b"](images)
    told = fv.find_examples(handle(net, (24, 24)), folder, {"0.a/b": [1]}, out=tmp_path / "out", count=1)
    (example,) = told["units"]["0.a/b:1"]["examples"]
    assert example["file"] == f"examples/{safe_name('0.a/b')}/0001-0.webp"
    assert (tmp_path / "out" / example["file"]).is_file()


def test_a_place_that_cannot_be_written_is_told_before_the_pass(find, folder, tmp_path):
    (tmp_path / "out").write_text("a file")
    with pytest.raises(fv.OutputError):
        find(folder, TARGETS, out=tmp_path / "out")
    assert find.shown == 0


def test_names_that_are_no_utf8(find, folder, tmp_path):
    name = os.fsdecode(b"caf\xe9.png")
    photo(5, 30, 30).save(folder / "plain.png")
    try:
        (folder / "plain.png").rename(folder / name)
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    first = find(folder, TARGETS, out=tmp_path / "out", count=13)
    assert name in [one["image"] for one in first["units"]["norm:2"]["examples"]]
    assert find(folder, TARGETS, out=tmp_path / "out", count=13) == first
    assert find.shown == 0
