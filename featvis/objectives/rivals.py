"""What the other classes of a classifier reach together; subtract it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from featvis.errors import RecipeError
from featvis.models.layers.network import NetworkAt
from featvis.objectives.base import Objective, copy_with
from featvis.objectives.shown import Activations
from featvis.spec.register import part


@part("rivals")
class Rivals(Objective):
    """What the classes beside a picture's own reach together: log Σ_{c≠t} exp ℓ_c over all other logits.

    To be subtracted from a class logit ℓ_t: with weight w what is climbed is (1 - w) ℓ_t + w m, m the smooth
    margin ℓ_t - log Σ_{c≠t} exp ℓ_c. A logit alone is happy with what a class shares with its neighbours (a
    screen, a monitor); this asks for what sets it apart. Unlike the log-probability it does not fade once the
    network is sure. Reads the layer of the target, ``(B, classes)`` or a map of one position; with no class
    to leave out, all count.
    """

    def beside(self, layers: Sequence[str], units: Sequence[int] = ()) -> Objective:  # noqa: D102
        return copy_with(self, _until=tuple(layers), _units=tuple(units))

    def bind(self, network: NetworkAt) -> Objective:  # noqa: D102
        layers = self._until or (network.output_layer,)
        known = [network.layer(name) for name in layers]
        if len(known) > 1 or not known[0].is_one_each or known[0].units < 2:
            name, shown = self.describe().partition("(")[0], ", ".join(layers)
            raise RecipeError(
                f"penalty {name}: {shown} is not one layer of classes (B, classes); it is for class logits"
            )
        return copy_with(self, layers=layers, _where={})

    def score(self, activations: Activations, images: Tensor) -> Tensor:  # noqa: D102
        logits = activations[self.layers[0]].flatten(1)
        logits = logits if logits.dtype == torch.float64 else logits.float()
        if self._units:
            logits = logits.scatter(1, self._own(len(logits), logits.device), -torch.inf)
        return logits.logsumexp(1)

    def describe(self) -> str:  # noqa: D102
        return "rivals()"

    def _own(self, lanes: int, device: torch.device) -> Tensor:
        """Each lane's own class, ``(lanes, 1)``."""
        if (lanes, device) not in self._where:
            units = self._units * (lanes // len(self._units))
            self._where[lanes, device] = torch.tensor(units, device=device)[:, None]
        return self._where[lanes, device]

    _until: ClassVar[tuple[str, ...]] = ()
    _units: ClassVar[tuple[int, ...]] = ()
    _where: ClassVar[dict[tuple[int, torch.device], Tensor]] = {}
