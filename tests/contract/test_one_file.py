"""One new file adds one: registers find it, help and lists name it, nothing else has to be written."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import featvis as fv
from featvis.attribution.register import REGISTER as methods_register
from featvis.attribution.register import check_options, methods
from featvis.models.sources.register import REGISTER as sources_register
from featvis.models.sources.register import forms, sources
from featvis.run.executors.register import REGISTER as executors_register
from featvis.run.executors.register import executors
from featvis.spec import register
from featvis.spec.discovery import PLUGINS
from tests.networks import small

SOURCE = '''
from torch import nn

from featvis.errors import ModelError, unknown
from featvis.models.sources.base import Loaded, ModelSource
from featvis.models.sources.register import source


@source("zoo", example="zoo:ANIMAL", about="a zoo of our own")
class Zoo(ModelSource):
    """Two networks."""

    def names(self):
        return ["ant", "bee"]

    def load(self, name, pretrained):
        if name not in self.names():
            raise ModelError(unknown("animal", name, self.names()))
        network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
        return Loaded(network, mean=(0.5,) * 3, std=(0.5,) * 3, input_size=(16, 16))
'''

METHOD = '''
from featvis.attribution.register import Outcome, method


@method("brightness", about="how bright each pixel is", full_scale=2.0)
def brightness(score, image, *, power: int = 1, window: int | None = None):
    """Return the image's mean over its colours."""
    return Outcome(image.mean(1)[0] ** power, {"power": power})
'''


TRANSFORM = '''
from featvis.spec.options import Positive
from featvis.spec.register import part
from featvis.transforms.base import Transform


@part("darken")
class Darken(Transform):
    """Darkens images by a fixed share.

    Options: ``by``, the share that is left.
    """

    by: Positive = 0.5
    numbers = 1

    def prepare(self, uniform, progress, canvas, shown_size):
        return uniform

    def apply(self, images, values, field, shown_size):
        return images * self.by
'''

PENALTY = '''
from featvis.objectives.base import Objective
from featvis.spec.options import Positive
from featvis.spec.register import part


@part("redness")
class Redness(Objective):
    """How much red there is.

    Options: ``power``.
    """

    power: Positive = 1.0

    def score(self, activations, images):
        return (images[:, 0] ** self.power).mean((1, 2))

    def describe(self):
        return f"redness({self.power})"
