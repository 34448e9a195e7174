"""Recipes: read, checked, written, keyed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import featvis as fv
from featvis.spec.recipe import recipe_files

REPOSITORY = Path(__file__).resolve().parents[2]

CHANGES = {
    "size": (17, 24),
    "input_size": (32, 48),
    "stages": [[(17, 24), 0.5]],
    "steps": 9,
    "space": {"name": "fourier", "exponent": 0.9},
    "transforms": [{"name": "noise", "sd": 0.1}],
    "penalties": [{"name": "l2", "weight": 0.3}],
    "optimizer": "nadam",
    "learning_rate": 0.021,
    "momentum": 0.8,
    "second_momentum": 0.98,
    "schedule": "cosine",
    "patience": 5,
    "tolerance": 0.02,
    "redirect_steps": 3,
    "attempts": 2,
    "copies": 2,
    "hold": 4,
    "average": 0.9,
    "gradient_norm": 1.0,
    "gradient_clip": 1.0,
    "pool_gradients": "l2",
    "residual_gradients": 0.5,
    "band": [1.0, 2.0],
    "best_of": 4,
    "lanes": 3,
    "precision": "bfloat16",
    "threads": 2,
    "start": "sha256:abc",
}


def test_every_field_of_a_recipe_has_a_change_below():
    assert set(CHANGES) == set(fv.Recipe.model_fields)


def key(recipe, target="layer:1", seed=0, weights="w"):
    return recipe.key(target, seed, weights)


@pytest.mark.parametrize("field", CHANGES)
def test_the_key_changes_with_every_field(field):
    changed = fv.Recipe(**{field: CHANGES[field]})
    assert key(changed) != key(fv.Recipe())
    assert key(fv.Recipe(**changed.to_json())) == key(changed), "and round-trips"
    assert fv.Recipe(**json.loads(json.dumps(changed.to_json()))) == changed


@pytest.mark.parametrize("other", [{"target": "layer:2"}, {"seed": 1}, {"weights": "v"}])
def test_the_key_changes_with_target_seed_and_weights(other):
    assert key(fv.Recipe(), **other) != key(fv.Recipe())


def test_the_key_changes_with_featvis_own_picture_version(monkeypatch):
    before = key(fv.Recipe())
    monkeypatch.setattr("featvis.spec.recipe.PICTURE_VERSION", 999)
    assert key(fv.Recipe()) != before


@pytest.mark.parametrize("option", ["exponent", "deviation", "decorrelate"])
def test_the_key_changes_with_every_option_of_a_part(option):
    space = fv.Recipe().space
    other = {**space, option: not space[option] if option == "decorrelate" else space[option] * 2}
    assert key(fv.Recipe(space=other)) != key(fv.Recipe())


def test_the_key_does_not_depend_on_the_order_of_tables_or_on_how_a_value_is_written():
    one = fv.Recipe(space={"name": "fourier", "exponent": 1.0, "deviation": 0.02}, size=64, penalties=["l1"])
    other = fv.Recipe(
        penalties=[{"weight": 1, "name": "l1"}],
        size="64x64",
        space={"deviation": 0.02, "exponent": 1, "name": "fourier"},
    )
    assert key(one) == key(other)
    defaults = fv.Recipe(space={"name": "fourier", "decorrelate": True})
    assert key(defaults) == key(fv.Recipe()), "a default that is written out changes nothing"
    assert key(fv.Recipe(transforms=[{"name": "noise", "sd": 0.2}])) == key(
        fv.Recipe(transforms=[{"name": "noise", "sd": [0.2, 0.2]}])
    )


@pytest.mark.parametrize("hash_seed", ["0", "1", "77"])
def test_the_key_is_the_same_in_every_process(hash_seed):
    code = (
        "import featvis as fv; r = fv.Recipe(penalties=['l1', {'name': 'l2', 'weight': .5}], size=(17, 24));"
        "print(r.key('a:1', 3, 'w'))"
    )
    told = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONHASHSEED": hash_seed, "PATH": ""},
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    mine = fv.Recipe(penalties=["l1", {"name": "l2", "weight": 0.5}], size=(17, 24)).key("a:1", 3, "w")
    assert told.stdout.strip() == mine


def test_but_changes_what_is_said_and_checks_it_anew():
    recipe = fv.Recipe(steps=7)
    changed = recipe.but(lanes=3, size=None)
    assert (changed.steps, changed.lanes, changed.size) == (7, 3, (224, 224))
    assert recipe.lanes == fv.Recipe().lanes, "the first is as it was"
    with pytest.raises(fv.RecipeError):
        recipe.but(steps=0)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"step": 3}, "unknown key 'step'; did you mean 'steps'"),
        ({"learning_rat": 3}, "did you mean 'learning_rate'"),
        ({"banana": 3}, "keys: size"),
        ({"steps": -3}, "steps"),
        ({"steps": 0}, "steps"),
        ({"steps": "many"}, "steps"),
        ({"steps": 1.5}, "steps"),
        ({"size": (0, 4)}, "size"),
        ({"size": (4, 4, 4)}, "size"),
        ({"size": "4xfour"}, "size"),
        ({"lanes": 0}, "lanes"),
        ({"learning_rate": 0}, "learning_rate"),
        ({"learning_rate": "fast"}, "learning_rate"),
        ({"momentum": 1.0}, "momentum"),
        ({"optimizer": "adm"}, "'adam'"),
        ({"schedule": "cosin"}, "'cosine'"),
        ({"precision": "float16"}, "bfloat16"),
        ({"space": "forier"}, "unknown image space 'forier'; did you mean 'fourier'"),
        ({"space": {"name": "fourier", "exponnent": 1}}, "did you mean 'exponent'"),
        ({"space": {"name": "fourier", "exponent": -1}}, "exponent"),
        ({"space": {"exponent": 1}}, "a table with a name"),
        ({"space": 3}, "a table with a name"),
        ({"transforms": "warp"}, "list of tables"),
        ({"transforms": [{"name": "wrap"}]}, "did you mean 'warp'"),
        ({"transforms": [{"name": "warp", "scales": 1}]}, "did you mean 'scale'"),
        ({"transforms": [{"name": "warp", "pad": "black"}]}, "'reflect'"),
        ({"transforms": [{"name": "noise", "sd": [0.1, 0.2, 0.3]}]}, "sd"),
        ({"penalties": [{"name": "l3"}]}, "unknown objective 'l3'"),
        ({"penalties": [{"name": "l2", "weight": "heavy"}]}, "weight"),
        ({"penalties": [{"name": "l2", "weight": -1}]}, "weight"),
        ({"penalties": [{"name": "l2", "wieght": 1}]}, "wieght"),
    ],
    ids=str,
)
def test_a_mistake_is_one_line_that_names_the_right_thing(given, says):
    with pytest.raises(fv.RecipeError) as caught:
        fv.Recipe(**given)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "path", sorted((REPOSITORY / "configs" / "recipes").glob("*.toml")), ids=lambda p: p.stem
)
def test_every_recipe_in_configs_loads_and_round_trips(path):
    recipe = fv.Recipe.load(path.stem)
    assert recipe == fv.Recipe.load(path) == fv.Recipe(**recipe.to_json())
    assert recipe_files()[path.stem] == path


def test_the_named_recipes_are_there():
    assert {"portrait", "channel"} <= set(recipe_files())


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("steps = ", "TOML"),
        ("stebs = 3", "did you mean 'steps'"),
        ("[space]\nname = 'pixle'", "'pixel'"),
        ("\0", "TOML"),
    ],
)
def test_a_recipe_file_with_a_mistake_says_it(text, says, tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(fv.RecipeError, match=says):
        fv.Recipe.load(path)


@pytest.mark.parametrize("name", ["portait", "nothing", "absent.toml", "folder/absent.toml"])
def test_a_recipe_that_is_not_there_names_those_that_are(name):
    with pytest.raises(fv.RecipeError, match="portrait"):
        fv.Recipe.load(name)


def test_run_options_are_no_part_of_a_recipe():
    assert not set(fv.RunOptions.model_fields) & set(fv.Recipe.model_fields)
    with pytest.raises(fv.RecipeError, match="unknown option 'devise'"):
        fv.RunOptions(devise="cpu")


def test_a_file_tells_what_differs_from_its_base(tmp_path):
    (tmp_path / "deeper").mkdir()
    (tmp_path / "first.toml").write_text('base = "portrait"\nsteps = 9\n')
    (tmp_path / "deeper/second.toml").write_text('about = "x"\nbase = "../first.toml"\nlearning_rate = 0.5\n')
    second = fv.Recipe.load(tmp_path / "deeper/second.toml")
    assert second == fv.Recipe.load("portrait").but(steps=9, learning_rate=0.5)
    assert fv.Recipe.load({"base": str(tmp_path / "first.toml"), "steps": 3}).steps == 3


@pytest.mark.parametrize(
    ("base", "says"),
    [
        ('"portait"', "did you mean 'portrait'"),
        ('"other.toml"', "the file itself"),
        ('"mine.toml"', "the file itself"),
        ('"none.toml"', "no recipe file"),
        ("3", "base is the name"),
        ('["portrait"]', "base is the name"),
    ],
)
def test_a_base_that_is_none_says_it(tmp_path, monkeypatch, base, says):
    (tmp_path / "mine.toml").write_text(f"base = {base}\n")
    (tmp_path / "other.toml").write_text('base = "mine.toml"\n')
    with pytest.raises(fv.RecipeError, match=says):
        fv.Recipe.load(tmp_path / "mine.toml")


def test_reading_a_request_loads_no_torch():
    code = """
import sys
import featvis, featvis.errors, featvis.spec.options, featvis.spec.target
import featvis.spec.register, featvis.spec.recipe
from featvis.spec.recipe import Recipe, RunOptions
from featvis.spec.target import expand, parse_request
Recipe.load("portrait").but(steps=3, space="pixel", penalties=["batchnorm"]).key("a:1", 0, "w")
expand(parse_request("a:0:3"), 8)
try:
    Recipe(transforms=[{"name": "wrap"}])
except featvis.RecipeError as error:
    assert "warp" in str(error)
heavy = [name for name in ("torch", "torchvision", "timm", "numpy", "PIL") if name in sys.modules]
print(heavy)
"""
    told = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert told.stdout.strip() == "[]"
