"""Options that commands share, and those of which no other test has need: each arrives where it counts."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import save_file

import featvis as fv
from featvis.cli import main
from tests.networks import Small, seeded

NETWORK = """
from tests.networks import Small, seeded
TOLD = {"mean": (0.5,) * 3, "std": (0.5,) * 3, "input_size": (24, 32)}
def build():
    return seeded(Small), TOLD
"""
TOLD = {"mean": (0.4, 0.5, 0.6), "std": (0.2, 0.3, 0.25), "unit_axis": 1, "device": "cpu"}
SIZE = ["--size", "24x32"]
FAST = [*SIZE, "--steps", "2", "--lanes", "2"]
COMMANDS = {
    "render": ["norm:0:2", *FAST, "--out", "{out}"],
    "attribute": ["{photo}", "-t", "norm:1", "--method", "grad-cam", *SIZE, "--out", "{out}"],
    "blocks": ["{photo}", "-t", "fc:1", "-l", "norm", *SIZE, "--out", "{out}"],
    "components": ["norm", "{photo}", "--count", "2", *SIZE, "--out", "{out}.safetensors"],
    "layers": SIZE,
    "bench": ["--layer", "norm", *SIZE, "--lanes", "2", "--rounds", "1"],
    "evaluate": ["{folder}", "--judge", "{network}"],
    "reproduce": ["{picture}", "--out", "{out}.png"],
    "compare": [
        "fast",
        "channel",
        "--targets",
        "norm:0:2",
        "--seeds",
        "1",
        "--steps",
        "1",
        *SIZE,
        "--judge",
        "{network}",
    ],
}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A network, weights of other values than its own, a photograph, and what was rendered with them."""
    folder = tmp_path_factory.mktemp("options")
    (folder / "net.py").write_text(NETWORK)
    save_file(seeded(Small, seed=8).state_dict(), folder / "weights.safetensors")
    levels = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    Image.fromarray(levels).save(folder / "photo.png")
    network = f"file:{folder / 'net.py'}:build"
    model = fv.load_model(network, weights=str(folder / "weights.safetensors"), **TOLD)
    fv.render(model, "norm:0:2", out=folder / "rendered", size=(24, 32), steps=2, lanes=2)
    return folder


def words_of(command, place, out="out"):
    given = {
        "{out}": str(place / command / out),
        "{photo}": str(place / "photo.png"),
        "{folder}": str(place / "rendered"),
        "{picture}": str(place / "rendered/norm/0001.png"),
        "{network}": f"file:{place / 'net.py'}:build",
    }
    (place / command).mkdir(exist_ok=True)
    words = COMMANDS[command]
    for name, value in given.items():
        words = [word.replace(name, value) for word in words]
    network = [] if command == "layers" else ["--model"]
    return [command, *words, *network, given["{network}"]]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_hands_on_how_its_network_is_named(command, place, monkeypatch, capsys):
    from featvis.models import load

    real, asked = load.load_model, []

    def heard(model, **options):
        asked.append((model, options))
        return real(model, **options)

    monkeypatch.setattr(load, "load_model", heard)
    weights = str(place / "weights.safetensors")
    typed = ["--weights", weights, "--mean", "0.4,0.5,0.6", "--std", "0.2,0.3,0.25"]
    assert main([*words_of(command, place), *typed, "--unit-axis", "1", "--device", "cpu"]) == 0
    assert (f"file:{place / 'net.py'}:build", {"weights": weights, **TOLD}) in asked
    if command == "reproduce":
        assert "the same bytes" in capsys.readouterr().out


def attributed(place, *typed):
    words = words_of("attribute", place)
    words[words.index("grad-cam")] = "saliency,occlusion,grad-cam"
    assert main([*words, "--no-curves", *typed]) == 0
    folder = place / "attribute/out"
    return {name: (folder / f"{name}-map.png").read_bytes() for name in ("saliency", "occlusion", "grad-cam")}


@pytest.mark.parametrize(
    ("method", "before", "after"),
    [
        ("saliency", [], ["--smooth", "2"]),
        ("saliency", ["--smooth", "2"], ["--smooth", "2", "--noise", "0.5"]),
        ("saliency", ["--smooth", "2"], ["--smooth", "2", "--seed", "5"]),
        ("occlusion", ["--stride", "4"], ["--stride", "7"]),
        ("occlusion", ["--stride", "4"], ["--stride", "4", "--baseline", "white"]),
        ("grad-cam", [], ["--layer", "conv1"]),
    ],
    ids=["smooth", "noise", "seed", "stride", "baseline", "layer"],
)
def test_options_of_attribution_change_the_maps_of_their_methods_alone(method, before, after, place):
    pytest.importorskip("captum")
    quick = ["--window", "8"]
    first, second = attributed(place, *quick, *before), attributed(place, *quick, *after)
    assert {name for name in first if first[name] != second[name]} == {method}


def test_one_method_stands_beside_an_edge_detector_where_a_grid_is_asked_for(place):
    words = words_of("attribute", place, "alone")
    assert main([*words, "--no-curves"]) == 0
    assert not (place / "attribute/alone/grid.png").exists()
    assert main([*words, "--no-curves", "--grid"]) == 0
    told = json.loads((place / "attribute/alone/grid.json").read_text())
    assert list(told["rank_correlation_with_edges"]) == ["grad-cam"]


def test_components_start_from_the_seed(place):
    found = []
    for seed in ("0", "0", "1"):
        assert main([*words_of("components", place), "--method", "nmf", "--seed", seed]) == 0
        found.append((place / "components/out.safetensors").read_bytes())
    assert found[0] == found[1] != found[2]


def test_the_bench_times_the_recipe_that_was_asked_for(place):
    told = {}
    for recipe in ("channel", "fast"):
        path = place / f"{recipe}.json"
        assert main([*words_of("bench", place), "--recipe", recipe, "--json", str(path)]) == 0
        told[recipe] = json.loads(path.read_text())["steps"]
    assert told == {recipe: fv.Recipe.load(recipe).steps for recipe in told}
    assert len(set(told.values())) == 2
    typed = ["--steps", "7", "--precision", "bfloat16", "--threads", "3"]
    assert main([*words_of("bench", place), *typed, "--json", str(path)]) == 0
    found = json.loads(path.read_text())
    assert (found["steps"], found["precision"], found["device"]) == (7, "bfloat16", "cpu, 3 threads")
