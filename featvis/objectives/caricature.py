"""Caricature: more of what a layer sees in a photograph."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from featvis.errors import TargetError
from featvis.models.layers.measure import LayerInfo
from featvis.models.photograph import Photograph
from featvis.objectives.base import number
from featvis.objectives.pattern import dot_times_cosine
from featvis.objectives.reference import Compared, check_photograph


class Caricature(Compared):
    """Σ_l ⟨A_l(x), R_l⟩ / ‖R_l‖² · max(.1, cos(A_l(x), R_l))^p, R_l the photograph's (Lucid).

    Over ‖R‖² so that every layer counts the same and the photograph itself scores 1 for each.
    """

    def __init__(self, layers: Sequence[str], photograph: Tensor, power: float) -> None:
        super().__init__(layers, photograph)
        self.power = power

    def compare(self, own: Tensor, reference: Tensor, layer: LayerInfo) -> Tensor:  # noqa: D102
        size = reference.square().flatten(1).sum(1).clamp(min=1e-12)
        return dot_times_cosine(own.flatten(1), reference.flatten(1), self.power, 1) / size

    def describe(self) -> str:  # noqa: D102
        power = f", power={number(self.power)}" if self.power else ""
        return f"caricature({', '.join(self.layers)}, {self._digest}{power})"


def caricature(layers: str | Sequence[str], photograph: Photograph, power: float = 0.0) -> Caricature:
    """Exaggerate what layers see in a photograph, which itself scores 1 for each (Lucid, normalized).

    Args:
        layers: whose activations are exaggerated, a name or several.
        photograph: a file, a PIL image, or a tensor or array ``(C, H, W)`` in [0, 1]; brought to the canvas.
        power: of the cosine, from 0 up; the larger, the more faithful and the less strong.

    Raises:
        CanvasError: no image, one beyond [0, 1], or (at the network) one of other channels.
        OutputError: a file that is no readable image.
        TargetError: no layer, or a negative power.

    >>> import featvis as fv, torch
    >>> fv.caricature(["conv1", "conv2"], torch.zeros(3, 8, 8)).layers
    ('conv1', 'conv2')
    """
    image, names = check_photograph("caricature", photograph, layers)
    if power < 0:
        raise TargetError(f"caricature: power is at least 0, got {power}")
    return Caricature(names, image, power)
