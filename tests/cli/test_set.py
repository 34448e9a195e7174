"""--set reaches every field of the recipe, in every command that takes one, and tells every mistake."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Literal, get_args, get_origin

import pytest
import torch
from PIL import Image

from featvis.cli import main
from featvis.cli.fields import choose_recipe, complete
from featvis.errors import RecipeError
from featvis.spec.recipe import Recipe

NETWORK = """
from tests.networks import small
def build():
    return small().module, {"mean": (0.5,) * 3, "std": (0.5,) * 3, "input_size": (24, 32)}
"""
LOADED = ["--model", "file:net.py:build"]
COMMANDS = {
    "render": ["norm:0"],
    "dream": ["photo.png", "--layer", "norm"],
    "accentuate": ["photo.png", "--target", "norm:0"],
    "invert": ["photo.png", "--layer", "norm"],
    "caricature": ["photo.png", "--layer", "norm"],
    "style": ["photo.png", "photo.png", "--content-layer", "norm", "--style-layer", "conv1"],
    "compare": ["channel", "fast", "--targets", "norm:0", "--judge", "file:net.py:build"],
    "bench": ["--layer", "norm"],
}
VALUES = {
    "size": "24x32",
    "input_size": "24x32",
    "stages": "[[16, 0.25], [20, 0.5]]",
    "space": '{name="pixel", decorrelate=false}',
    "transforms": '[{name="warp", jitter=4}, "noise"]',
    "penalties": '[{name="l2", weight=0.1}]',
    "band": "-3,1.5",
}
"""Values of fields that are no number and no name."""
WITH = {"stages": ["--size", "24x32"]}
"""What a field needs beside it."""
NOT = {"dream": {"stages"}, "bench": {"redirect_steps"}}
"""What a command settles itself: a dream's stages are its octaves; only steps after those are timed."""


def value_of(name):
    """A valid value of a field that is not its default, as it is typed."""
    if name in VALUES:
        return VALUES[name]
    field = Recipe.model_fields[name]
    kinds = [kind for kind in (get_args(field.annotation) or (field.annotation,)) if kind is not type(None)]
    if get_origin(field.annotation) is Literal:
        return next(value for value in kinds if value != field.default)
    assert "float" in str(kinds) or "int" in str(kinds), f"give {name} a value in this test"
    return "0.25" if "float" in str(kinds) else str((field.default or 1) + 1)


FIELDS = [name for name in Recipe.model_fields if name != "start"]


class Settled(BaseException):
    """The recipe that a command has settled on; nothing is rendered."""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("set")
    (folder / "net.py").write_text(NETWORK)
    levels = torch.randint(0, 256, (24, 32, 3), generator=torch.Generator().manual_seed(0)).byte()
    Image.fromarray(levels.numpy()).save(folder / "photo.png")
    return folder


@pytest.fixture
def settled(place, monkeypatch):
    """Run a command up to its first step and return its recipe."""
    from featvis.plan.make import make_plan

    def planned(*arguments, **options):
        raise Settled(make_plan(*arguments, **options).wanted[0].recipe)

    def compared(first, *_, **__):
        raise Settled(first)

    monkeypatch.setattr("featvis.run.prepare.make_plan", planned)
    monkeypatch.setattr("featvis.trust.compare.compare", compared)
    monkeypatch.chdir(place)

    def run(command, *typed):
        with pytest.raises(Settled) as raised:
            main([command, *COMMANDS[command], *LOADED, *typed])
        return raised.value.args[0]

    return run


@pytest.mark.parametrize(
    ("command", "name"),
    [(command, name) for command in ("render", "dream", "compare", "bench") for name in FIELDS]
    # These take their recipe by the same lines as dream.
    + [(command, "transforms") for command in ("accentuate", "invert", "caricature", "style")],
)
def test_every_field_is_reached(command, name, settled):
    if name in NOT.get(command, ()):
        pytest.skip("the command's own")
    value = value_of(name)
    expected = choose_recipe(None, {}, [f"{name}={value}"]).recipe
    assert getattr(expected, name) != Recipe.model_fields[name].default
    # The recipe of dreams sets the gradient's length, and with it some fields are forbidden.
    free = [] if name == "gradient_norm" else ["--set", "gradient_norm=none"]
    found = settled(command, "--set", f"{name}={value}", *WITH.get(name, ()), *free)
    assert getattr(found, name) == getattr(expected, name)


