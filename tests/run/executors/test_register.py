"""Executors by name: the same pictures by each, a wrong name refused before any compute."""

from __future__ import annotations

import json

import pytest

import featvis as fv
from featvis.cli import main
from featvis.run.executors import register
from tests.networks import small

OPTIONS = {"size": (17, 24), "steps": 3, "lanes": 2}


@pytest.mark.parametrize("name", list(register.executors()))
def test_every_executor_gives_the_same_pictures(name):
    expected = [picture.png() for picture in fv.render(small(), "norm:0:3", executor="local", **OPTIONS)]
    pictures = fv.render(small(), "norm:0:3", executor=name, best_of=2, **OPTIONS)
    assert [picture.target for picture in pictures] == ["norm:0", "norm:1", "norm:2"]
    assert [len(picture.candidates) for picture in pictures] == [2, 2, 2], "the best of each is chosen"
    assert [picture.png() for picture in fv.render(small(), "norm:0:3", executor=name, **OPTIONS)] == expected


def test_a_wrong_name_is_refused_with_the_nearest():
    with pytest.raises(fv.RecipeError, match="did you mean 'devices'"):
        fv.render(small(), "norm:0", executor="device", **OPTIONS)


@pytest.mark.usefixtures("embedded_once")
def test_the_command_line_takes_one(tmp_path, capsys):
    command = ["render", "blocks.1:0", "--size", "32", "--steps", "1", "--lanes", "8"]
    command += ["--out", str(tmp_path / "a")]
    assert main([*command, "--executor", "cluster"]) == 2
    assert "executors: devices, local" in capsys.readouterr().err
    assert not (tmp_path / "a").exists()
    assert main([*command, "--executor", "local"]) == 0
    config = tmp_path / "few.toml"
    config.write_text('[recipe]\nsize = 32\nsteps = 1\n[[sections]]\ntargets = ["blocks.1:0"]\n')
    build = ["gallery", "build", str(config), "--out", str(tmp_path / "b")]
    assert main([*build, "--executor", "clusters"]) == 2
    assert main([*build, "--executor", "local"]) == 0
    keys = [
        json.loads((tmp_path / name / "manifest.json").read_text())["pictures"][0]["key"] for name in "ab"
    ]
    assert keys[0] == keys[1], "an executor is no part of a recipe"
