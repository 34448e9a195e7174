"""Judges of another kind of input than the pictures are left out, which is said once."""

import numpy as np
import pytest
import torch
from torch import nn

import featvis as fv
from featvis.trust.panel import of_its_kind

THREE = {"mean": (0.5,) * 3, "std": (0.5,) * 3}
ONE = {"mean": (0.5,), "std": (0.5,)}


def of_images(channels=3, **told):
    torch.manual_seed(channels)
    layers = (nn.Conv2d(channels, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
    return fv.load_model(nn.Sequential(*layers), **(THREE if channels == 3 else ONE), input_size=16, **told)


def of_signals(seed=0):
    torch.manual_seed(seed)
    layers = (nn.Conv1d(1, 4, 9), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(4, 3))
    return fv.load_model(nn.Sequential(*layers), **ONE, input_size=64, signal=True)


def of_videos(frames):
    return fv.load_model(nn.Sequential(nn.Conv3d(3, 4, 3)), **THREE, input_size=16, frames=frames)


def test_a_judge_takes_what_the_pictures_are():
    colour, grey, sound, film, longer = of_images(), of_images(1), of_signals(), of_videos(4), of_videos(8)
    every = [colour, grey, sound, film, longer]
    said = []
    for own in every:
        assert of_its_kind(every, own, said.append) == [own]
    assert len(said) == len(every)
    assert said[2].endswith(
        "are not asked: they take images of 3 channels or images of 1 channel or videos or volumes of 4 "
        "frames, 3 channels or videos or volumes of 8 frames, 3 channels, "
        "Sequential takes signals of 1 channel"
    )
    assert of_its_kind([colour], colour, said.append) == [colour]
    assert of_its_kind([grey], colour, None) == []
    assert len(said) == len(every)


@pytest.mark.parametrize("own", [of_signals(), of_videos(4)], ids=["signals", "videos"])
def test_signals_and_videos_are_evaluated_and_compared_beside_judges_of_images(own, tmp_path):
    layer = "4" if own.signal else "0"
    fv.render(own, f"{layer}:0:2", out=tmp_path, steps=2, lanes=2, size=own.input_size)
    said = []
    evaluation = fv.evaluate(tmp_path, model=own, judges=[of_images()], say=said.append)
    assert evaluation["judges"] == {}
    assert [one["target"] for one in evaluation["pictures"]] == [f"{layer}:0", f"{layer}:1"]
    assert sum("is not asked" in line for line in said) == 1
    few, more = (fv.Recipe(size=own.input_size, steps=steps, lanes=2, transforms=[]) for steps in (1, 3))
    if not own.signal:
        few, more = (
            recipe.but(space={"name": "video", "inner": "pixel", "frames": 4}) for recipe in (few, more)
        )
    measures = fv.compare(few, more, f"{layer}:0:2", model=own, judges=[of_images()], draws=100)["measures"]
    assert np.isfinite(measures["score"]["difference"])
    assert not any("probability" in name for name in measures)