def test_a_value_is_read_as_the_field_means_it():
    def read(text, base=None, **options):
        return choose_recipe(base, options, [text]).recipe

    assert read("size=128x96").size == (128, 96)
    assert read("size=64").size == (64, 64)
    assert read("band=1.5").band == (1.5, 1.5)
    assert read("stages=[64,0.5],[128,0.75]").stages == (((64, 64), 0.5), ((128, 128), 0.75))
    assert read("optimizer=sgd").optimizer == read('optimizer="sgd"').optimizer == "sgd"
    assert read("learning_rate=1e-3").learning_rate == 0.001
    assert read("space=pixel").space == Recipe(space={"name": "pixel"}).space
    assert read("transforms=[]").transforms == ()
    assert read("gradient_norm=none", "dream").gradient_norm is None
    assert Recipe.load("dream").gradient_norm is not None


def test_dots_lead_into_tables():
    base = Recipe.load("channel")

    def read(*texts, **options):
        return choose_recipe("channel", options, texts).recipe

    assert read("space.exponent=1.2").space == {**base.space, "exponent": 1.2}
    assert read("transforms.1.sd=0.1").transforms == (base.transforms[0], {**base.transforms[1], "sd": 0.1})
    assert read("transforms.noise.sd=0.1") == read("transforms.1.sd=0.1")
    assert read("transforms.warp.scale.1=1.3").transforms[0]["scale"] == [0.8, 1.3]
    assert read("transforms.0=none").transforms == base.transforms[1:]
    assert read("transforms.1={name='flip'}").transforms[1]["name"] == "flip"
    assert read("space.name=pixel").space == Recipe(space={"name": "pixel"}).space
    # The whole comes before its parts, whatever was typed first.
    assert read("space.decorrelate=false", "space=pixel").space["decorrelate"] is False
    assert read("space.decorrelate=false", space={"name": "pixel"}).space["name"] == "pixel"


def test_a_part_that_is_not_in_the_list_is_added_to_its_end():
    base = Recipe.load("portrait")

    def read(*texts):
        return choose_recipe("portrait", {}, texts).recipe

    added = read("penalties.confidence.limit=8", "penalties.confidence.weight=0.9")
    assert added == base.but(
        penalties=[*base.penalties, {"name": "confidence", "limit": 8, "weight": 0.9}]
    ), "once, with both"
    flipped = read("transforms.flip.horizontal=0.25").transforms
    assert (flipped[:-1], flipped[-1]["horizontal"]) == (base.transforms, 0.25)
    assert read("penalties.lp.weight=6", "penalties.rivals=none").penalties[-1]["name"] == "lp"
    with pytest.raises(RecipeError, match=r"no entry 'noise'; the entries: 0 batchnorm, 1 rivals"):
        read("penalties.noise.sd=1")
    with pytest.raises(RecipeError, match="no entry 'lp'"):
        read("penalties.lp=none")


@pytest.mark.parametrize("text", ["space.exponent=1.2", "space.decorrelate=false", "transforms.noise.sd=0.1"])
def test_without_a_recipe_dots_lead_into_what_all_have_in_common(text):
    with pytest.raises(RecipeError, match="--recipe"):
        choose_recipe(None, {}, [text])
    assert choose_recipe("channel", {}, [text]).recipe != choose_recipe("channel", {}, []).recipe


def test_the_same_field_twice_is_no_mistake_if_it_says_the_same():
    assert choose_recipe(None, {"size": "64"}, ["size=64x64", "size=[64, 64]"]).recipe.size == (64, 64)
    assert choose_recipe(None, {"steps": 4}, ["steps=4"]).recipe.steps == 4


def test_what_the_recipe_had_is_left_out(settled):
    """A value taken away, where the network's planning would keep the recipe's own."""
    assert settled("render", "--recipe", "dream", "--set", "gradient_norm=none").gradient_norm is None
    assert settled("dream", "--set", "gradient_norm=none").gradient_norm is None
    assert settled("dream", "--set", "gradient_norm=7").gradient_norm == 7


def test_auto_is_left_for_a_measurement(settled):
    assert settled("render", "--set", "lanes=auto", "--set", "precision=auto").lanes == Recipe().lanes
    assert choose_recipe(None, {}, ["lanes=auto"], auto=("lanes",)).changes == {"lanes": "auto"}


