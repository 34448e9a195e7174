"""Style: what goes together in a picture, wherever it is."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from featvis.models.layers.measure import LayerInfo
from featvis.models.photograph import Photograph
from featvis.objectives.base import spread_over
from featvis.objectives.reference import Compared, check_photograph


class Style(Compared):
    """−Σ_l mean |G_l(x) − G_l(ref)| / mean |G_l(ref)|, G = F Fᵀ / positions (Gatys et al. 2016).

    The mean L1 distance of Gram matrices, over the photograph's own, so that every layer
    counts the same. Where things are does not matter, so the photograph is read once, without transforms.
    """

    moves = False

    def compare(self, own: Tensor, reference: Tensor, layer: LayerInfo) -> Tensor:  # noqa: D102
        wanted = _gram(reference, layer)
        size = wanted.abs().mean((1, 2)).clamp(min=1e-12)
        return -(_gram(own, layer) - wanted).abs().mean((1, 2)) / size


def _gram(activation: Tensor, layer: LayerInfo) -> Tensor:
    spread = spread_over(layer, activation)
    return spread @ spread.mT / spread.shape[2]


def style(layers: str | Sequence[str], photograph: Photograph) -> Style:
    """Climb towards a photograph's style (Gatys et al. 2016, with L1 distances); at most 0.

    With :func:`featvis.match` of a deep layer, this is style transfer.

    Args:
        layers: whose Gram matrices are compared, early ones for fine texture.
        photograph: a file, a PIL image, or a tensor or array ``(C, H, W)`` in [0, 1]; brought to the canvas.

    Raises:
        CanvasError: no image, one beyond [0, 1], or (at the network) one of other channels.
        OutputError: a file that is no readable image.
        TargetError: no layer.

    >>> import featvis as fv, torch
    >>> fv.style(["conv1", "conv2"], torch.zeros(3, 8, 8)).layers
    ('conv1', 'conv2')
    """
    image, names = check_photograph("style", photograph, layers)
    return Style(names, image)
