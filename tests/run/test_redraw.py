"""Commands on photographs: what dream, accentuate, invert, caricature and style make and refuse."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import torch
from PIL import Image

import featvis as fv
from featvis.cli import main
from featvis.run.redraw import SMALLEST, correlation, lay_photograph, octaves
from featvis.spec.stages import plan_stages
from tests.networks import small

NETWORK = """
from tests.networks import small
def build():
    return small().module
"""


def photograph(height=40, width=57):
    """Broad coloured waves, with a bright square and fine stripes."""
    rows, columns = torch.meshgrid(torch.linspace(0, 3, height), torch.linspace(0, 4, width), indexing="ij")
    image = torch.stack([rows.sin(), (rows + columns).cos(), columns.sin()]) * 0.3 + 0.5
    image[:, 5:15, 8:20] = 0.9
    image[:, 20:, ::2] -= 0.15
    return image.clamp(0, 1)


def save(image, path):
    Image.fromarray((image * 255).round().byte().permute(1, 2, 0).numpy()).save(path)
    return path


@pytest.fixture
def place(tmp_path, monkeypatch):
    (tmp_path / "net.py").write_text(NETWORK)
    save(photograph(), tmp_path / "photo.png")
    save(photograph(33, 33).flip(0), tmp_path / "art.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


OPTIONS = ["--model", "file:net.py:build", "--mean", "0.5,0.5,0.5", "--std", "0.5,0.5,0.5", "--out", "out"]


def run(*arguments):
    return main([*arguments, *OPTIONS])


def told(place, name):
    return json.loads((place / "out" / f"{name}.json").read_text())


def test_a_dream_has_more_energy_and_is_still_the_photograph(place, capsys):
    assert run("dream", "photo.png", "--layer", "norm", "--steps", "16") == 0
    entry = told(place, "dream-photo-norm")
    assert entry["photograph"] == "photo.png"
    assert entry["sha256"] == hashlib.sha256((place / "photo.png").read_bytes()).hexdigest()
    assert entry["canvas"] == [40, 57]
    assert entry["recipe"]["start"].startswith("sha256:")
    assert entry["target"] == "layer(norm)"
    picture = fv.load_picture(place / "out" / "dream-photo-norm.png")
    # The start's score is that of the photograph itself: energy, by hand.
    assert picture.score > 1.05 * picture.start_score > 0
    assert 0.6 < entry["correlation"] < 0.999
    assert entry["correlation"] == pytest.approx(correlation(picture.image, photograph()), abs=0.01)
    assert "correlation with the photograph" in capsys.readouterr().out
    # The same again renders nothing and writes nothing; another photograph's lies beside it.
    files = {path: path.read_bytes() for path in (place / "out").iterdir()}
    assert run("dream", "photo.png", "--layer", "norm", "--steps", "16") == 0
    assert "is that picture already" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in (place / "out").iterdir()} == files
    save(photograph().flip(2), place / "photo.png")
    assert run("dream", "photo.png", "--layer", "norm", "--steps", "16") == 0
    assert "already" not in capsys.readouterr().err
    (path,) = set((place / "out").glob("*.png")) - files.keys()
    other = fv.load_picture(path)
    assert path.name == f"dream-photo-norm-{other.key[:8]}.png"
    assert other.key != picture.key
    assert all(path.read_bytes() == content for path, content in files.items())
    assert run("dream", "photo.png", "--layer", "norm", "--steps", "16") == 0
    assert "is that picture already" in capsys.readouterr().err


def test_the_photographs_detail_comes_back_with_each_octave():
    photo, stages = photograph(64, 48), [((32, 24), 0.4), ((45, 34), 0.7)]
    for space in ("fourier", "pixel"):
        picture, = fv.render(
            small(), fv.layer("norm"), start=photo, space=space, stages=stages, steps=10, lanes=1,
            learning_rate=1e-7, transforms=[],
        )  # fmt: skip
        # Nothing was dreamt, so the photograph stands there again, its finest stripes too.
        assert float((picture.image - photo).abs().max()) < 0.012, space
    again = fv.render(
        small(), fv.layer("norm"), start=photo, stages=stages, steps=10, lanes=2, learning_rate=0.01, seeds=2
    )
    alone = fv.render(
        small(), fv.layer("norm"), start=photo, stages=stages, steps=10, lanes=2, learning_rate=0.01, seed=1
    )
    assert (again[1].levels == alone[0].levels).all()


def test_what_was_dreamt_on_a_small_canvas_stays():
    photo = torch.full((3, 64, 64), 0.5)
    picture, = fv.render(
        small(), fv.channel("norm", 1), start=photo, stages=[((32, 32), 0.9)], steps=20, lanes=1,
        learning_rate=0.05, transforms=[], schedule="linear",
    )  # fmt: skip
    assert float((picture.image - photo).abs().mean()) > 0.02


def test_octaves_are_equal_shares_of_growing_canvases():
    found = octaves((200, 300), 3, 2.0)
    assert found == [((50, 75), pytest.approx(1 / 3)), ((100, 150), pytest.approx(2 / 3))]
    assert [stage.last - stage.first for stage in plan_stages(found, (200, 300), 30)] == [10, 10, 10]
    assert octaves((60, 90), 4, 1.4) == []
    assert SMALLEST == 48
    with pytest.raises(fv.RecipeError, match="at least 1"):
        octaves((60, 90), 2, 1.0)


def test_an_inversion_of_an_early_layer_is_the_photograph(place):
    layers = ["--layer", "conv1", "--layer", "norm"]
    assert run("invert", "photo.png", *layers, "--steps", "220") == 0
    early, late = (told(place, f"invert-photo-{name}") for name in ("conv1", "norm"))
    assert early["correlation"] > 0.9
    assert early["correlation"] > late["correlation"] + 0.2
    assert early["start"] is None, "inversions begin with noise"
    with Image.open(place / "out" / "invert-photo-side-by-side.png") as sheet:
        assert sheet.width > 3 * 57


def test_a_caricature_has_more_of_what_the_photograph_has(place):
    assert run("caricature", "photo.png", "--layer", "norm", "--steps", "120", "--power", "2") == 0
    entry = told(place, "caricature-photo-norm")
    assert entry["target"].endswith("power=2)")
    # The photograph itself scores 1.
    assert entry["score"] > 1.05 > entry["start_score"]


def test_an_accentuation_excites_its_unit_and_keeps_the_photograph(place, capsys):
    pull = {}
    for weight in ("0", "2"):
        given = ["--target", "fc:3", "--steps", "16", "--weight", weight]
        assert run("accentuate", "photo.png", *given) == 0
        entry = told(place, Path(capsys.readouterr().out.splitlines()[-1]).stem)
        assert entry["photograph"] == "photo.png"
        pull[weight] = entry
    assert pull["0"]["score"] > pull["0"]["start_score"]
    assert pull["2"]["correlation"] > pull["0"]["correlation"] > 0.3


def test_a_style_is_taken_over(place):
    given = ["--content-layer", "norm", "--style-layer", "conv1", "--style-layer", "relu1", "--size", "33"]
    assert run("style", "photo.png", "art.png", *given, "--weight", "20", "--steps", "200") == 0
    entry = told(place, "style-photo-art")
    assert entry["style"]["photograph"] == "art.png"
    assert entry["canvas"] == [33, 33]
    assert entry["start_score"] < entry["score"] < 0

    model = small()
    art = lay_photograph(model, place / "art.png", (33, 33))
    content = lay_photograph(model, place / "photo.png", (33, 33))
    result = fv.load_picture(place / "out" / "style-photo-art.png").image

    def gram(image):  # on its own: the network's first layer, its plain Gram matrix
        with torch.no_grad():
            found = model.module.conv1((image[None] - 0.5) / 0.5)[0].flatten(1)
        return found @ found.T / found.shape[1]

    assert (gram(result) - gram(art)).norm() < 0.6 * (gram(content) - gram(art)).norm()


def test_a_photograph_is_laid_whole_or_from_its_middle(place):
    model = small()
    assert torch.equal(lay_photograph(model, place / "photo.png"), (photograph() * 255).round() / 255)
    save(photograph(500, 800), place / "large.png")
    assert lay_photograph(model, place / "large.png").shape == (3, 240, 384)
    assert lay_photograph(model, place / "large.png", (40, 40)).shape == (3, 40, 40)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["dream", "none.png", "-l", "norm"], "no photograph 'none.png'"),
        (["dream", "net.py", "-l", "norm"], "is no readable photograph"),
        (["dream", "photo.png"], "--layer"),
        (["dream", "photo.png", "-l", "nrom"], "did you mean 'norm'"),
        (["dream", "photo.png", "-l", "norm", "--octaves", "0"], "--octaves"),
        (["invert", "photo.png", "-l", "conv1", "-l", "con2"], "did you mean"),
        (["invert", "photo.png", "-l", "conv1", "--steps", "0"], "steps"),
        (["caricature", "photo.png", "-l", "norm", "--power", "-1"], "--power"),
        (["caricature", "photo.png", "-l", "norm", "--recipe", "caricatur"], "did you mean 'caricature'"),
        (["accentuate", "photo.png"], "--target"),
        (["accentuate", "photo.png", "-t", "fc:9"], "out of range"),
        (["accentuate", "photo.png", "-t", "fc:1", "--near", "conv3"], "did you mean"),
        (["style", "photo.png", "none.png", "--content-layer", "norm"], "--style-layer"),
        (["style", "photo.png", "none.png", "--content-layer", "norm", "--style-layer", "conv1"], "no photo"),
    ],
)
def test_mistakes_are_one_line(place, capsys, given, said):
    assert run(*given) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert said in lines[-1]
    assert lines[-1].startswith("featvis: ")
    assert not list(place.glob("out/*.png"))


@pytest.mark.slow
def test_vgg16_keeps_a_photograph_in_its_first_block(vgg16_weights):
    data = pytest.importorskip("skimage.data")
    model = fv.load_model("torchvision:vgg16", weights=str(vgg16_weights))
    whole = torch.from_numpy(data.astronaut()).permute(2, 0, 1).float()[None] / 255
    photo = torch.nn.functional.interpolate(whole, (96, 96), mode="area")[0]
    alike = {}
    for layer in ("features.3", "features.29"):
        (picture,) = fv.render(model, fv.match(layer, photo), recipe="invert", size=96, steps=96)
        alike[layer] = correlation(picture.image, photo)
    assert alike["features.3"] >= 0.9
    assert alike["features.29"] < 0.7
