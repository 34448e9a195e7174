"""Class portraits are recognized by a network that was not optimized: scored on the saved PNGs."""

import random

import pytest
import torch
from torch.nn import functional

import featvis as fv

CLASSES = 20


@pytest.mark.slow
def test_a_judge_names_the_classes_of_the_portraits(tmp_path):
    classes = random.Random(2026).sample(range(1000), CLASSES)
    recipe = fv.Recipe.load("portrait")
    assert recipe.steps <= 256
    fv.render("efficientnet_lite0", "classifier:" + ",".join(map(str, classes)), out=tmp_path)
    judge = fv.load_model("efficientnet_lite1")
    images = torch.stack(
        [fv.load_picture(tmp_path / "classifier" / f"{unit:04d}.png").image for unit in classes]
    )
    shown = functional.interpolate(
        images, judge.input_size, mode="bicubic", antialias=True, align_corners=False
    ).clamp(0, 1)
    with torch.no_grad(), judge.tap(["classifier"]) as activations:
        probabilities = activations(shown)["classifier"].softmax(1)
    targets = torch.tensor(classes)
    first = (probabilities.argmax(1) == targets).float().mean().item()
    own = probabilities[torch.arange(CLASSES), targets].mean().item()
    print(f"judge efficientnet_lite1 on {CLASSES} classes: first {first:.2f}, mean probability {own:.3f}")
    assert first >= 0.95
    assert own >= 0.85
