"""What people type that is not quite right: the nearest right thing is said, or done."""

from __future__ import annotations

import pytest

import featvis as fv
from featvis.cli import main
from tests.networks import small

NAMES = ("tabby cat", "zebra", "plastic bag, bag", "red fox, fox", "kit fox, fox")
FEW = {"size": (17, 24), "steps": 2, "lanes": 1}


@pytest.fixture(scope="module")
def model():
    return small(labels=NAMES)


def brightest(activations):
    return activations["fc"].amax(1)


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("zebra", "'zebra' is a class, no layer; write 'fc:zebra'"),
        ("Tabby cat", "write 'fc:Tabby cat'"),
        ("fox", "write 'fc:fox'"),
        (("conv2", 5), "one target is one text: 'conv2:5', not ('conv2', 5)"),
        (("conv2", [1, 3]), "'conv2:1,3'"),
        (("conv2", range(0, 8, 2)), "'conv2:0:8:2'"),
        ([("conv2", 5), ("fc", 1)], "one text each: 'conv2:5', not ('conv2', 5)"),
        ("conv2:0-7", "a range is FIRST:END, END not included: conv2:0:8"),
        ("fc:0-3", "fc:0:4"),
        ("fc:1..3", "fc:1:4"),
        (brightest, "got the function brightest; say which layers it reads by @fv.objective(layers=[…])"),
        ([brightest], "fv.objective(layers=[…])(brightest)"),
        (fv.Warp(), "transforms=[…]"),
        (5, "got int"),
    ],
)
def test_a_target_that_is_none(model, target, words):
    with pytest.raises(fv.TargetError) as error:
        fv.render(model, target, **FEW)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_the_function_with_its_layers_named_is_climbed(model):
    (picture,) = fv.render(model, fv.objective(layers=["fc"])(brightest), **FEW)
    assert picture.score


def test_a_class_that_is_called_like_a_range():
    ages = small(labels=("0-2", "3-9", "10-19", "20-39", "40-99"))
    (picture,) = fv.render(ages, "fc:10-19", **FEW)
    assert picture.unit == 2


@pytest.mark.parametrize(
    ("given", "recipe"),
    [
        (["warp"], [{**fv.Recipe(transforms=[{"name": "warp"}]).transforms[0]}]),
        (["warp", {"name": "noise", "sd": 0.1}], None),
        ((fv.Warp(),), None),
    ],
)
def test_transforms_by_name(model, given, recipe):
    (picture,) = fv.render(model, "conv2:1", transforms=given, **FEW)
    names = [one["name"] for one in picture.recipe["transforms"]]
    assert names == [
        one if isinstance(one, str) else getattr(one, "part_name", "noise") for one in given
    ] or names == ["warp"]
    if recipe is not None:
        (made,) = fv.render(model, "conv2:1", transforms=[fv.Warp()], **FEW)
        assert made.key == picture.key


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["wrap"], "did you mean 'warp'"),
        ([fv.Warp], "fv.Warp(…), not fv.Warp"),
        ("warp", "transforms are a list"),
        ([brightest], "@fv.transform"),
        ([3], "got int"),
    ],
)
def test_a_transform_that_is_none(model, given, words):
    with pytest.raises(fv.RecipeError) as error:
        fv.render(model, "conv2:1", transforms=given, **FEW)
    assert words in str(error.value)


@pytest.mark.parametrize(
    ("given", "right"),
    [("recipie", "recipe"), ("stepz", "steps"), ("sedes", "seeds"), ("outt", "out"), ("lane", "lanes")],
)
def test_an_option_that_is_none(model, given, right):
    with pytest.raises(fv.RecipeError, match=f"did you mean '{right}'"):
        fv.render(model, "conv2:1", **{**FEW, given: 3})


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        (["zebra"], "'zebra' is a class, no layer; write 'classifier:zebra'"),
        (["--layer", "blocks.3", "--units", "0-7"], "blocks.3:0:8"),
        (["blocks.3:0-7"], "blocks.3:0:8"),
    ],
)
def test_on_the_command_line(typed, words, tmp_path, capsys):
    assert main(["render", *typed, "--out", str(tmp_path), "--dry-run"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert words in line
