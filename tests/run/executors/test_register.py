"""Executors by name: the same pictures by each, a wrong name refused before any compute."""

from __future__ import annotations

import json

import pytest

import featvis as fv
from featvis.cli import main
from featvis.run.executors import register
from featvis.run.executors.local import local
from featvis.spec.options import AtLeastOne, Positive
from tests.networks import small

OPTIONS = {"size": (17, 24), "steps": 3, "lanes": 2}


HERE = [name for name, entry in register.executors().items() if not entry.remote and not entry.galleries]


@pytest.mark.parametrize("name", HERE)
def test_every_executor_gives_the_same_pictures(name):
    expected = [picture.png() for picture in fv.render(small(), "norm:0:3", executor="local", **OPTIONS)]
    pictures = fv.render(small(), "norm:0:3", executor=name, best_of=2, **OPTIONS)
    assert [picture.target for picture in pictures] == ["norm:0", "norm:1", "norm:2"]
    assert [len(picture.candidates) for picture in pictures] == [2, 2, 2], "the best of each is chosen"
    assert [picture.png() for picture in fv.render(small(), "norm:0:3", executor=name, **OPTIONS)] == expected


def test_a_wrong_name_is_refused_with_the_nearest():
    with pytest.raises(fv.RecipeError, match="did you mean 'devices'"):
        fv.render(small(), "norm:0", executor="device", **OPTIONS)


def test_options_stand_behind_a_colon_in_a_table_or_beside_the_name():
    asked = [
        register.choose_executor("clouds:workers=4,share=0.5"),
        register.choose_executor({"name": "clouds", "workers": 4, "share": 0.5}),
        register.choose_executor("clouds", {"workers": 4, "share": 0.5}),
        register.choose_executor("clouds:share=0.5", {"workers": "4"}),
    ]
    assert all(one == asked[0] for one in asked)
    assert dict(asked[0].options) == {"workers": 4, "share": 0.5}, "those that were given, as they are meant"
    assert asked[0].entry.own == {"workers": None, "share": 1.0, "address": None}
    assert dict(register.choose_executor("clouds:address=here:6379").options) == {"address": "here:6379"}


@pytest.mark.parametrize(
    ("asked", "options", "why"),
    [
        ("clouds:worker=4", None, "executor 'clouds': unknown option 'worker'; did you mean 'workers'"),
        ("clouds", {"watch": None}, "unknown option 'watch'; options: workers, share, address"),
        ("clouds:workers=0", None, "workers: input should be greater than or equal to 1, got '0'"),
        ("clouds:workers=many", None, "workers: input should be a valid integer"),
        ("clouds", {"share": float("inf")}, "share: input should be a finite number"),
        ("clouds:workers", None, "an option is written NAME=VALUE"),
        ("clouds:", None, "an option is written NAME=VALUE"),
        ("clouds:workers=1,workers=2", None, "'workers' is given twice"),
        ("local:workers=2", None, "executor 'local': unknown option 'workers'; it has no options"),
        ({"workers": 2}, None, "an executor's table has its name"),
        (4, None, "an executor is named"),
        ("heavens", None, "executor 'heavens' needs no_such_package, which is not installed"),
    ],
)
def test_options_are_checked_before_anything_is_imported(asked, options, why):
    with pytest.raises(fv.RecipeError, match=why):
        register.choose_executor(asked, options)


def test_an_executor_gets_its_options():
    fv.render(small(), "norm:0", executor="clouds:workers=3", executor_options={"share": 0.25}, **OPTIONS)
    assert seen == [{"workers": 3, "share": 0.25, "address": None}]
    seen.clear()


def test_steps_that_are_taken_elsewhere_cannot_be_watched():
    with pytest.raises(fv.RecipeError, match="watch needs the steps, which executor 'clouds' takes in other"):
        fv.render(small(), "norm:0", executor="clouds", watch=lambda step: None, **OPTIONS)


seen = []


@pytest.fixture(autouse=True)
def clouds(monkeypatch):
    """Two executors that the tests enter."""
    monkeypatch.setattr(register.REGISTER, "_made", dict(register.REGISTER._made))

    @register.executor("clouds", about="high up", remote=True)
    def clouds(
        wanted,
        model,
        weights,
        *,
        watch=None,
        say=None,
        failed=None,
        workers: AtLeastOne | None = None,
        share: Positive = 1.0,
        address: str | None = None,
    ):
        seen.append({"workers": workers, "share": share, "address": address})
        yield from local(wanted, model, weights)

    @register.executor("heavens", about="higher", needs="no_such_package")
    def heavens(wanted, model, weights, *, watch=None, say=None, failed=None):
        yield from ()


@pytest.mark.usefixtures("embedded_once")
def test_the_command_line_takes_one(tmp_path, capsys):
    command = ["render", "blocks.1:0", "--size", "32", "--steps", "1", "--lanes", "8"]
    command += ["--out", str(tmp_path / "a")]
    assert main([*command, "--executor", "cluster"]) == 2
    assert "executors: devices, local, ray" in capsys.readouterr().err
    assert not (tmp_path / "a").exists()
    assert main([*command, "--executor", "local"]) == 0
    config = tmp_path / "few.toml"
    config.write_text('[recipe]\nsize = 32\nsteps = 1\n[[sections]]\ntargets = ["blocks.1:0"]\n')
    build = ["gallery", "build", str(config), "--out", str(tmp_path / "b")]
    assert main([*build, "--executor", "clusters"]) == 2
    config.write_text('executor = "cloud"\n' + config.read_text())
    assert main(build) == 2, "the config's is taken where none is given"
    assert "unknown executor 'cloud'" in capsys.readouterr().err
    assert main([*build, "--executor", "local"]) == 0
    keys = [
        json.loads((tmp_path / name / "manifest.json").read_text())["pictures"][0]["key"] for name in "ab"
    ]
    assert keys[0] == keys[1], "an executor is no part of a recipe"
