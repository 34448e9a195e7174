"""A folder of photographs: what a unit responds to most, searched a share at a time while it is wanted."""

from __future__ import annotations

import base64
import io
import json

import numpy as np
import pytest
from PIL import Image

import featvis as fv
from featvis.cli import main
from featvis.errors import UserError
from featvis.photographs.photos import list_files
from featvis.photographs.stream import LayerSearch
from featvis.serve.explorer import Explorer
from featvis.serve.patches import Folder
from featvis.serve.queue import Job
from tests.networks import Small, handle, seeded
from tests.serve.serving import served, until


@pytest.fixture(scope="module")
def model():
    return handle(seeded(Small), size=(16, 16), labels=("ant", "bee", "cat", "dog", "elk"))


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder, draw = tmp_path_factory.mktemp("patches") / "photos", np.random.default_rng(0)
    (folder / "below").mkdir(parents=True)
    for number in range(24):
        shape = (16 + number % 5, 20 + number % 3, 3)
        name = f"below/{number}.png" if number % 4 == 0 else f"{number}.png"
        Image.fromarray(draw.integers(0, 256, shape, np.uint8)).save(folder / name)
    (folder / "read.me").write_text("no photograph")
    return folder


@pytest.fixture(scope="module")
def ask(model, photos):
    with served(Explorer(model.copy(), folder=Folder(photos))) as (asking, _):
        yield asking


def wanted(layer="norm", unit=3, **more):
    return {"network": "Small", "layer": layer, "unit": unit, **more}


def size_of(path):
    with Image.open(path) as opened:
        return opened.size


@pytest.mark.parametrize("layer", ["norm", "fc"])
def test_in_shares_it_finds_what_one_search_finds(model, photos, layer):
    search = LayerSearch(model, list_files(photos), layer)
    looks = 0
    while not search.is_over:
        search.go_on(lambda read: True)
        looks += 1
        found = search.entry(1)["examples"]
        assert len(found) <= min(9, search.images), "what was found so far can be read"
    assert (looks, search.images) == (25, 24)
    whole = fv.find_examples(model, photos, {layer: [1]})["units"][f"{layer}:1"]
    assert search.entry(1)["quantiles"] == whole["quantiles"]
    assert [{**one, "file": None} for one in search.entry(1)["examples"]] == whole["examples"]


@pytest.mark.parametrize("layer", ["norm", "fc"])
def test_a_unit_has_its_patches(ask, model, photos, layer):
    told = ask.json("POST", "/api/patches", wanted(layer))
    assert (told["read"], told["total"], told["images"], told["over"]) == (25, 25, 24, True)
    own = fv.find_examples(model, photos, {layer: [3]})["units"][f"{layer}:3"]["examples"]
    assert [(one["name"], one["value"]) for one in told["patches"]] == [
        (one["image"], one["value"]) for one in own
    ]
    kind, _, content = told["patches"][0]["image"].partition(",")
    assert kind == "data:image/webp;base64"
    patch = Image.open(io.BytesIO(base64.b64decode(content)))
    box = own[0]["box"]
    whole = size_of(photos / own[0]["image"])
    assert patch.size == (whole if box is None else (box[3], box[2]))


def test_a_photograph_of_the_folder_is_opened_by_its_number(ask, photos):
    patch = ask.json("POST", "/api/patches", wanted())["patches"][0]
    told = ask.json("POST", f"/api/folder/{patch['number']}")
    width, height = size_of(photos / patch["name"])
    assert (told["height"], told["width"]) == (16, round(width * 16 / height))
    assert len(ask.json("GET", f"/api/photographs/{told['id']}?layer=norm")["places"][0]) == 8
    assert "no such photograph" in ask.json("POST", "/api/folder/25", status=400)["error"]
    readme = list_files(photos).names.index("read.me")
    assert "no readable" in ask.json("POST", f"/api/folder/{readme}", status=400)["error"]
    for path in ("/api/folder/-1", "/api/folder/../0", "/api/folder/read.me"):
        assert ask("POST", path)[0].status == 404


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (wanted(unit=8), "norm has 8 units, 0 to 7; got 8"),
        (wanted(unit=-1), "got -1"),
        (wanted(unit=True), "whole number"),
        (wanted(unit="3"), "whole number"),
        (wanted(layer="nrom"), "norm"),
        (wanted(layer=""), "text"),
        (wanted(folder="/etc"), "unknown field"),
        (wanted(network="file:evil.py:f"), "unknown network"),
        ([], "table"),
    ],
)
def test_what_may_not_be_asked_is_refused(ask, body, says):
    assert says in ask.json("POST", "/api/patches", body, status=400)["error"]