'''

EXECUTOR = """
from featvis.run.executors.local import local
from featvis.run.executors.register import executor


@executor("backwards", about="the last picture first")
def backwards(wanted, model, weights, *, watch=None, say=None, failed=None):
    yield from local(list(reversed(wanted)), model, weights, watch=watch, say=say, failed=failed)
"""

FILES = {
    "models/sources/zoo.py": SOURCE,
    "attribution/brightness.py": METHOD,
    "transforms/darken.py": TRANSFORM,
    "objectives/redness.py": PENALTY,
    "run/executors/backwards.py": EXECUTOR,
}
PACKAGES = ("models.sources", "attribution", "transforms", "objectives", "run.executors")


@pytest.fixture(scope="module")
def plugins(tmp_path_factory):
    """A folder that is laid out as featvis is, with one file for each register."""
    folder = tmp_path_factory.mktemp("plugins")
    for place, text in FILES.items():
        path = folder / place
        path.parent.mkdir(parents=True)
        path.write_text(text)
    return folder


@pytest.fixture
def added(plugins, monkeypatch):
    """Here the files are found as long as the test runs."""
    monkeypatch.setenv(PLUGINS, str(plugins))
    paths = [importlib.import_module(f"featvis.{package}").__path__ for package in PACKAGES]
    before = [list(path) for path in paths]
    yield
    for path, folders in zip(paths, before, strict=True):
        path[:] = folders
    for registered, name in (
        (sources_register, "zoo"),
        (methods_register, "brightness"),
        (executors_register, "backwards"),
    ):
        registered._made.pop(name, None)
        sys.modules.pop(f"{registered.package}.{name}", None)
    for family, name in (("transforms", "darken"), ("objectives", "redness")):
        register._CLASSES.pop((family, name), None)
        sys.modules.pop(f"featvis.{family}.{name}", None)


def featvis(plugins, *arguments):
    """What the command prints in a process that knows the folder."""
    environment = {**os.environ, PLUGINS: str(plugins), "COLUMNS": "200"}
    command = [sys.executable, "-m", "featvis", *arguments]
    where = Path(fv.__file__).parent.parent
    run = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=where, check=False)
    return run.stdout + run.stderr


def test_a_register_knows_no_file_that_is_not_there():
    assert "zoo" not in {entry.prefix for entry in sources()}
    assert "brightness" not in methods()


@pytest.mark.usefixtures("added")
def test_a_file_adds_a_source_of_models():
    assert "zoo:ANIMAL" in forms()
    assert ("zoo:bee", "a zoo of our own") in fv.list_models("zoo:")
    model = fv.load_model("zoo:bee", device="cpu")
    assert (model.name, model.input_size, model.layer("0").units) == ("zoo:bee", (16, 16), 4)
    with pytest.raises(fv.ModelError, match="did you mean 'zoo:bee'"):
        fv.load_model("bee")
    with pytest.raises(fv.ModelError, match="did you mean 'zoo'"):
        fv.load_model("zooo:bee")


@pytest.mark.usefixtures("added")
def test_a_file_adds_an_attribution_method():
    assert methods()["brightness"].options == {"power": 1, "window": None}, "tests over methods() include it"
    photo = torch.rand((3, 16, 16), generator=torch.Generator().manual_seed(0))
    model = fv.load_model("zoo:ant", device="cpu")
    found = fv.attribute(model, photo, "0:1", "brightness", power=2)
    assert torch.allclose(torch.from_numpy(found.values), photo.mean(0) ** 2, atol=0.01)
    assert (found.numbers, found.scale, found.signed) == ({"power": 2}, 2.0, False)
    with pytest.raises(fv.RecipeError, match="it is an option of brightness"):
        check_options(["saliency"], {"power": 2})


@pytest.mark.usefixtures("added")
def test_a_file_adds_a_transform_and_a_penalty():
    assert "darken" in register.names("transforms"), "contract tests over the family's names include it"
    assert "redness" in register.names("objectives")
    changes = {"size": (12, 16), "steps": 3, "lanes": 1}
    darken = [{"name": "darken", "by": 0.25}]
    penalty = [{"name": "redness", "weight": 50.0}]
    recipe = fv.Recipe(**changes, transforms=darken, penalties=penalty)
    assert recipe.penalties == ({"name": "redness", "power": 1.0, "weight": 50.0},)
    plain, pale = (
        fv.render(small(), "norm:1", recipe=made)[0]
        for made in (fv.Recipe(**changes, transforms=darken), recipe)
    )
    assert float(pale.image[0].mean()) < float(plain.image[0].mean())
    with pytest.raises(fv.RecipeError, match="did you mean 'darken'"):
        fv.Recipe(transforms=["darkn"])


@pytest.mark.usefixtures("added")
def test_a_file_adds_an_executor():
    assert executors()["backwards"].about == "the last picture first"
    finished = []
    options = {"size": (12, 16), "steps": 2, "lanes": 1}
    pictures = fv.render(
        small(), "norm:0:3", executor="backwards", watch=lambda step: finished.append(step), **options
    )
    assert [picture.target for picture in pictures] == ["norm:0", "norm:1", "norm:2"]
    alone = fv.render(small(), "norm:0:3", **options)
    assert [picture.png() for picture in pictures] == [picture.png() for picture in alone]


@pytest.mark.slow
def test_the_command_line_names_what_the_files_add(plugins):
    help_text = " ".join(featvis(plugins, "attribute", "--help").split())
    assert "zoo:ANIMAL" in help_text
    assert "brightness (how bright each pixel is)" in help_text
    assert "occlusion, brightness" in help_text, "it takes --window"
    assert "zoo:ant" in featvis(plugins, "models", "--search", "zoo")
    assert "backwards, the last picture first" in " ".join(featvis(plugins, "render", "--help").split())
    listed = featvis(plugins, "parts")
    for name in ("darken", "redness", "zoo:ANIMAL", "brightness", "backwards"):
        assert f"  {name}\n" in listed
    assert "by: a number above 0 = 0.5" in listed
    assert "did you mean 'darken'" in featvis(
        plugins, "render", "blocks.1:0", "--set", 'transforms=["darkn"]', "--dry-run"
    )
    assert "did you mean 'zoo'" in featvis(plugins, "layers", "zooo:ant")
    assert "zoo:" not in featvis(plugins / "nowhere", "attribute", "--help")


def test_what_a_module_of_ones_own_enters_is_there_as_well():
    space = {}
    exec(compile(METHOD, "a notebook", "exec"), space)
    try:
        assert methods()["brightness"].about == "how bright each pixel is"
        assert methods_register.find("brightness") is space["brightness"]
    finally:
        methods_register._made.pop("brightness")


def test_a_method_whose_map_is_not_of_the_canvas_is_told_in_one_line():
    exec(compile(METHOD.replace("image.mean(1)[0]", "image.mean(1)"), "a notebook", "exec"), {})
    try:
        with pytest.raises(fv.UserError, match=r"here \(24, 32\); brightness\(\) returned \(1, 24, 32\)$"):
            fv.attribute(small(size=(24, 32)), torch.rand(3, 24, 32), "fc:0", "brightness", curves=True)
    finally:
        methods_register._made.pop("brightness")


def test_a_file_that_cannot_be_read_is_named_in_one_line(tmp_path):
    (tmp_path / "attribution").mkdir()
    (tmp_path / "attribution" / "mine.py").write_text(
        "NAME = 'a'\n@method(NAME)\ndef mine(score, image): ...\n"
    )
    said = featvis(tmp_path, "attribute", "--help")
    assert len(said.strip().splitlines()) == 1
    assert "mine.py: @method takes its name and keywords as literals" in said
