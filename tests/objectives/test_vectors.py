"""Directions from a safetensors file, and products of layers and units in one address."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file

import featvis as fv
from featvis.cli import main
from tests.networks import PLAIN, activations_of, small

OPTIONS = {"size": (17, 24), "steps": 3, **PLAIN}


@pytest.fixture
def file(tmp_path, chance):
    path = tmp_path / "sae.safetensors"
    rows = torch.randn((5, 8), generator=chance)
    save_file({"decoder": rows, "probe": rows[1].clone(), "empty": torch.zeros(2, 8)}, path)
    return path, rows


def test_rows_are_the_directions_that_they_hold(file):
    path, rows = file
    model = small()
    pictures = fv.render(model, f"conv2@{path}:decoder:1:5:2,0", **OPTIONS)
    assert len(pictures) == 3
    for row, picture in zip((1, 3, 0), pictures, strict=True):
        found = activations_of(model, "conv2", picture.image[None])[0]
        assert picture.score == pytest.approx(float((found.mean((1, 2)) * rows[row]).sum()), abs=1e-4)
        assert f"sae.safetensors:decoder:{row}" in picture.target


def test_rows_and_layers_are_a_product(file):
    path, _ = file
    told = [
        one.target.split("#")[0] for one in fv.render(small(), f"conv2,norm@{path}:decoder:0:2", **OPTIONS)
    ]
    where = "sae.safetensors:decoder"
    assert told == [f"conv2@{where}:0", f"conv2@{where}:1", f"norm@{where}:0", f"norm@{where}:1"]


def test_the_content_is_in_the_key_and_the_folder_is_not(file, tmp_path, chance):
    path, rows = file
    other, moved = tmp_path / "other", tmp_path / "moved"
    for folder in (other, moved):
        folder.mkdir()
    save_file({"decoder": rows * 2}, other / path.name)
    save_file({"decoder": rows}, moved / path.name)
    described = [fv.vectors(f"conv2@{one}:decoder:0")[0].describe() for one in (path, other / path.name)]
    assert described[0] != described[1]
    assert fv.vectors(f"conv2@{moved / path.name}:decoder:0")[0].describe() == described[0]


def test_one_vector_needs_no_row(file):
    path, rows = file
    (one,) = fv.vectors(f"conv2@{path}:probe")
    assert torch.equal(one.vectors[0], rows[1])


def test_units_of_several_layers_are_a_product():
    told = [one.target for one in fv.render(small(), "conv1, conv2:1,4", **OPTIONS)]
    assert told == ["conv1:1", "conv1:4", "conv2:1", "conv2:4"]
    with pytest.raises(fv.TargetError, match="nope"):
        fv.render(small(), "conv1,nope:0")


@pytest.mark.parametrize(
    ("rest", "told"),
    [
        ("", "LAYER@FILE"),
        (":decoder:5", "out of range"),
        (":decodr:0", "did you mean 'decoder'"),
        (":empty:0", "not zero"),
        (":decoder:", "LAYER@FILE"),
    ],
)
def test_mistakes_are_said(file, rest, told):
    with pytest.raises(fv.TargetError, match=told):
        fv.render(small(), f"conv2@{file[0]}{rest}", **OPTIONS)


def test_a_direction_of_another_length_and_a_missing_file_are_said(file, tmp_path, capsys):
    with pytest.raises(fv.TargetError, match="has 6 components, got 8"):
        fv.render(small(), f"conv1@{file[0]}:decoder:0", **OPTIONS)
    with pytest.raises(fv.UserError, match="cannot be read"):
        fv.vectors(f"conv1@{tmp_path / 'none.safetensors'}:decoder:0")
    assert main(["render", f"blocks.3@{file[0]}:decodr:0", "--out", str(tmp_path / "out")]) == 2
    assert "did you mean 'decoder'" in capsys.readouterr().err
