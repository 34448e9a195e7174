"""Files that somebody else made, through the commands: what they ask for is bounded, and said first."""

from __future__ import annotations

import json
import shutil

import pytest

import featvis as fv
from featvis.cli import LINE, main
from featvis.cli.output import plain
from featvis.errors import RecipeError
from featvis.spec.recipe import Recipe
from tests.hostile.changes import png_with, text_of

TINY = [
    "render",
    "blocks.0.0:0,3",
    "--size",
    "24",
    "--steps",
    "2",
    "--lanes",
    "2",
    "--threads",
    "1",
    "--out",
    "out",
]


@pytest.fixture(scope="module")
def rendered(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rendered")
    assert main([*TINY[:-1], str(folder / "out")]) == 0
    return folder / "out"


@pytest.fixture
def made(rendered, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(rendered, "out")
    return tmp_path / "out" / "blocks.0.0" / "0000.png"


def asks(png, **fields):
    content = png.read_bytes()
    told = json.loads(text_of(content))
    told["recipe"].update(fields)
    png.write_bytes(png_with(content, json.dumps(told, sort_keys=True)))


def said(capsys):
    lines = capsys.readouterr().err.splitlines()
    return [line for line in lines if line.startswith("featvis: ")], lines


def test_reproduce_says_the_cost_before_it_is_paid(made, capsys):
    assert main(["reproduce", str(made)]) == 0
    assert f"{made} asks for 2 steps of 2 lanes at 24x24 pixels" in said(capsys)[1]


def test_reproduce_refuses_what_costs_too_much_and_says_how_to_allow_it(made, capsys, monkeypatch):
    asks(made, steps=10**9)
    before = sorted(made.parents[1].rglob("*"))
    assert main(["reproduce", str(made), "--out", "again.png"]) == 2
    (line,), lines = said(capsys)
    assert line.endswith("asks for 1000000000 steps, more than 100000; --unbounded allows it")
    assert lines == [line]
    with pytest.raises(RecipeError, match=r"100000; unbounded=True allows it"):
        fv.reproduce(made)
    assert sorted(made.parents[1].rglob("*")) == before
    # Allowed, it is begun: here it would never end.
    from featvis.run import reproduce

    monkeypatch.setattr(reproduce, "compute", lambda *_, **__: iter(()))
    with pytest.raises(StopIteration):
        fv.reproduce(made, unbounded=True)


def test_a_recipe_that_is_within_the_bounds_gives_the_same_bytes(made, capsys):
    assert main(["reproduce", str(made), "--unbounded"]) == 0
    assert main(["reproduce", str(made)]) == 0


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"target": "seeds 0-999999999 of blocks.0.0:0"}, "attempts or lanes"),
        ({"attempt": 400}, "attempts or lanes"),
        ({"target": "blocks.0.0:0@" + "9" * 5000 + ",0"}, "18 digits"),
        ({"layer": "7" * 5000}, "unknown layer '777"),
        ({"layer": "../../etc"}, "unknown layer"),
        ({"unit": 10**20}, "18 digits"),
        ({"status": "odd"}, "damaged"),
    ],
)
def test_reproduce_says_what_is_wrong_in_one_line(made, capsys, fields, says):
    content = made.read_bytes()
    made.write_bytes(png_with(content, json.dumps({**json.loads(text_of(content)), **fields})))
    assert main(["reproduce", str(made)]) == 2
    (line,), _ = said(capsys)
    assert says in line


def test_evaluate_refuses_recipes_that_cost_too_much(made, capsys):
    manifest = made.parents[1] / "manifest.json"
    told = json.loads(manifest.read_text())
    for recipe in told["recipes"].values():
        recipe["steps"] = 10**8
    manifest.write_text(json.dumps(told))
    before = manifest.read_bytes()
    assert main(["evaluate", "out", "--judge", "efficientnet_lite1"]) == 2
    (line,), _ = said(capsys)
    assert "asks for 100000000 steps, more than 100000; --unbounded allows it" in line
    assert manifest.read_bytes() == before
    assert not (made.parents[1] / "evaluation.json").exists()


