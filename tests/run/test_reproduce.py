"""From a picture's own words back to what it climbed, with the files that it was made of."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file

import featvis as fv
from featvis.cli import main
from featvis.run.described import restore
from tests.networks import small
from tests.run.test_redraw import photograph, place, save  # noqa: F401

NETWORK = ["--model", "file:net.py:build", "--mean", "0.5,0.5,0.5", "--std", "0.5,0.5,0.5"]
OPTIONS = {"steps": 2, "lanes": 1}


def described(photo, other):
    """What may be climbed, of which each description is its own."""
    return [
        fv.layer("norm"),
        fv.match("norm", photo),
        fv.match(["conv1", "norm"], photo),
        fv.caricature("norm", photo),
        fv.caricature(["conv1", "norm"], other, 1.5),
        fv.style(["conv1", "relu1"], other),
        fv.accentuation(fv.channel("norm", 3), photo, weight=0.1),
        fv.accentuation(fv.neuron("norm", 3, (2, 5)), photo, weight=1e-7, layer="conv1"),
        fv.accentuation(fv.channel("norm", 3) - 0.5 * fv.layer("conv1"), photo),
        fv.match("norm", photo) + 0.3 * fv.style(["conv1", "relu1"], other),
        2 * fv.layer("norm") - 1e-9 * fv.channel("conv1", 2),
    ]


def test_an_objective_is_restored_from_its_description():
    photo, other = photograph(16, 24), photograph(24, 16)
    for objective in described(photo, other):
        again = restore(objective.describe(), [other, photo])
        assert again is not None, objective
        assert again.describe() == objective.describe()
        assert type(again) is type(objective)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "brightest()",
        "layer()x",
        "1*",
        "1*layer(norm) + ",
        "match(norm, 0123456789ab)",
        "a(b(c",
        "x" * 3000,
    ],
)
def test_what_is_none_of_these_is_none(text):
    assert restore(text, [photograph(16, 24)]) is None


def test_a_picture_of_a_photograph_is_reproduced_from_its_file(tmp_path):
    path = save(photograph(17, 24), tmp_path / "photo.png")
    photo = fv.load_image(path, 3)
    model = small()
    climbed = fv.accentuation(fv.channel("norm", 3), photo, weight=0.1)
    (picture,) = fv.render(model, climbed, start=photo, **OPTIONS)
    again = fv.reproduce(picture.save(tmp_path / "mine.png"), model, made_of=[path])
    assert again.png() == picture.png()
    assert fv.reproduce(tmp_path / "mine.png", model, objective=climbed, start=photo).png() == picture.png()


def test_a_direction_is_reproduced_from_its_file_under_any_name(tmp_path):
    model, path = small(), tmp_path / "probes.safetensors"
    save_file({"rows": torch.eye(8)}, path)
    (picture,) = fv.render(model, f"norm@{path}:rows:2", size=(17, 24), **OPTIONS)
    saved = picture.save(tmp_path / "mine.png")
    with pytest.raises(fv.UserError, match=r"made of a file or a tensor: give made_of.*objective="):
        fv.reproduce(saved, model)
    moved = path.rename(tmp_path / "moved.safetensors")
    assert fv.reproduce(saved, model, made_of=[moved]).png() == picture.png()
    save_file({"rows": torch.eye(8) * 2}, moved)
    with pytest.raises(fv.UserError, match=r"was not made of .*moved"):
        fv.reproduce(saved, model, made_of=[moved])


def test_what_is_missing_is_said_in_the_callers_words(place, capsys):  # noqa: F811
    assert main(["invert", "photo.png", "--layer", "norm", "--steps", "1", *NETWORK, "--out", "out"]) == 0
    typed = ["reproduce", "out/invert-photo-norm.png", *NETWORK]
    for files, said in (
        ([], "made of a file or a tensor: give the photograph (or the directions) with --start FILE"),
        (["--start", "art.png"], "was not made of art.png"),
        (["--start", "none.png"], "none.png"),
        (["--start", "net.py"], "net.py is no readable photograph"),
        (["--start", "none.safetensors"], "none.safetensors"),
    ):
        capsys.readouterr()
        assert main([*typed, *files]) == 2
        line = capsys.readouterr().err.splitlines()[-1]
        assert line.startswith("featvis: ")
        assert said in line
    assert main([*typed, "--start", "art.png", "--start", "photo.png"]) == 0
    assert "the same bytes" in capsys.readouterr().out
    mine = fv.objective(layers=["norm"], name="mine")(lambda a: a["norm"].mean((1, 2, 3)))
    fv.render(small(), mine, size=(17, 24), **OPTIONS)[0].save("mine.png")
    assert main(["reproduce", "mine.png", *NETWORK]) == 2
    assert "fv.reproduce(…, objective=…)" in capsys.readouterr().err
