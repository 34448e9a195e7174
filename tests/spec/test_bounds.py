"""Recipes that were read: what they may ask for, and what they cost in words."""

from __future__ import annotations

import json
import os

import pytest

from featvis.errors import BoundsError, RecipeError
from featvis.spec import bounds
from featvis.spec.bounds import cost_of, read_recipe
from featvis.spec.recipe import Recipe, recipe_files


@pytest.mark.parametrize("name", recipe_files())
def test_what_is_shipped_is_within_the_bounds(name, tmp_path):
    recipe = Recipe.load(name)
    assert read_recipe(recipe.to_json(), tmp_path / "x.png") == recipe
    # Also at the size of a large print, and with as many lanes as a GPU likes.
    read_recipe(recipe.but(size=512, lanes=4, stages=()).to_json(), tmp_path / "x.png")
    lanes = 64 // recipe.copies if recipe.space["name"] != "cppn" else 16
    read_recipe(recipe.but(lanes=lanes).to_json(), tmp_path / "x.png")


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"steps": 100_001}, "100001 steps"),
        ({"lanes": 4097, "size": 1}, "4097 lanes"),
        ({"copies": 1025, "size": 1}, "1025 copies"),
        ({"best_of": 5000}, "5000 best of"),
        ({"attempts": 33}, "33 attempts"),
        ({"threads": 100_000}, "100000 threads"),
        ({"size": [1, 9000]}, "9000 pixels long"),
        ({"input_size": [9000, 1]}, "9000 pixels long"),
        ({"size": 2048}, "pixels at every step"),
        ({"size": 64, "input_size": 2048}, "pixels at every step"),
        ({"size": 224, "copies": 64}, "pixels at every step"),
        ({"size": 224, "transforms": [{"name": "multicrop", "crops": 64}]}, "pixels at every step"),
        ({"size": 8, "transforms": [{"name": "multicrop", "crops": 100}] * 2}, "80,000 images at every step"),
        ({"size": 512, "steps": 90_000}, "over all steps"),
        ({"size": 1, "lanes": 1000, "steps": 50_000}, "draws of each transform"),
        ({"space": {"name": "cppn", "width": 4000}}, "pixels at every step"),
        ({"space": {"name": "deep", "depth": 3000}}, "pixels at every step"),
        ({"space": {"name": "pyramid", "levels": "all"}, "size": 500}, "pixels at every step"),
        ({"space": {"name": "mask", "inner": {"name": "cppn", "layers": 10**7}}}, "pixels at every step"),
        ({"space": {"name": "pixel", "deviation": 1e10}}, "option of 1e\\+10"),
        ({"transforms": [{"name": "warp", "scale": 1e-12}]}, "option of 1e-12"),
        ({"penalties": [{"name": "l2", "weight": 1e200}]}, "option of 1e\\+200"),
        ({"transforms": [{"name": "noise"}] * 65}, "65 transforms"),
        ({"stages": [[8, 0.5]] * 65}, "65 stages"),
    ],
)
def test_what_asks_for_too_much_is_refused_and_can_be_allowed(fields, says, tmp_path):
    with pytest.raises(BoundsError, match=rf"x\.png asks for .*{says}.*; unbounded=True allows it"):
        read_recipe(fields, tmp_path / "x.png")
    assert read_recipe(fields, tmp_path / "x.png", unbounded=True) == Recipe(**fields)


def test_what_is_no_recipe_says_so(tmp_path):
    with pytest.raises(RecipeError, match="steps"):
        read_recipe({"steps": "many"}, tmp_path / "x.png")
    nested = json.loads('{"name":"mask","inner":' * 300 + '"pixel"' + "}" * 300)
    with pytest.raises(RecipeError, match="nested too deeply"):
        read_recipe({"space": nested}, tmp_path / "x.png")


def test_files_lie_beside_the_picture_and_are_files(tmp_path):
    folder = tmp_path / "out" / "layer"
    folder.mkdir(parents=True)
    (tmp_path / "elsewhere").write_bytes(b"statistics")
    (folder / "inside").write_bytes(b"statistics")
    (tmp_path / "out" / "above").write_bytes(b"statistics")
    (folder / "link").symlink_to(tmp_path / "elsewhere")
    os.mkfifo(folder / "pipe")

    def read(path, **more):
        space = {"name": "mask", "inner": {"name": "pixel", "statistics": str(path)}}
        return read_recipe({"space": space}, folder / "x.png", **more).space["inner"]["statistics"]

    assert read(folder / "inside").startswith(f"{folder / 'inside'}#sha256:")
    for path in (tmp_path / "elsewhere", folder / "link", folder / ".." / ".." / "elsewhere", "/dev/zero"):
        with pytest.raises(BoundsError, match=r"outside.*unbounded=True allows it"):
            read(path)
    with pytest.raises(RecipeError, match="pipe or device"):
        read(folder / "pipe")
    with pytest.raises(RecipeError, match="pipe or device"):
        read(folder / "pipe", unbounded=True)
    assert read(tmp_path / "elsewhere", unbounded=True)
    with pytest.raises(BoundsError, match="outside"):
        read(tmp_path / "out" / "above")
    (tmp_path / "out" / "manifest.json").write_text("{}")
    assert read(tmp_path / "out" / "above"), "the folder of all pictures is the manifest's"


def test_what_is_typed_is_free(tmp_path):
    assert Recipe(steps=10**9, lanes=10**6, size=10**6).steps == 10**9
    (tmp_path / "r.toml").write_text("steps = 1000000000\nlanes = 1000000")
    assert Recipe.load(tmp_path / "r.toml").lanes == 10**6


def test_the_cost_is_said_in_words():
    crops = [{"name": "multicrop", "crops": 8}]
    recipe = Recipe(size=(96, 128), input_size=64, steps=64, lanes=4, copies=2, transforms=crops, best_of=3)
    assert cost_of(recipe) == (
        "64 steps of 4 lanes at 96x128 pixels, seen at 64x64, 16 passes each, 3 candidates"
    )


def test_every_bound_has_room_for_what_was_measured():
    assert bounds.PIXELS * 330 < 2 << 30
    assert bounds.PIXELS >= 64 * 224 * 224
    assert bounds.MOST["steps"] * 10 > 2560
