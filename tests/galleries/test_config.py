"""A gallery's config: read, checked in one line, without torch."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from featvis.errors import RecipeError, TargetError, UserError
from featvis.galleries.build import load_network
from featvis.galleries.config import Gallery, load_gallery, make_schema
from featvis.galleries.request import make_request
from tests.galleries.planted import HEAD, section, write_config

REPOSITORY = Path(__file__).resolve().parents[2]
CONFIGS = sorted((REPOSITORY / "configs" / "galleries").glob("*.toml"))

SMALLEST = """
model = "efficientnet_lite0"
[recipe]
size = 64
steps = 12
[[sections]]
title = "Middle"
targets = ["blocks.2:0:24", "blocks.4:0:24"]
"""


def read(tmp_path, text):
    path = tmp_path / "gallery.toml"
    path.write_text(text, "utf-8")
    return load_gallery(path)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_config_of_the_repository_loads(path):
    gallery = load_gallery(path)
    assert gallery.title
    assert all(one.title and one.targets for one in gallery.sections)


def test_the_configs_are_those_that_the_readme_names():
    assert {path.stem for path in CONFIGS} >= {"vgg16", "lite0", "small"}


def test_the_command_says_what_was_given(tmp_path):
    config = write_config(tmp_path, section(["conv1:0"]))
    assert make_request(config, "out").command == f"featvis gallery build {config} --out out"
    told = make_request(config, "my out", weights="none", examples=tmp_path).command
    assert told == f"featvis gallery build {config} --out 'my out' --weights none --examples {tmp_path}"


@pytest.mark.parametrize(
    ("said", "found"), [("", (16, 20)), ("input_size = 24", (24, 24)), ("input_size = [12, 10]", (12, 10))]
)
def test_a_config_says_the_networks_own_size(tmp_path, said, found):
    config = write_config(tmp_path, section(["conv1:0"]), head=HEAD + said + "\n")
    assert load_network(make_request(config, tmp_path / "out"), "cpu").input_size == found


def test_the_smallest_form(tmp_path):
    gallery = read(tmp_path, SMALLEST)
    assert gallery.recipe_of(gallery.sections[0]) == (None, {"size": 64, "steps": 12})
    assert gallery.sections[0].variants == ("picture",)
    assert (gallery.seed, gallery.seeds, gallery.examples) == (0, 1, None)


def test_a_sections_recipe_is_laid_over_the_gallerys(tmp_path):
    text = (
        SMALLEST
        + 'recipe = { base = "portrait", steps = 5 }\n[[sections]]\ntargets = ["a"]\nrecipe = "fast"\n'
    )
    gallery = read(tmp_path, text)
    assert gallery.recipe_of(gallery.sections[0]) == ("portrait", {"size": 64, "steps": 5})
    assert gallery.recipe_of(gallery.sections[1]) == ("fast", {"size": 64, "steps": 12})


def test_a_recipes_file_lies_beside_the_config(tmp_path):
    (tmp_path / "mine.toml").write_text("steps = 7")
    gallery = read(tmp_path, 'recipe = "mine.toml"\n[[sections]]\ntargets = ["a"]')
    assert gallery.recipe_of(gallery.sections[0])[0] == str(tmp_path / "mine.toml")


S = '[[sections]]\ntargets = ["a:0"]\n'
BAD = {
    # what the file holds: what the line must say
    "not TOML": ("model = = 3", "does not read as TOML"),
    "no sections": ('model = "x"', "sections is missing"),
    "empty sections": ("sections = []", "at least one [[sections]]"),
    "key": ("titel = 'x'\n" + S, "'title'"),
    "section's key": (S + "target = 3\n", "section 1: unknown key 'target'; did you mean 'targets'"),
    "second section's key": (
        S + S + "varaints = []\n",
        "section 2: unknown key 'varaints'; did you mean 'variants'",
    ),
    "no targets": ("[[sections]]\ntitle = 'x'\n", "section 1: targets is missing"),
    "empty targets": ("[[sections]]\ntargets = []\n", "at least one"),
    "targets as text": (
        '[[sections]]\ntargets = "a:0"\n',
        """section 1: targets: input should be a list: ["a:0"], got 'a:0'""",
    ),
    "targets as a table": ("[[sections]]\ntargets = {a = 0}\n", "targets: input should be a list, got"),
    "a section as text": ("sections = ['a:0']\n", "section 1: input should be a table, got 'a:0'"),
    "recipe as a list": ("recipe = [3]\n" + S, "recipe: input should be a table, got [3]"),
    "three sides of a recipe": ("[recipe]\nsize = [1, 2, 3]\n" + S, "size: list should have at most 2 items"),
    "of two kinds neither": (
        "unit_axis = 'x'\n" + S,
        "unit_axis: input should be a valid integer or a table, got 'x'",
    ),
    "of two kinds, inside one": (
        "unit_axis = {a = 'x'}\n" + S,
        "unit_axis.a: input should be a valid integer",
    ),
    "executor": ("executor = 3\n" + S, "executor: input should be a valid string or a table, got 3"),
    "examples as text": ("examples = 'x'\n" + S, "examples: input should be a table, got 'x'"),
    "address": ('[[sections]]\ntargets = ["blocks.3:"]\n', "names no units"),
    "range": ('[[sections]]\ntargets = ["blocks.3:8:2"]\n', "holds no unit"),
    "position": ('[[sections]]\ntargets = ["blocks.3:8@x"]\n', "ROW,COLUMN"),
    "variant": (S + 'variants = ["twins"]\n', "section 1: variants"),
    "no variant": (S + "variants = []\n", "picture, negative"),
    "seeds": (S + "seeds = 0\n", "section 1: seeds"),
    "seed": ("seed = -1\n" + S, "seed"),
    "mean": ("mean = 'grey'\n" + S, "mean"),
    "input_size": ("input_size = 0\n" + S, "input_size is one side or [height, width], in pixels"),
    "input_size is text": ("input_size = '224'\n" + S, "got '224'"),
    "input_size is a truth": ("input_size = true\n" + S, "got True"),
    "three sides": ("input_size = [3, 224, 224]\n" + S, "got [3, 224, 224]"),
    "no side": ("input_size = []\n" + S, "got []"),
    "half a side": ("input_size = [16, 20.5]\n" + S, "got [16, 20.5]"),
    "recipe's key": ("[recipe]\nstepz = 3\n" + S, "did you mean 'steps'"),
    "recipe's value": ("[recipe]\nsteps = 0\n" + S, "steps"),
    "recipe's name": ("recipe = 'portait'\n" + S, "did you mean 'portrait'"),
    "recipe's base": ("[recipe]\nbase = 'portait'\n" + S, "did you mean 'portrait'"),
    "recipe's base is a number": ("[recipe]\nbase = 3\n" + S, "base is a recipe's name"),
    "section's recipe": (S + "recipe = { size = 0 }\n", "section 1: recipe"),
    "recipe's part": ("[recipe]\nspace = { name = 'fourrier' }\n" + S, "did you mean 'fourier'"),
    "examples' key": (
        S + "[examples]\nfoler = 'x'\n",
        "examples: unknown key 'foler'; did you mean 'folder'",
    ),
    "examples' count": (S + "[examples]\ncount = 0\n", "examples: count"),
}


@pytest.mark.parametrize("name", BAD)
def test_mistakes_are_said_in_one_line(tmp_path, name):
    text, told = BAD[name]
    with pytest.raises(UserError) as caught:
        read(tmp_path, text)
    assert isinstance(caught.value, RecipeError | TargetError)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not re.search("tuple|dict|NoneType|instance of", str(caught.value).removeprefix(str(tmp_path)))
    assert str(caught.value).startswith(str(tmp_path / "gallery.toml")), "which file it is about"


def test_the_schema_tells_every_key():
    schema = json.loads(make_schema())
    assert set(schema["properties"]) == set(Gallery.model_fields)
    assert "targets" in schema["$defs"]["Section"]["properties"]
    recipe = schema["properties"]["recipe"]["anyOf"]
    assert {"base", "steps", "size", "space"} <= set(recipe[1]["properties"])


COMMANDS = {
    # what is typed: the exit code, what is said
    "schema": (["schema"], 0, '"sections"'),
    "no config": (["build", "nowhere.toml"], 2, "nowhere.toml"),
    "damaged config": (["build", "broken.toml"], 2, "TOML"),
    "unknown key": (["build", "key.toml"], 2, "did you mean 'title'"),
    "limit": (["build", "good.toml", "--limit", "0"], 2, "--limit"),
    "no photographs": (["build", "good.toml", "--examples", "nowhere"], 2, "nowhere"),
    "no weights": (["build", "good.toml", "--weights", "nowhere.pt"], 2, "nowhere.pt"),
    "out is a file": (["build", "good.toml", "--out", "key.toml"], 2, "is a file"),
    "no network file": (["build", "file.toml"], 2, "net.py"),
    "status of nothing": (["status", "nowhere"], 2, "nowhere"),
    "status of an empty folder": (["status", "."], 2, "no pictures"),
    "pages of nothing": (["pages", "nowhere"], 2, "nowhere"),
    "export of nothing": (["export", "nowhere", "--zip", "x.zip"], 2, "nowhere"),
    "export without pages": (["export", ".", "--zip", "x.zip"], 2, "index.html"),
    "export without a name": (["export", "."], 2, "--zip"),
}

PROBE = """
import json, sys
from featvis.cli import main
for typed in json.load(sys.stdin):
    print("code", main(["gallery", *typed]), "torch" in sys.modules)
    print("featvis end", file=sys.stderr)