def test_evaluate_opens_no_file_that_a_recipe_names(made, capsys):
    manifest = made.parents[1] / "manifest.json"
    told = json.loads(manifest.read_text())
    for recipe in told["recipes"].values():
        recipe["space"] = {"name": "pixel", "statistics": "/dev/zero"}
    manifest.write_text(json.dumps(told))
    assert main(["evaluate", "out", "--judge", "efficientnet_lite1"]) == 0


def test_a_folder_keeps_no_number_of_threads_beyond_the_bounds(made, capsys):
    manifest = made.parents[1] / "manifest.json"
    told = json.loads(manifest.read_text())
    # The keys are right: anybody can compute them.
    for entry in told["pictures"]:
        recipe = told["recipes"][entry["recipe"]]
        recipe["threads"] = 10**6
        entry["key"] = Recipe(**recipe).key(entry["target"], entry["seed"], told["weights"])
    manifest.write_text(json.dumps(told))
    place = TINY.index("--threads")
    typed = [*TINY[:place], *TINY[place + 2 :]]
    assert main(typed) == 0
    assert "1000000" not in capsys.readouterr().err
    assert fv.load_picture(made).recipe["threads"] == 1


@pytest.mark.parametrize(
    "setting",
    [
        "learning_rate=nan",
        "learning_rate=inf",
        "penalties=[{name='l2', weight=inf}]",
        "penalties=[{name='l2', weight=nan}]",
        "penalties=[{name='contrast', limit=inf}]",
        "transforms=[{name='warp', scale=[0.5, inf]}]",
        "transforms=[{name='noise', sd=nan}]",
        "transforms=[{name='blur', sigma=[[0.1, nan], [0.2, 0.3]]}]",
        "space={name='pixel', deviation=inf}",
        "space={name='mask', inner={name='pixel', deviation=nan}}",
        "band=nan",
        "gradient_clip=inf",
        "tolerance=nan",
    ],
)
def test_no_number_of_a_recipe_is_infinite_or_none(tmp_path, monkeypatch, capsys, setting):
    monkeypatch.chdir(tmp_path)
    assert main(["render", "blocks.0.0:0", "--set", setting]) == 2
    assert len(said(capsys)[0]) == 1
    (tmp_path / "x.toml").write_text(setting)
    assert main(["render", "blocks.0.0:0", "--recipe", "x.toml"]) == 2
    assert len(said(capsys)[0]) == 1


def test_parts_of_python_take_no_infinity_either():
    for make in (
        lambda: fv.Noise(sd=float("nan")),
        lambda: fv.PixelImage(size=8, deviation=float("inf")),
        lambda: fv.Warp(scale=float("inf")),
        lambda: fv.Recipe(learning_rate=float("inf")),
    ):
        with pytest.raises(RecipeError):
            make()


def test_what_is_printed_moves_no_cursor(made, capsys):
    assert plain("a\x1b[2J\x07b\nc") == "a?[2J?b c"
    content = made.read_bytes()
    told = {**json.loads(text_of(content)), "model": "\x1b[2J\x1b]0;x\x07"}
    made.write_bytes(png_with(content, json.dumps(told)))
    assert main(["reproduce", str(made)]) == 2
    assert "\x1b" not in capsys.readouterr().err


def test_an_error_is_a_line_that_can_be_read(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["render", "blocks.0.0:0", "--set", "x" * 10**5 + "=1"]) == 2
    (line,), lines = said(capsys)
    assert lines == [line]
    assert len(line) < LINE + 100
    assert "--set help lists them" in line


def test_places_that_cannot_be_written_are_one_line(made, capsys, tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder.png").mkdir()
    for place in ("file/x.png", "/proc/none/x.png", "folder.png", "x" * 300 + ".png", "/dev/null/x.png"):
        assert main(["reproduce", str(made), "--out", place]) == 2, place
        (line,), _ = said(capsys)
        assert "cannot write" in line
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder.png", "out"]
