"""`featvis recipes`: what is listed, printed and told apart is what the recipes' files say."""

import json
import tomllib

import pytest

import featvis as fv
from featvis.cli import main
from featvis.spec.recipe import recipe_files


def said(capsys, *typed):
    assert main(["recipes", *typed]) == 0
    return capsys.readouterr().out


def test_every_recipe_is_listed_on_one_line(capsys):
    lines = said(capsys).splitlines()
    abouts = {name: tomllib.loads(path.read_text())["about"] for name, path in recipe_files().items()}
    assert [line.split(maxsplit=1) for line in lines] == [[name, about] for name, about in abouts.items()]
    assert json.loads(said(capsys, "--json")) == abouts


@pytest.mark.parametrize("name", recipe_files())
def test_what_is_printed_is_that_recipe(name, capsys, tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text(said(capsys, name))
    mine, named = fv.Recipe.load(file), fv.Recipe.load(name)
    assert mine == named
    assert mine.model_fields_set == named.model_fields_set  # lanes that nobody stated stay free
    assert json.loads(said(capsys, str(file), "--json")) == tomllib.loads(file.read_text())


def test_the_difference_of_two_is_what_turns_one_into_the_other(capsys, tmp_path):
    rows = {
        line.split()[0]: line.split()[1:] for line in said(capsys, "portrait", "channel").splitlines()[1:]
    }
    assert rows["steps"] == ["256", "128"]
    assert rows["transforms.noise.power"] == ["3.0", "1.0"]
    assert rows["penalties.rivals.weight"] == ["0.33", "-"]
    assert "size" not in rows
    assert json.loads(said(capsys, "portrait", "channel", "--json")).keys() == rows.keys()

    (tmp_path / "mine.toml").write_text("steps = 12\nsize = [32, 48]\n[space]\nname = 'pixel'\n")
    told = json.loads(said(capsys, "fast", str(tmp_path / "mine.toml"), "--json"))
    assert told["size"] == [[128, 128], [32, 48]]
    assert told["space.name"] == ["fourier", "pixel"]
    assert told["space.exponent"] == [1.2, None]


def test_two_of_one_name_are_told_apart_by_their_places(capsys, tmp_path):
    for name, sd in (("a", 0.1), ("b", 0.2)):
        text = "".join(f"[[transforms]]\nname = 'noise'\nsd = {value}\n" for value in (0.05, sd))
        (tmp_path / f"{name}.toml").write_text(text)
    told = json.loads(said(capsys, str(tmp_path / "a.toml"), str(tmp_path / "b.toml"), "--json"))
    assert told == {"transforms.1.sd": [0.1, 0.2]}


def test_a_recipe_and_itself_say_the_same(capsys):
    assert said(capsys, "fast", "fast") == "fast and fast say the same\n"
    assert said(capsys, "fast", "fast", "--json") == "{}\n"


@pytest.mark.parametrize("typed", [["portait"], ["portrait", "chanel"], ["nowhere.toml"]])
def test_an_unknown_recipe_is_one_line(typed, capsys):
    assert main(["recipes", *typed]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("featvis: ")
