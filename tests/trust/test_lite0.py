"""The same on EfficientNet-Lite0: how long it takes, and what is said where the weights are random."""

import random
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import featvis as fv
from featvis.results.picture import to_levels
from featvis.trust.references import noise_images


@pytest.mark.slow
def test_pictures_of_random_weights_are_recognized_by_nobody_and_say_so(tmp_path):
    model = fv.load_model("efficientnet_lite0", weights="none")
    options = {"size": 64, "steps": 12, "lanes": 8}
    fv.render(model, ["classifier:0:6", "blocks.3:0:4"], out=tmp_path, **options)
    found = fv.evaluate(tmp_path, model=model, judges=["efficientnet_lite1"])
    for one in found["pictures"]:
        assert "of a network with random weights" in one["verdicts"]
        if one["layer"] == "classifier":
            assert "recognized by 0 of 1 judge" in one["verdicts"]


@pytest.mark.slow
def test_noise_pngs_passed_off_as_pictures_are_flagged_half_a_hundred_in_a_minute(tmp_path, lite0):
    (picture,) = fv.render(lite0, "classifier:0", size=224, steps=1, lanes=1, out=tmp_path)
    for unit, image in enumerate(noise_images(100, 3, (224, 224))[::2]):
        forged = replace(picture, levels=to_levels(image), target=f"classifier:{unit}", unit=unit)
        forged.label = lite0.labels[unit]
        forged.key = f"{unit:032x}"
        forged.save(tmp_path / "classifier" / f"{unit:04d}.png")
    (tmp_path / "manifest.json").unlink()
    began = time.perf_counter()
    found = fv.evaluate(tmp_path, judges=["efficientnet_lite1"])
    took = time.perf_counter() - began
    print(f"50 pictures by one judge: {took:.1f} s with {torch.get_num_threads()} threads")
    assert len(found["pictures"]) == 50
    flagged = [one for one in found["pictures"] if "responds as much to noise" in one["verdicts"]]
    assert len(flagged) == 50
    assert all("looks unlike any photograph" in one["verdicts"] for one in found["pictures"])
    # Noise is of some class to every judge; to be of the one asked for is chance.
    assert sum("recognized by 0 of 1 judge" in one["verdicts"] for one in found["pictures"]) >= 49
    assert took < 60, "with one thread: 24 on a quiet machine"


@pytest.mark.slow
def test_channels_are_excited_as_no_photograph_excites_them_and_most_of_all_units(tmp_path, lite0):
    """The recipe ``channel``: three times the best photograph, first in the layer, alike from two starts."""
    photographs = Path(pytest.importorskip("skimage").__file__).parent / "data"
    chance = random.Random(5)
    targets = [
        f"{layer}:{unit}"
        for layer in ("blocks.2", "blocks.3", "blocks.4", "blocks.5")
        for unit in chance.sample(range(lite0.layer(layer).units), 4)
    ]
    fv.render(lite0, targets, recipe="channel", size=(112, 128), seeds=2, out=tmp_path)
    found = fv.evaluate(tmp_path, judges=["efficientnet_lite1"], examples=photographs)["pictures"]
    assert len(found) == 32
    # A unit that no photograph excites has no ratio.
    above = [one["photographs"]["ratio"] is None or one["photographs"]["ratio"] >= 3 for one in found]
    first = [one["selectivity"]["rank"] == 1 for one in found]
    print(f"{sum(above)} of 32 three times the best photograph, {sum(first)} first in their layer")
    assert sum(above) >= 28
    assert sum(first) >= 29
    assert all(one["agreement"]["agrees"] for one in found)
