"""The page of a circuit: every link leads somewhere, every unit is there, nothing is fetched."""

from __future__ import annotations

import json

import pytest
import torch

import featvis as fv
from featvis.cli import main
from tests.explore.test_circuits import SIZE, Vgg
from tests.networks import handle, seeded
from tests.pages.markup import Page

FEW = {"steps": 2, "lanes": 2, "transforms": []}
NET = """
from tests.explore.test_circuits import Vgg
from tests.networks import seeded
def make():
    return seeded(Vgg)
"""


@pytest.fixture
def walk():
    return fv.walk_circuit(handle(seeded(Vgg), SIZE), "features.7:2", depth=1, count=2, size=SIZE, **FEW)


def test_it_goes_from_inputs_to_their_inputs(walk):
    strongest = [unit for unit, _ in walk.circuits["features.7:2"].paths[0].strongest(2)]
    nearest = [f"features.5:{unit}" for unit in strongest]
    assert list(walk.circuits) == ["features.7:2", *nearest]
    expected = [
        f"features.2:{unit}" for name in nearest for unit, _ in walk.circuits[name].paths[0].strongest(2)
    ]
    assert set(walk.pictures) == {*walk.circuits, *expected}
    # From features.3, after the max pool, features.5 is not reached linearly.
    assert not walk.circuits[nearest[0]].paths[0].is_linear


def test_its_page_holds_all_and_asks_for_nothing(walk, tmp_path):
    page = Page(walk.page())
    ids = {one["id"] for one in page.all("section")}
    assert len(ids) == len(walk.pictures)
    addresses = page.addresses
    assert {one for one in addresses if one.startswith("#")} <= {f"#{name}" for name in (*ids, "content")}
    assert all(one.startswith(("#", "data:image/")) for one in addresses)
    assert all(one.get("alt") for one in page.all("img"))
    assert "expanded weights" in page.text.lower()
    assert walk.save(tmp_path).read_text("utf-8") == walk.page()


def test_a_walk_of_too_many_units_is_refused():
    model = handle(seeded(Vgg), SIZE)
    with pytest.raises(fv.RecipeError, match="a walk of up to"):
        fv.walk_circuit(model, "features.7:2", levels=5, count=8)
    with pytest.raises(fv.RecipeError, match="levels is at least 1"):
        fv.walk_circuit(model, "features.7:2", levels=0)


def test_from_the_command_line_and_again(tmp_path, capsys):
    (tmp_path / "net.py").write_text(NET)
    options = ["--model", f"file:{tmp_path / 'net.py'}:make", "--mean", ".5,.5,.5", "--std", ".5,.5,.5"]
    options += ["--input-size", "24x20", "--size", "24x20", "--steps", "2", "--count", "2", "--levels", "1"]
    words = ["circuit", "features.7:1", "--from", "features.6", *options, "--out", str(tmp_path / "out")]
    assert main(words) == 0
    told = capsys.readouterr().out
    assert "features.7:1 from features.6: expanded weights: the path is linear" in told
    page = tmp_path / "out" / "circuit.html"
    before, files = (
        page.read_bytes(),
        {one: one.stat().st_mtime_ns for one in (tmp_path / "out").rglob("0*.png")},
    )
    assert len(files) == 3
    assert main([*words, "--json"]) == 0
    (unit,) = json.loads(capsys.readouterr().out)["units"]
    weights = seeded(Vgg).features[7].weight[1].detach()
    kernel = torch.tensor(unit["paths"][0]["units"][0]["kernel"])
    assert torch.allclose(kernel, weights[unit["paths"][0]["units"][0]["unit"]], atol=1e-5)
    assert page.read_bytes() == before
    assert {one: one.stat().st_mtime_ns for one in files} == files
    assert main(["circuit", "blocks.3:0:2"]) == 2
    assert "names 2 units" in capsys.readouterr().err