def test_shells_complete_the_names_of_fields():
    assert [name for name, _ in complete("st")] == ["stages=", "steps=", "start="]
    words = {
        "_FEATVIS_COMPLETE": "complete_bash",
        "COMP_WORDS": "featvis render --set opt",
        "COMP_CWORD": "3",
    }
    done = subprocess.run(
        [sys.executable, "-m", "featvis"],
        env={**os.environ, **words},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["optimizer="]


def test_set_and_the_option_of_the_field_make_the_same_picture(place, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(place)
    given = ["render", "norm:0", *LOADED, "--size", "24", "--out", str(tmp_path)]
    assert main([*given, "--steps", "2", "--space", "pixel"]) == 0
    assert main([*given, "--set", "steps=2", "--set", "space=pixel"]) == 0
    assert "there already" in capsys.readouterr().err


MISTAKES = {
    "stepz=3": "did you mean 'steps'",
    "steps": "FIELD=VALUE",
    "=3": "FIELD=VALUE",
    "space..exponent=3": "FIELD=VALUE",
    "steps=ten": "steps is a whole number from 1 up",
    "steps=0": "steps is a whole number from 1 up",
    "steps=true": "steps is a whole number from 1 up",
    "steps=none": "steps is a whole number from 1 up",
    "steps=1\npatience=2": "steps is a whole number from 1 up",
    "steps.first=1": "nothing is inside it",
    "optimizer=adm": "adam or nadam or sgd or lbfgs",
    "optimizer=auto": "adam or nadam or sgd or lbfgs",
    "size=3x3x3": "HEIGHTxWIDTH",
    "band=3,1": "the lower first",
    "momentum=1": "below 1",
    "stages=[300,0.5]": "a list of [SIZE, SHARE OF THE STEPS]",
    "space=fourrier": "did you mean 'fourier'",
    "space.name=pixl": "did you mean 'pixel'",
    "space.exponnent=1": "did you mean 'exponent'",
    "space.inner.exponent=1": "unknown option 'inner'",
    "space.exponent.first=1": "nothing inside",
    "space.decorrelate=false": "--recipe",
    "transforms=noise": "a list of tables",
    "transforms.7.sd=1": "0 warp, 1 noise",
    "penalties.0.weight=1": "the entries: none",
    "penalties=[{name=": "TOML",
    "penalties=[{nam='l2'}]": "a table with a name",
    "start=photo.png": "--start FILE",
}


@pytest.mark.parametrize("text", MISTAKES)
def test_a_mistake_is_one_line(text, capsys):
    assert main(["render", "blocks.1:0", "--set", text]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    (line,) = shown.err.splitlines()
    assert line.startswith("featvis: ")
    assert MISTAKES[text] in line


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        (["render", "blocks.1:0", "--steps", "3", "--set", "steps=4"], "twice: --steps and --set steps=4"),
        (["render", "blocks.1:0", "--space", "pixel", "--set", "space=cppn"], "twice: --space"),
        (["render", "blocks.1:0", "--set", "steps=3", "--set", "steps=4"], "twice: --set steps=3"),
        (["bench", "--set", "lanes=auto"], "a whole number from 1 up"),
        (["compare", "fast", "channel", "-t", "blocks.1:0", "--set", "stepz=3"], "did you mean 'steps'"),
        (["dream", "photo.png", "-l", "blocks.1", "--set", "stepz=3"], "did you mean 'steps'"),
        (["dream", "photo.png", "-l", "blocks.1", "--set", "stages=[[16,0.5]]", "--size", "32"], "--octaves"),
        (["invert", "photo.png", "-l", "blocks.1", "--set", "stages=[[16,0.5]]"], "needs --size"),
    ],
)
def test_mistakes_beside_other_options(typed, says, place, monkeypatch, capsys):
    monkeypatch.chdir(place)
    assert main(typed) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert says in line


def test_help_lists_every_field_of_the_recipe(capsys):
    for command in COMMANDS:  # without the arguments that the command asks for
        assert main([command, "--set", "help"]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert [line.split(" = ")[0] for line in lines if line[:1].islower()][: len(Recipe.model_fields)] == [
            *Recipe.model_fields
        ]
    assert "steps = 128" in lines
    assert "a number from 0 to 1" in lines[lines.index("momentum = 0.9") + 1]


def test_neither_the_list_nor_a_mistake_loads_torch():
    program = (
        "import sys; from featvis.cli import main\n"
        f"for text in {[*MISTAKES, 'help']!r}: main(['render', 'blocks.1:0', '--set', text])\n"
        "assert 'torch' not in sys.modules and 'numpy' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_number_may_begin_with_its_point():
    recipe = choose_recipe("portrait", {}, ["penalties.total_variation.weight=.5", "average=.25"]).recipe
    weights = {one["name"]: one["weight"] for one in recipe.penalties}
    assert (weights["total_variation"], recipe.average) == (0.5, 0.25)
