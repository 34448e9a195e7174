"""How sure a classifier is of a picture's own class, beyond what photographs reach; subtract it."""

from __future__ import annotations

import torch
from torch import Tensor

from featvis.objectives.base import number
from featvis.objectives.rivals import Rivals
from featvis.objectives.shown import Activations
from featvis.spec.register import part


@part("confidence")
class Confidence(Rivals):
    """How far the log odds of a picture's own class exceed a photograph's: max(0, ℓ_t - r - ``limit``).

    r = log Σ_{c≠t} exp ℓ_c, what the other classes reach together, is held constant. Photographs have log
    odds of 1 to 8; ascent goes on to 20, and what it adds then is stronger than nature has it. Subtracted
    with a weight w, the class logit counts 1 - w of what it did once the network is that sure: what is left
    of the run is the other penalties'. Reads the layer of the target, ``(B, classes)`` or a map of one
    position; where no class is climbed, t is the one that the network is surest of.
    """

    limit: float = 5.0
    """Log odds; 5 is a probability of .993."""

    def score(self, activations: Activations, images: Tensor) -> Tensor:  # noqa: D102
        logits = activations[self.layers[0]].flatten(1)
        logits = logits if logits.dtype == torch.float64 else logits.float()
        known = bool(self._units)
        at = self._own(len(logits), logits.device) if known else logits.argmax(1, keepdim=True)
        rest = logits.scatter(1, at, -torch.inf).logsumexp(1).detach()
        return (logits.gather(1, at)[:, 0] - rest - self.limit).clamp(min=0)

    def describe(self) -> str:  # noqa: D102
        return f"confidence({number(self.limit)})"
