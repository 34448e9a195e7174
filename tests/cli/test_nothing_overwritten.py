"""Commands typed one after the other into one place: no file that is there changes its bytes."""

from __future__ import annotations

import json

import pytest

import featvis as fv
from featvis.cli import main
from tests.run.test_redraw import OPTIONS, photograph, place, save  # noqa: F401

NETWORK = OPTIONS[:-2]
QUICK = ["--steps", "2"]
RENDER = ["--size", "17x24", *QUICK]
LAYERS = ["--layer", "norm", "--layer", "conv1"]
COMMANDS = [
    ["render", "norm:0:2", *RENDER],
    ["render", "norm:0", "--recipe", "maco", *RENDER],
    ["render", "norm:0", "--recipe", "maco", "--seed", "1", *RENDER],
    ["render", "norm:0", "--diverse", "2", *RENDER],
    ["render", "norm:0", "norm:1", "--morph", "gif", *RENDER],
    ["render", "norm:1", "norm:0", "--morph", "gif", *RENDER],
    ["render", "fc:1", "--video", "gif", "--snapshots", "1", *RENDER],
    ["render", "fc:1", "--video", "gif", "--snapshots", "1", "--size", "17x24", "--steps", "3"],
    ["dream", "photo.png", *LAYERS, *QUICK],
    ["dream", "photo.png", "--layer", "norm", "--layer", "fc", *QUICK],
    ["dream", "photo.png", "--layer", "norm", "--steps", "3"],
    ["dream", "other/photo.png", "--layer", "norm", *QUICK],
    ["dream", "photo.png", "--layer", "norm", "--seed", "2", *QUICK],
    ["accentuate", "photo.png", "--target", "fc:3", *QUICK],
    ["accentuate", "photo.png", "--target", "fc:3", "--near", "conv1", *QUICK],
    ["accentuate", "photo.png", "--target", "fc:3", "--weight", "1", *QUICK],
    ["invert", "photo.png", *LAYERS, *QUICK],
    ["invert", "other/photo.png", "--layer", "norm", *QUICK],
    ["caricature", "photo.png", "--layer", "norm", *QUICK],
    ["caricature", "photo.png", "--layer", "norm", "--power", "2", *QUICK],
    ["style", "photo.png", "art.png", "--content-layer", "norm", "--style-layer", "conv1", *QUICK],
    ["style", "photo.png", "art.png", "--content-layer", "norm", "--style-layer", "relu1", *QUICK],
    ["attribute", "photo.png", "--target", "fc:3", "--method", "saliency,grad-cam"],
    ["attribute", "photo.png", "--target", "fc:2", "--method", "saliency,grad-cam"],
    ["attribute", "other/photo.png", "--target", "fc:3", "--method", "saliency", "--grid"],
    ["attribute", "photo.png", "--target", "fc:3", "--method", "saliency", "--smooth", "2"],
    ["blocks", "photo.png", "--target", "fc:3", "--layer", "norm"],
    ["blocks", "photo.png", "--target", "fc:2", "--layer", "norm"],
    ["blocks", "photo.png", "--target", "fc:3", "--layer", "conv1", "--count", "2"],
]
BESIDE = [  # these write one file, by default into the folder where one is
    ["weights", "conv1"],
    ["weights", "conv1", "--units", "0:2"],
    ["weights", "conv1", "--scale", "0.01"],
    ["components", "norm", "photo.png", "--count", "2"],
    ["components", "norm", "photo.png", "--count", "2", "--method", "pca"],
    ["components", "conv1", "photo.png", "--count", "2"],
]
GROWING = ("grid.png", "manifest.json")
"""A folder's manifest and each layer's sheet hold what the folder holds."""


def contents(folder):
    inside = ("net.py", "__pycache__", "photo.png", "art.png")
    return {
        path: path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name not in inside and path.suffix != ".pyc"
    }


def grows(path):
    return path.name in GROWING and (path.name != "grid.png" or path.parent.name != "out")


@pytest.fixture
def photographs(place):  # noqa: F811
    (place / "other").mkdir()
    save(photograph().flip(2), place / "other" / "photo.png")
    return place


@pytest.mark.slow
def test_nothing_that_is_there_changes(photographs, capsys):
    known = contents(photographs)
    for command in COMMANDS + BESIDE:
        where = [] if command in BESIDE else ["--out", "out"]
        assert main([*command, *NETWORK, *where]) == 0, (command, capsys.readouterr().err)
        found = contents(photographs)
        assert found.keys() >= known.keys()
        changed = [path for path in known if found[path] != known[path] and not grows(path)]
        assert changed == [], f"{command} changed what was there"
        grown = [path for path in known if found[path] != known[path]]
        assert len(grown) <= 3
        if "morph" not in command:
            assert found.keys() > known.keys(), f"{command} wrote nothing"
        # The same again keeps everything as it is, and writes nothing beside.
        capsys.readouterr()
        assert main([*command, *NETWORK, *where]) == 0
        again = contents(photographs)
        kept = {path: content for path, content in again.items() if path.name != "manifest.json"}
        assert kept == {path: found[path] for path in kept}, f"{command} again changed what was there"
        assert again.keys() == found.keys(), f"{command} again wrote files"
        known = again
    told = json.loads((photographs / "out/manifest.json").read_text())
    files = {entry["file"] for entry in told["pictures"]}
    assert len(files) == len(told["pictures"]) == 2 + 1 + 1 + 2 + 2
    assert len(told["recipes"]) >= 3
    # Each sheet of an attribution, each block and each picture of a photograph says in JSON what it is of.
    for path in (photographs / "out").glob("*.json"):
        if not path.name.startswith(("grid", "manifest")):
            assert "photograph" in json.loads(path.read_text()), path

    # Every picture gives itself again, with what it was made of.
    made_of = [part for name in ("art.png", "other/photo.png", "photo.png") for part in ("--start", name)]
    pictures = [path for path in (photographs / "out").rglob("*.png") if is_picture(path)]
    assert len(pictures) == 8 + 6 + 3 + 3 + 2 + 2
    for path in pictures:
        files = made_of if path.parent.name == "out" else []
        assert main(["reproduce", str(path), *NETWORK, *files]) == 0, (path, capsys.readouterr())
        assert "the same bytes" in capsys.readouterr().out


def is_picture(path):
    try:
        fv.load_picture(path)
    except fv.OutputError:
        return False
    return True


def test_a_file_that_was_named_is_not_replaced(photographs, capsys):
    known = photographs / "mine.png"
    assert main(["weights", "conv1", "--out", "mine.png", *NETWORK]) == 0
    before = known.read_bytes()
    assert main(["weights", "conv1", "--out", "mine.png", *NETWORK]) == 0, "the same again is kept"
    capsys.readouterr()
    assert main(["weights", "conv1", "--units", "1", "--out", "mine.png", *NETWORK]) == 2
    *_, line = capsys.readouterr().err.splitlines()
    assert line == "featvis: mine.png is there and holds something else; choose another --out, or remove it"
    assert known.read_bytes() == before
