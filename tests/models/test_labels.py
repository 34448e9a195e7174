"""Labels that a user gives are as many as the classes, or they are refused when the network is loaded."""

import pytest
from torch import nn

import featvis as fv
from featvis.cli import main

TOLD = {"mean": (0.5,) * 3, "std": (0.5,) * 3, "input_size": 16}


def network(classes=3):
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, classes))


def test_the_right_number_names_the_classes():
    model = fv.load_model(network(), labels=["ant", "bee", "cat"], **TOLD)
    assert model.layer("3").labels == ("ant", "bee", "cat")


@pytest.mark.parametrize("labels", [["ant", "bee"], ["ant"], ["ant", "bee", "cat", "dog", "elk"]])
def test_another_number_is_one_line(labels):
    count = "1 label" if len(labels) == 1 else f"{len(labels)} labels"
    with pytest.raises(
        fv.ModelError, match=f"^{count} for 3 classes: the output of Sequential, layer '3', has 3"
    ):
        fv.load_model(network(), labels=labels, **TOLD)


def test_names_of_a_map_of_classes_and_of_an_inner_layer_of_as_many_units_are_taken():
    segmentation = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 2, 1))
    assert fv.load_model(segmentation, labels=["cat", "dog"], **TOLD).layer("1").labels == ("cat", "dog")
    with pytest.raises(fv.ModelError, match="3 labels for 2 classes"):
        fv.load_model(segmentation, labels=["cat", "dog", "elk"], **TOLD)


def test_a_network_that_does_not_run_is_told_where_it_is_used():
    broken = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Linear(7, 3))
    model = fv.load_model(broken, labels=["cat"], **TOLD)
    with pytest.raises(fv.ModelError):
        model.layers  # noqa: B018


@pytest.mark.parametrize("given", ["file", "option"])
def test_a_file_of_ones_own_and_the_command_line(given, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    told = ', "labels": ["a", "b"]' if given == "file" else ""
    (tmp_path / "net.py").write_text(
        "from tests.models.test_labels import TOLD, network\n"
        f"def make():\n    return network(), {{**TOLD{told}}}\n"
    )
    (tmp_path / "names.txt").write_text("a\nb\n")
    option = ["--labels", "names.txt"] if given == "option" else []
    assert main(["render", "3:0", "--model", "file:net.py:make", "--steps", "1", *option]) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("featvis: ")]
    assert lines == [
        "featvis: 2 labels for 3 classes: the output of file:net.py:make, layer '3', has 3 units"
    ]
