from __future__ import annotations

import numpy as np
from skimage.color import rgb2lab

from featvis.attribution.colours import balance, heat


def test_equal_steps_of_a_map_are_equal_steps_of_lightness():
    lightness = rgb2lab(heat()[None] / 255)[0, :, 0]
    steps = np.diff(lightness[::15])
    assert (steps > 0).all()
    assert steps.std() < 0.2 * steps.mean()
    assert lightness[0] < 15
    assert lightness[-1] > 90


def test_for_and_against_are_equally_strong_and_nothing_is_nearly_white():
    colours = balance()
    lab = rgb2lab(colours[None] / 255)[0]
    assert np.abs(lab[:255, 0] - lab[-1:-256:-1, 0]).max() < 8  # alike on both sides
    assert colours[255].min() > 235
    assert lab[-1, 1] > 30  # red
    assert lab[0, 2] < -30  # blue
    assert (np.diff(lab[255:, 0][::15]) < 0).all()