def test_without_a_folder_it_says_how_to_give_one(model):
    with served(Explorer(model.copy())) as (asking, _):
        assert "--photos FOLDER" in asking.json("POST", "/api/patches", wanted(), status=400)["error"]
        assert "--photos FOLDER" in asking.json("POST", "/api/folder/0", status=400)["error"]


def test_a_search_that_others_wait_for_makes_room_and_goes_on(model, photos, monkeypatch):
    monkeypatch.setattr("featvis.serve.patches.SHARE", 3600)
    monkeypatch.setattr("featvis.serve.patches.LEAST", 0)
    explorer = Explorer(model.copy(), folder=Folder(photos))
    with served(explorer) as (asking, _):
        held = explorer.queue.submit(lambda job: until(lambda: explorer.queue.count == 3))
        searching = asking.open("POST", "/api/patches", wanted())
        until(lambda: explorer.queue.count == 2)
        drawn = asking.open(
            "POST", "/api/pictures", {"network": "Small", "target": "norm:3", "steps": 1, "size": 16}
        )
        told = json.loads(searching.getresponse().read())
        assert (told["read"], told["over"], held.state) == (1, False, "done")
        assert b"event: done" in drawn.getresponse().read()
        assert asking.json("POST", "/api/patches", wanted())["over"], "it goes on where it was"
        for one in (searching, drawn):
            one.close()


def test_a_page_that_goes_or_wants_another_unit_ends_the_search(model, photos):
    explorer = Explorer(model.copy(), folder=Folder(photos))
    with served(explorer) as (asking, _):
        ending = explorer.queue.submit(lambda job: until(lambda: job.is_cancelled))
        gone = asking.open("POST", "/api/patches", wanted())
        first = asking.open("POST", "/api/patches", wanted(unit=1, slot="tab"))
        until(lambda: explorer.queue.count == 3)
        second = asking.open("POST", "/api/patches", wanted(unit=2, slot="tab"))
        answer = first.getresponse()
        assert (answer.status, b"cancelled" in answer.read()) == (400, True)
        gone.close()
        until(lambda: explorer.queue.count == 2)
        explorer.queue.cancel(ending)
        assert json.loads(second.getresponse().read())["unit"] == 2
        for one in (first, second):
            one.close()


def test_a_cancelled_search_loses_nothing(model, photos):
    folder = Folder(photos)
    job = Job(lambda job: None)
    job.cancel()
    with pytest.raises(UserError, match="nobody waits"):
        folder.show(model, "norm", 3, job)
    told = folder.show(model, "norm", 3, Job(lambda job: None))
    assert (told["read"], told["images"], told["over"]) == (25, 24, True)
    assert not any(module._forward_hooks for module in model.module.modules())


def test_a_photograph_that_goes_is_left_out(model, photos, tmp_path):
    copied = tmp_path / "photos"
    copied.mkdir()
    for number in (1, 2):
        (copied / f"{number}.png").write_bytes((photos / f"{number}.png").read_bytes())
    folder = Folder(copied)
    (copied / "1.png").unlink()
    told = folder.show(model, "norm", 3, Job(lambda job: None))
    assert (told["images"], [one["name"] for one in told["patches"]]) == (1, ["2.png"])
    (copied / "2.png").unlink()
    assert len(folder.show(model, "norm", 3, Job(lambda job: None))["patches"]) == 1, "its crop is remembered"
    assert folder.show(model, "norm", 4, Job(lambda job: None))["unit"] == 4


def test_a_folder_without_a_photograph_is_said(model, tmp_path):
    with pytest.raises(UserError, match="holds no file"):
        Folder(tmp_path)
    (tmp_path / "read.me").write_text("text")
    with pytest.raises(UserError, match="no photograph that can be read"):
        Folder(tmp_path).show(model, "norm", 3, Job(lambda job: None))


def test_the_command_takes_a_folder(photos, capsys, monkeypatch, tmp_path, embedded_once):
    seen = {}
    monkeypatch.setattr(
        "featvis.serve.server.serve", lambda explorer, port, say: seen.update(explorer=explorer)
    )
    assert main(["serve", "--photos", str(photos)]) == 0
    assert len(seen["explorer"].folder.listing.names) == 25
    seen["explorer"].close()
    assert main(["serve", "--photos", str(tmp_path / "none")]) == 2
    assert "no folder of photographs" in capsys.readouterr().err
