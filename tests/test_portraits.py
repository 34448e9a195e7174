"""Class portraits are recognized by a network that was not optimized: scored on the saved PNGs."""

import random

import pytest

import featvis as fv
from featvis.trust.naturalness import measure_appearance, naturalness
from featvis.trust.transfer import summarize, transfer
from tests.part import takes_all

CLASSES = 20
FEWER = 6
"""Where not all were asked for."""


@pytest.mark.slow
def test_a_judge_names_the_classes_of_the_portraits(tmp_path, pytestconfig):
    classes = random.Random(2026).sample(range(1000), CLASSES)
    classes = classes if takes_all(pytestconfig) else classes[:FEWER]
    recipe = fv.Recipe.load("portrait")
    assert recipe.steps <= 256
    fv.render("efficientnet_lite0", "classifier:" + ",".join(map(str, classes)), out=tmp_path)
    judge = fv.load_model("efficientnet_lite1")
    pictures = [fv.load_picture(tmp_path / "classifier" / f"{unit:04d}.png") for unit in classes]
    told = summarize(transfer(pictures, classes, judge))
    print(f"judge efficientnet_lite1 on {len(classes)} classes: {told}")
    looks = [measure_appearance(picture) for picture in pictures[:4]]
    print(f"naturalness {naturalness(pictures, judge)}; looks {looks}")
    assert told["top1"] * len(classes) >= len(classes) - 1
    assert told["probability"] >= 0.85
