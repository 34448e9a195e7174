"""Pictures: what is scored is what is saved, and what is saved is what is read back."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
import torch
from PIL import Image, PngImagePlugin

import featvis as fv
from featvis.files import write_whole
from featvis.results.picture import to_levels
from tests.networks import handle, scores_of, seeded, small

OPTIONS = {"size": (17, 24), "steps": 6, "lanes": 2}


@pytest.fixture(scope="module")
def model():
    return small()


@pytest.fixture
def picture(model):
    return fv.render(model, "norm:3@2,5", seed=2, **OPTIONS)[0]


@pytest.mark.parametrize("wish", ["norm:3", "conv1:2@3,20", "fc:1"])
def test_t36_the_score_is_that_of_the_file_read_back_without_transforms(model, wish, tmp_path):
    (picture,) = fv.render(model, wish, penalties=[{"name": "l2", "weight": 3.0}], **OPTIONS)
    path = picture.save(tmp_path / "unit.png")
    with Image.open(path) as opened:
        pixels = torch.from_numpy(np.array(opened)).permute(2, 0, 1)[None].float() / 255
    layer, _, rest = wish.partition(":")
    unit, _, where = rest.partition("@")
    position = tuple(map(int, where.split(","))) if where else None
    objective = fv.neuron(layer, int(unit), position) if position else fv.channel(layer, int(unit))
    assert float(scores_of(model, objective, pixels)[0]) == pytest.approx(picture.score, abs=1e-4)


def test_t36_it_is_not_the_best_score_of_the_run(model):
    seen = []
    (picture,) = fv.render(model, "norm:3", watch=lambda step: seen.append(float(step.scores[0])), **OPTIONS)
    plain = float(scores_of(model, fv.channel("norm", 3), picture.image[None])[0])
    assert picture.score == pytest.approx(plain, abs=1e-4)
    assert all(abs(picture.score - score) > 1e-4 for score in seen), "what the network saw was transformed"


def test_the_start_score_is_that_of_the_start(model, chance):
    start = torch.rand((3, 17, 24), generator=chance)
    (picture,) = fv.render(model, "norm:3", start=start, steps=2, lanes=1)
    rounded = (start * 255).round() / 255
    assert picture.start_score == pytest.approx(
        float(scores_of(model, fv.channel("norm", 3), rounded[None])[0]), abs=1e-4
    )


def test_t37_the_file_is_the_image_to_half_a_level(model):
    images = []
    (picture,) = fv.render(model, "norm:3", watch=lambda step: images.append(step.images), **OPTIONS)
    assert float((picture.image - images[-1][0]).abs().max()) <= 0.5 / 255 + 1e-6
    assert picture.image.shape == (3, 17, 24)


def test_t37_a_grey_picture_stays_grey(model):
    (picture,) = fv.render(model, "norm:3", **{**OPTIONS, "learning_rate": 1e-6})
    assert np.ptp(picture.levels) < 40, "nothing is stretched"
    assert abs(int(picture.levels.mean()) - 128) < 3


def test_a_picture_round_trips_through_its_png(picture, tmp_path):
    again = fv.load_picture(picture.save(tmp_path / "deep" / "er" / "unit.png"))
    assert np.array_equal(again.levels, picture.levels)
    for name in (
        "target",
        "seed",
        "score",
        "start_score",
        "recipe",
        "key",
        "status",
        "layer",
        "unit",
        "label",
    ):
        assert getattr(again, name) == getattr(picture, name), name
    assert (again.model, again.weights, again.attempt) == (picture.model, picture.weights, picture.attempt)
    assert again.png() == picture.png(), "saving again changes no byte"


def test_the_text_in_the_png_is_its_entry_and_its_recipe(picture, tmp_path):
    with Image.open(picture.save(tmp_path / "unit.png")) as opened:
        told = json.loads(opened.info["featvis"])
    assert (told["target"], told["layer"], told["unit"], told["seed"]) == ("norm:3@2,5", "norm", 3, 2)
    assert told["key"] == fv.Recipe(**told["recipe"]).key("norm:3@2,5", 2, told["weights"])
    assert told["recipe"]["lanes"] == 2
    assert "seconds" not in told, "the same picture, the same bytes"


@pytest.mark.parametrize("channels", [1, 3, 4, 13])
def test_pictures_of_any_number_of_channels_round_trip(channels, tmp_path):
    model = small(channels, (11, 14))
    (picture,) = fv.render(model, "norm:1", size=(11, 14), steps=2, lanes=1)
    path = picture.save(tmp_path / "unit.png")
    again = fv.load_picture(path)
    assert again.levels.shape == (channels, 11, 14)
    assert np.array_equal(again.levels, picture.levels)
    assert fv.reproduce(path, model).png() == path.read_bytes()
    assert picture.size == (11, 14)
    assert picture.pil.size == ((14, 11) if channels in (1, 3) else (14, 11 * channels))


def test_levels_are_rounded_to_the_nearest():
    levels = torch.arange(256)
    for shift in (-0.49, 0.0, 0.49):
        assert np.array_equal(to_levels(((levels + shift) / 255).clamp(0, 1)), levels.numpy())


def tampered(picture, tmp_path, change):
    path = tmp_path / "unit.png"
    content = picture.png()
    if change == "absent":
        return path
    if change == "folder":
        path.mkdir()
    elif change == "empty":
        path.write_bytes(b"")
    elif change == "truncated":
        path.write_bytes(content[: len(content) // 2])
    elif change == "noise":
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(range(256)))
    else:
        info = PngImagePlugin.PngInfo()
        texts = {
            "no json": "{",
            "not a table": "3",
            "no recipe": "{}",
            "channels": '{"channels": 5, "target": "a:1"}',
        }
        if change in texts:
            info.add_text("featvis", texts[change])
        picture.pil.save(path, "PNG", pnginfo=info)
    return path


CHANGES = [
    "absent",
    "folder",
    "empty",
    "truncated",
    "noise",
    "stripped",
    "no json",
    "not a table",
    "no recipe",
]


@pytest.mark.parametrize("change", [*CHANGES, "channels"])
def test_a_file_that_is_no_picture_of_ours_is_refused_in_one_line(picture, tmp_path, change):
    path = tampered(picture, tmp_path, change)
    with pytest.raises(fv.OutputError) as caught:
        fv.load_picture(path)
    assert "\n" not in str(caught.value)
    assert "unit.png" in str(caught.value)


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
def test_a_write_that_fails_leaves_the_old_file_and_no_other(tmp_path, monkeypatch, error):
    path = write_whole(tmp_path / "unit.png", b"old")

    def fail(*_args):
        raise error

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises((fv.OutputError, KeyboardInterrupt)):
        write_whole(path, b"new")
    assert [entry.name for entry in tmp_path.iterdir()] == ["unit.png"]
    assert path.read_bytes() == b"old"


def test_a_place_that_cannot_be_written_is_said(tmp_path, picture):
    (tmp_path / "file").write_text("")
    with pytest.raises(fv.OutputError, match="cannot write"):
        picture.save(tmp_path / "file" / "unit.png")


def test_the_image_shows_itself_in_a_notebook(picture):
    assert picture._repr_png_() == picture.png()


def test_a_label_comes_along(tmp_path):
    model = handle(seeded(type(small().module)), labels=["tench", "goldfish", "shark", "hen", "owl"])
    (picture,) = fv.render(model, "fc:goldfish", **OPTIONS)
    assert fv.load_picture(picture.save(tmp_path / "unit.png")).label == "goldfish"
