"""The pixel space against its formula, value by value."""

from __future__ import annotations

import math

import pytest
import torch

import featvis as fv

ROOT = [[0.26, 0.09, 0.02], [0.27, 0.0, -0.05], [0.27, -0.09, 0.03]]
"""The SVD root of ImageNet's RGB covariance, as Lucid prints it."""


def test_every_value_is_the_sigmoid_of_its_pixels_mixed_channels(chance):
    space = fv.PixelImage(size=(3, 5))
    raw = torch.randn((2, 3, 3, 5), generator=chance)
    scale = max(math.sqrt(sum(row[column] ** 2 for row in ROOT)) for column in range(3))
    found = space.decode({"pixels": raw})
    for lane, row, column, color in torch.cartesian_prod(*map(torch.arange, (2, 3, 5, 3))).tolist():
        mixed = sum(ROOT[color][k] / scale * float(raw[lane, k, row, column]) for k in range(3))
        assert float(found[lane, color, row, column]) == pytest.approx(1 / (1 + math.exp(-mixed)), abs=1e-6)


def test_the_start_has_the_documented_deviation():
    drawn = fv.PixelImage(size=(120, 90), deviation=0.3).draw(torch.Generator().manual_seed(0))["pixels"]
    assert float(drawn.std()) == pytest.approx(0.3, rel=0.02)
    assert abs(float(drawn.mean())) < 0.01
