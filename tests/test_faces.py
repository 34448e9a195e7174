"""A face detector's picture of a face: the gallery's example beyond ImageNet."""

from __future__ import annotations

import importlib.util

import pytest
import torch
from torch.nn.functional import interpolate

import featvis as fv


def detectors():
    """MTCNN's last two networks (Zhang et al. 2016), with the weights that lie in the package."""
    if importlib.util.find_spec("facenet_pytorch") is None:
        pytest.skip("needs the package facenet-pytorch: pip install --no-deps -r tests/no-deps.txt")
    from facenet_pytorch.models.mtcnn import ONet, RNet

    return ONet().eval(), RNet().eval()


@pytest.mark.slow
def test_pictures_of_a_face_are_faces_to_another_detector_too():
    network, other = detectors()
    model = fv.load_model(network, mean=(0.5,) * 3, std=(128 / 255,) * 3, input_size=48)
    faces = fv.render(model, "dense6_1:1", size=48, seeds=4, lanes=4)
    others = fv.render(model, "dense6_1:0", size=48, seeds=4, lanes=4)

    def believed(detector, pictures, side):
        shown = torch.stack([picture.image for picture in pictures])
        with torch.no_grad():
            return detector((interpolate(shown, side, mode="area") - 0.5) / (128 / 255))[-1][:, 1]

    assert believed(network, faces, 48).min() > 0.99
    assert believed(other, faces, 24).min() > 0.9, "R-Net took no part, and sees half the size"
    assert believed(other, others, 24).max() < 0.1, "pictures of what is no face"
