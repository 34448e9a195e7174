"""Activation matching: an image that gives a layer what a photograph gave it."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from featvis.models.layers.measure import LayerInfo
from featvis.models.photograph import Photograph
from featvis.objectives.reference import Compared, check_photograph


class Match(Compared):
    """−Σ_l ‖A_l(x) − A_l(ref)‖² / ‖A_l(ref)‖² (Mahendran & Vedaldi 2015)."""

    def compare(self, own: Tensor, reference: Tensor, layer: LayerInfo) -> Tensor:  # noqa: D102
        size = reference.square().flatten(1).sum(1).clamp(min=1e-12)
        return -(own - reference).square().flatten(1).sum(1) / size


def match(layers: str | Sequence[str], photograph: Photograph) -> Match:
    """Invert a representation: an image whose activations are a photograph's (Mahendran & Vedaldi 2015).

    Args:
        layers: whose activations are matched, a name or several; a perfect match scores 0, others less.
        photograph: a file, a PIL image, or a tensor or array ``(C, H, W)`` in [0, 1]; brought to the canvas.

    Raises:
        CanvasError: no image, one beyond [0, 1], or (at the network) one of other channels.
        OutputError: a file that is no readable image.
        TargetError: no layer.

    >>> import featvis as fv, torch
    >>> fv.match("conv", torch.zeros(3, 8, 8)).layers
    ('conv',)
    """
    image, names = check_photograph("match", photograph, layers)
    return Match(names, image)
