"""One new file adds one: registers find it, help and lists name it, nothing else has to be written."""

from __future__ import annotations

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
from featvis.spec.discovery import PLUGINS

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


@pytest.fixture(scope="module")
def plugins(tmp_path_factory):
    """A folder that is laid out as featvis is, with one file for each register."""
    folder = tmp_path_factory.mktemp("plugins")
    for place, text in (("models/sources/zoo.py", SOURCE), ("attribution/brightness.py", METHOD)):
        path = folder / place
        path.parent.mkdir(parents=True)
        path.write_text(text)
    return folder


@pytest.fixture
def added(plugins, monkeypatch):
    """Here the files are found as long as the test runs."""
    monkeypatch.setenv(PLUGINS, str(plugins))
    paths = [sys.modules[package].__path__ for package in ("featvis.models.sources", "featvis.attribution")]
    before = [list(path) for path in paths]
    yield
    for path, folders in zip(paths, before, strict=True):
        path[:] = folders
    for register, name in ((sources_register, "zoo"), (methods_register, "brightness")):
        register._made.pop(name, None)
        sys.modules.pop(f"{register.package}.{name}", None)


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


def test_the_command_line_names_what_the_files_add(plugins):
    help_text = " ".join(featvis(plugins, "attribute", "--help").split())
    assert "zoo:ANIMAL" in help_text
    assert "brightness (how bright each pixel is)" in help_text
    assert "occlusion, brightness" in help_text, "it takes --window"
    assert "zoo:ant" in featvis(plugins, "models", "--search", "zoo")
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


def test_a_file_that_cannot_be_read_is_named_in_one_line(tmp_path):
    (tmp_path / "attribution").mkdir()
    (tmp_path / "attribution" / "mine.py").write_text(
        "NAME = 'a'\n@method(NAME)\ndef mine(score, image): ...\n"
    )
    said = featvis(tmp_path, "attribute", "--help")
    assert len(said.strip().splitlines()) == 1
    assert "mine.py: @method takes its name and keywords as literals" in said
