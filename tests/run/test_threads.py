"""A folder keeps the number of CPU threads that its pictures were made with, whatever the machine's."""

from __future__ import annotations

import json

import pytest
import torch

import featvis as fv
from featvis.cli import main
from featvis.galleries.config import load_gallery
from featvis.galleries.folder import find_missing
from featvis.galleries.plan import plan_gallery
from tests.galleries.planted import RECIPE, manifest, section, write_config
from tests.networks import small

SECTIONS = section(["conv1:0:3"]) + section(["fc:1"], variants=["picture", "negative"])
OPTIONS = {"size": (17, 24), "steps": 2, "lanes": 2}


@pytest.fixture
def machine():
    """Let this be a machine of another number of threads."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def numbers(out):
    """By how many threads each picture was made."""
    told = manifest(out)
    return {entry["target"]: told["recipes"][entry["recipe"]]["threads"] for entry in told["pictures"]}


def test_a_gallery_renders_nothing_anew_and_says_so_in_one_line(tmp_path, machine, capsys):
    config, out = write_config(tmp_path, SECTIONS), tmp_path / "out"
    typed = ["gallery", "build", str(config), "--out", str(out), "--device", "cpu"]
    fv.build_gallery(config, out=out, device="cpu", limit=4)
    assert set(numbers(out).values()) == {1}
    machine(2)
    assert main(typed) == 0
    told = capsys.readouterr()
    assert "1 picture rendered" in told.out
    assert told.err.replace("\n", " ").count("made by 1 CPU threads, which is kept") == 1
    assert set(numbers(out).values()) == {1}, "the new one, too"
    assert manifest(out)["recipe"]["threads"] == 1
    assert main([*typed, "--dry-run"]) == 0
    dry = capsys.readouterr()
    assert "5 pictures, 0 of them to be rendered" in dry.out
    assert dry.err.count("made by 1 CPU threads, which is kept") == 1
    machine(1)
    assert main([*typed, "--dry-run"]) == 0
    assert "CPU threads" not in capsys.readouterr().err


def test_a_config_that_states_the_number_wins(tmp_path, machine):
    config, out = write_config(tmp_path, SECTIONS), tmp_path / "out"
    fv.build_gallery(config, out=out, device="cpu")
    write_config(tmp_path, SECTIONS, RECIPE + "threads = 2\n")
    assert fv.build_gallery(config, out=out, device="cpu").rendered == 5
    write_config(tmp_path, SECTIONS)
    machine(3)
    assert fv.build_gallery(config, out=out, device="cpu").rendered == 0, "what it has is made by 2"
    (tmp_path / "stated.toml").write_text("threads = 1\nsize = 16\nsteps = 1\n")
    write_config(tmp_path, section(["conv1:0:3"]) + section(["fc:1"], recipe="stated.toml"))
    fv.build_gallery(config, out=out, device="cpu")
    assert numbers(out) == {"conv1:0": 2, "conv1:1": 2, "conv1:2": 2, "fc:1": 1, "-1*fc:1": 2}


def test_what_most_were_made_with_is_kept_and_another_recipe_begins_anew(tmp_path, machine):
    model, out = small(), tmp_path / "out"
    config = tmp_path / "gallery.toml"
    config.write_text('[recipe]\nsize = 16\nsteps = 1\n[[sections]]\ntargets = ["norm:0:3"]\n')
    fv.render(model, "norm:1:3", out=out, size=16, steps=1, threads=2, lanes=8)
    fv.render(model, "norm:0", out=out, size=16, steps=1, threads=3, lanes=8)
    planned = plan_gallery(load_gallery(config), model)
    assert [one.target for one in find_missing(out, planned)] == ["norm:0", "norm:1", "norm:2"]
    planned = plan_gallery(load_gallery(config), model, out)
    assert [one.target for one in find_missing(out, planned)] == ["norm:0"]
    config.write_text(config.read_text().replace("steps = 1", "steps = 2"))
    found = [plan_gallery(load_gallery(config), model, folder) for folder in (out, None)]
    keys = [[picture.key for picture in plan.pictures.values()] for plan in found]
    assert keys[0] == keys[1], "nothing of it is there"


@pytest.mark.parametrize("damage", ["none", '"4"', "true", "0", "[]"])
def test_a_manifest_that_tells_no_number_is_no_help(tmp_path, machine, damage):
    config, out = write_config(tmp_path, section(["conv1:0"])), tmp_path / "out"
    fv.build_gallery(config, out=out, device="cpu")
    told = manifest(out)
    for recipe in told["recipes"].values():
        recipe["threads"] = None if damage == "none" else json.loads(damage)
    (out / "manifest.json").write_text(json.dumps(told))
    assert fv.build_gallery(config, out=out, device="cpu").rendered == 0


def test_a_folder_of_pictures_goes_on_with_its_number(tmp_path, machine, capsys):
    fv.render(small(), "norm:0:2", out=tmp_path, **OPTIONS)
    before = (tmp_path / "norm/0001.png").read_bytes()
    machine(2)
    again = fv.render(small(), "norm:0:3", out=tmp_path, progress=True, **OPTIONS)
    assert {picture.recipe["threads"] for picture in again} == {1}
    assert "which is kept" in capsys.readouterr().err.replace("\n", " ")
    assert (tmp_path / "norm/0001.png").read_bytes() == before
    assert manifest(tmp_path)["recipe"]["threads"] == 1
    stated = fv.Recipe(threads=2)
    for asked in ({"threads": 2}, {"recipe": stated}):
        (picture,) = fv.render(small(), "norm:0", out=tmp_path / "stated", **asked, **OPTIONS)
        assert picture.recipe["threads"] == 2
    (picture,) = fv.render(small(), "norm:0", out=tmp_path, threads=2, **OPTIONS)
    assert picture.recipe["threads"] == 2


def test_lanes_that_the_folder_chose_are_found_beside_its_threads(tmp_path, machine, monkeypatch):
    from featvis.run import tuning

    monkeypatch.setattr(tuning, "_milliseconds", lambda wanted, lanes, *_: {4: 2.0, 8: 1.0}[lanes])
    auto = {**OPTIONS, "lanes": "auto"}
    fv.render(small(), "norm:0:5", out=tmp_path, **auto)
    machine(2)
    monkeypatch.setattr(tuning, "_milliseconds", lambda *_: pytest.fail("measured anew"))
    again = fv.render(small(), "norm:0:5", out=tmp_path, **auto)
    assert {(picture.recipe["lanes"], picture.recipe["threads"]) for picture in again} == {(8, 1)}


def test_the_command_keeps_it_too(tmp_path, machine):
    write_config(tmp_path, SECTIONS)
    typed = ["render", "conv1:0", "--model", f"file:{tmp_path / 'net.py'}:make", "--mean", "0,0,0"]
    typed += [
        "--std",
        "1,1,1",
        "--size",
        "16x20",
        "--steps",
        "1",
        "--lanes",
        "1",
        "--out",
        str(tmp_path / "out"),
    ]
    assert main(typed) == 0
    before = (tmp_path / "out/conv1/0000.png").stat().st_mtime_ns
    machine(2)
    assert main(typed) == 0
    assert (tmp_path / "out/conv1/0000.png").stat().st_mtime_ns == before
    assert main([*typed, "--threads", "2"]) == 0
    assert set(numbers(tmp_path / "out").values()) == {2}
