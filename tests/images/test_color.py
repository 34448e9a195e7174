"""Colour decorrelation against the published covariance root."""

from __future__ import annotations

import pytest
import torch

import featvis as fv
from featvis.images.color import RGB_FROM_DECORRELATED, color_matrix, from_unit_range, to_unit_range

ROOT = torch.tensor([[0.26, 0.09, 0.02], [0.27, 0.0, -0.05], [0.27, -0.09, 0.03]], dtype=torch.float64)
"""The SVD root of ImageNet's RGB covariance, as Lucid prints it."""


def test_the_matrix_is_the_published_root_over_its_largest_column():
    expected = ROOT / ROOT.norm(dim=0).max()
    torch.testing.assert_close(torch.tensor(RGB_FROM_DECORRELATED).double(), expected, atol=1e-7, rtol=0)


def test_its_inverse_is_the_published_one():
    published = [[0.57744, 0.57744, 0.57744], [2.77171, -0.30797, -2.36109], [3.11818, -6.12087, 3.11818]]
    inverse = torch.linalg.inv(torch.tensor(RGB_FROM_DECORRELATED).double())
    torch.testing.assert_close(inverse, torch.tensor(published).double(), atol=1e-4, rtol=0)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_decorrelated_channel_becomes_its_column_of_colors(axis):
    raw = torch.zeros(1, 3, 2, 3)
    raw[:, axis] = 0.7
    expected = torch.sigmoid(0.7 * ROOT[:, axis] / ROOT.norm(dim=0).max()).float()
    found = to_unit_range(raw, color_matrix(3, True, torch.device("cpu")))
    torch.testing.assert_close(found, expected[None, :, None, None].expand(1, 3, 2, 3))


@pytest.mark.parametrize(("channels", "decorrelate"), [(3, False), (1, True), (4, True), (13, True)])
def test_without_known_statistics_channels_are_left_as_they_are(channels, decorrelate):
    assert color_matrix(channels, decorrelate, torch.device("cpu")) is None


def test_the_way_back(chance):
    matrix = color_matrix(3, True, torch.device("cpu"))
    image = torch.rand((3, 5, 8), generator=chance) * 0.99 + 0.005
    back = to_unit_range(from_unit_range(image, matrix).float()[None], matrix)[0]
    torch.testing.assert_close(back, image, atol=1e-6, rtol=0)


@pytest.mark.parametrize("space", [fv.FourierImage, fv.PixelImage])
def test_decorrelation_makes_starts_whose_channels_go_together(space):
    correlations = []
    for decorrelate in (False, True):
        made = space(size=(64, 64), decorrelate=decorrelate)
        drawn = made.draw(torch.Generator().manual_seed(1))
        image = made.decode({key: value[None] for key, value in drawn.items()})[0].flatten(1)
        correlations.append(float(torch.corrcoef(image)[0, 1]))
    assert abs(correlations[0]) < 0.25 < 0.8 < correlations[1]