"""


def test_every_mistake_and_every_answer_without_a_network_loads_no_torch(tmp_path):
    write_config(tmp_path, section(["conv1:0"]), head='model = "file:net.py:make"\n').rename(
        tmp_path / "good.toml"
    )
    (tmp_path / "broken.toml").write_text("a = = 1")
    (tmp_path / "key.toml").write_text("titel = 'x'\n" + S)
    (tmp_path / "file.toml").write_text('model = "file:gone/net.py:make"\n' + S)
    before = sorted(path.name for path in tmp_path.iterdir())
    typed = json.dumps([arguments for arguments, _, _ in COMMANDS.values()])
    told = subprocess.run(
        [sys.executable, "-c", PROBE],
        input=typed,
        cwd=tmp_path,
        env={"PYTHONPATH": str(REPOSITORY), "PATH": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    codes = [line.split() for line in told.stdout.splitlines() if line.startswith("code")]
    errors = told.stderr.split("featvis end\n")
    for (name, (_, code, said)), got, error in zip(COMMANDS.items(), codes, errors, strict=False):
        assert got == ["code", str(code), "False"], (name, error)
        if code:
            assert said in error, name
            assert error.count("\n") == 1, (name, error)
    assert '"sections"' in told.stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == before, "nothing is left behind"


def test_patterns_fit_as_they_say_in_bounded_time():
    import time

    from featvis.galleries.plan import _PARTS, _fits

    names = ["", "a", "blocks.1", "blocks.1.0", "blocks.10.conv", "a.xab", "layer.a", "aab"]
    words = {"**": ".*", "*": r"[^.]*", "?": "[^.]"}
    for pattern in (
        "*",
        "**",
        "?",
        "blocks.*",
        "blocks.**",
        "blocks.?",
        "*.1",
        "**a*b",
        "*a**b",
        "bl**1*",
        "a?b",
        "??",
    ):
        regex = re.compile("".join(words.get(part, re.escape(part)) for part in _PARTS.findall(pattern)))
        for name in names:
            assert _fits(_PARTS.findall(pattern), name) == bool(regex.fullmatch(name)), (pattern, name)
    began = time.process_time()
    for pattern in ("**a" * 40 + "b", "*" * 10**4 + "z", "*?" * 500 + "z"):
        assert not _fits(_PARTS.findall(pattern), "blocks.aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.conv")
    assert time.process_time() - began < 2


def test_our_configs_go_by_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    request = make_request("small", "out")
    assert request.gallery == load_gallery(REPOSITORY / "configs/galleries/small.toml")
    assert request.command == "featvis gallery build small --out out"
    (tmp_path / "small").write_text('[[sections]]\ntitle = "mine"\ntargets = ["blocks.1:0"]\n')
    assert load_gallery("small").sections[0].title == "mine"  # a file of one's own goes first
    with pytest.raises(RecipeError, match=r"unknown gallery config 'smal'; did you mean 'small'"):
        load_gallery("smal")
    with pytest.raises(RecipeError, match=r"'gone/small.toml' is not there; named configs: .*tour"):
        load_gallery("gone/small.toml")


def test_signals_and_videos_are_said_in_a_config(tmp_path):
    (tmp_path / "net.py").write_text(
        "from torch import nn\n"
        "def ears(): return nn.Conv1d(1, 4, 9), dict(mean=(.5,), std=(.5,), input_size=64)\n"
        "def eyes(): return nn.Conv3d(3, 4, 3), dict(mean=(.5,) * 3, std=(.5,) * 3, input_size=16)\n"
    )
    path = tmp_path / "gallery.toml"
    for function, told, found in (
        ("ears", "sample_rate = 8000", (True, 8000, None)),
        ("eyes", "frames = 6", (False, None, 6)),
    ):
        path.write_text(f'model = "file:net.py:{function}"\n{told}\n[[sections]]\ntargets = ["x:0"]\n')
        model = load_network(make_request(path), "cpu")
        assert (model.signal, model.sample_rate, model.frames) == found
