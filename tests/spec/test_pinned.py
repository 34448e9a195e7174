"""Files that recipes name: what they hold counts, at any depth, and goes to processes without the file."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import featvis as fv
from featvis.spec import pinned
from tests.networks import small

SIZE = (17, 24)


@pytest.fixture
def measured(tmp_path):
    path = tmp_path / "mine.safetensors"
    fv.image_statistics([torch.rand(3, 20, 30) for _ in range(3)], size=SIZE, out=path)
    return path


def nested(path):
    return {"name": "clipped", "inner": {"name": "fourier", "statistics": str(path)}}


def key(recipe):
    return recipe.key("a:1", 0, "w")


def test_where_a_file_lies_is_no_part_of_the_key_at_any_depth(measured, tmp_path):
    recipe = fv.Recipe(space=nested(measured))
    moved = tmp_path / "moved.safetensors"
    moved.write_bytes(measured.read_bytes())
    assert key(fv.Recipe(space=nested(moved))) == key(recipe)
    measured.unlink()
    fv.image_statistics([torch.rand(3, 20, 30)], size=SIZE, out=measured)
    assert key(fv.Recipe(space=nested(measured))) != key(recipe)


def test_a_recipes_file_finds_them_beside_it_at_any_depth(measured, tmp_path, monkeypatch):
    monkeypatch.chdir("/")
    file = tmp_path / "recipe.toml"
    file.write_text(
        "size = [17, 24]\n[space]\nname = 'clipped'\n"
        "inner = {name = 'fourier', statistics = 'mine.safetensors'}\n"
    )
    assert key(fv.Recipe.load(str(file))) == key(fv.Recipe(size=SIZE, space=nested(measured)))


ELSEWHERE = """
import pickle, sys
import featvis as fv
from featvis.spec import pinned
from tests.networks import small

fields, contents = pickle.load(open(sys.argv[1], "rb"))
if len(sys.argv) == 3:
    pinned.take_contents(contents)
(picture,) = fv.render(small(), "norm:1", recipe=fv.Recipe(**fields))
sys.stdout.buffer.write(picture.png())
"""


def test_what_they_hold_takes_the_place_of_the_file_in_another_process(measured, tmp_path):
    import pickle

    recipe = fv.Recipe(space=nested(measured), size=SIZE, steps=2, lanes=1, threads=1)
    (here,) = fv.render(small(), "norm:1", recipe=recipe)
    contents = pinned.contents_of([recipe.to_json()])
    assert list(contents.values()) == [measured.read_bytes()]
    (tmp_path / "sent").write_bytes(pickle.dumps((recipe.to_json(), contents)))
    measured.unlink()
    (tmp_path / "temporary").mkdir()
    places = {"PYTHONPATH": str(Path(fv.__file__).parents[1]), "TMPDIR": str(tmp_path / "temporary")}
    command = [sys.executable, "-c", ELSEWHERE, str(tmp_path / "sent")]

    def run(*more):
        environment = {**os.environ, **places}
        return subprocess.run([*command, *more], capture_output=True, env=environment, cwd=tmp_path)

    made = run("with")
    assert made.stdout == here.png(), made.stderr.decode()
    assert not list((tmp_path / "temporary").iterdir())
    assert b"cannot be read" in run().stderr


def test_a_file_that_changes_after_it_was_named_is_not_sent(measured):
    told = fv.Recipe(space=nested(measured)).to_json()
    measured.write_bytes(measured.read_bytes() + b" ")
    with pytest.raises(fv.RecipeError, match="holds other statistics than those the recipe was made with"):
        pinned.contents_of(told)
    measured.unlink()
    with pytest.raises(fv.RecipeError, match="cannot be read"):
        pinned.contents_of(told)
