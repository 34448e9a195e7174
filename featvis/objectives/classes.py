"""A class against the others: its margin and its log-probability."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from featvis.errors import TargetError
from featvis.models.layers.network import NetworkAt
from featvis.objectives.base import Objective, copy_with
from featvis.objectives.shown import Activations
from featvis.spec.target import expand

Others = Literal["best", "logsumexp", "all"]


class AgainstOthers(Objective):
    """A class logit ℓ_t less what the classes beside it reach together.

    - ``best``: ℓ_t - max_{c≠t} ℓ_c, the margin: above 0 the network says t;
    - ``logsumexp``: ℓ_t - log Σ_{c≠t} exp ℓ_c, the smooth margin, which is the log-odds of t;
    - ``all``: ℓ_t - log Σ_c exp ℓ_c = log p_t, the log-probability.
    """

    def __init__(self, wanted: int | str, others: Others, layer: str | None = None) -> None:
        self.wanted, self.others = wanted, others
        self.layers = (layer,) if layer else ()
        self.units: tuple[int, ...] = ()
        self._where: Tensor | None = None

    def bind(self, network: NetworkAt) -> Objective:  # noqa: D102
        info = network.layer(self.layers[0] if self.layers else network.logits_layer)
        if not info.is_one_each or info.units < 2:
            raise TargetError(
                f"{self._word}: {info.name!r} gives {info.shape}, not (B, classes) with two classes or more; "
                "name a classifier layer"
            )
        units = self.units
        if not units:
            targets = expand(network.request(f"{info.name}:{self.wanted}"), info.units, info.labels)
            if len(targets) != 1:
                raise TargetError(f"{self._word}: one class is asked for, got {self.wanted!r}")
            units = (targets[0].unit,)
        return copy_with(self, layers=(info.name,), units=units)

    def score(self, activations: Activations, images: Tensor) -> Tensor:  # noqa: D102
        self._bound(self.units or None)
        logits = activations[self.layers[0]].flatten(1)  # of a fully convolutional network one position
        logits = logits if logits.dtype == torch.float64 else logits.float()
        lanes = logits.shape[0]
        if self._where is None or len(self._where) != lanes or self._where.device != logits.device:
            units = self.units * (lanes // len(self.units))
            self._where = torch.tensor(units, device=logits.device)[:, None]
        own = logits.gather(1, self._where)[:, 0]
        if self.others == "all":
            return own - logits.logsumexp(1)
        beside = logits.scatter(1, self._where, -torch.inf)
        return own - (beside.amax(1) if self.others == "best" else beside.logsumexp(1))

    def describe(self) -> str:  # noqa: D102
        # Bound, a class is its number: a name and its number are one picture.
        named = ",".join(map(str, self.units)) if self.units else str(self.wanted)
        layer = f", {self.layers[0]}" if self.layers else ""
        others = ", others=logsumexp" if self.others == "logsumexp" else ""
        return f"{self._word}({named}{layer}{others})"

    @property
    def _word(self) -> str:
        return "log_probability" if self.others == "all" else "margin"

    def stacks_with(self) -> tuple[object, ...]:  # noqa: D102
        return (AgainstOthers, self.layers, self.others, bool(self.units) or id(self))

    @classmethod
    def stack(cls, objectives: Sequence[Any]) -> Objective:  # noqa: D102
        units = tuple(unit for objective in objectives for unit in objective.units)
        first: AgainstOthers = objectives[0]
        return copy_with(first, units=units, _where=None)


def margin(wanted: int | str, layer: str | None = None, *, others: str = "best") -> AgainstOthers:
    """Climb how far a class is ahead of the others: ℓ_t - max ℓ_c or ℓ_t - log Σ exp ℓ_c over c ≠ t.

    Args:
        wanted: the class, by number or name.
        layer: the layer of the classes, ``(B, classes)`` or a map of one position, before any softmax; by
            default the one that gives what the network returns, as for :func:`featvis.logit`.
        others: ``best`` for the strongest other class, ``logsumexp`` for all others together.

    Raises:
        TargetError: ``others`` is neither; once bound, no such class, or no classifier layer.

    >>> import featvis as fv, torch
    >>> model = fv.load_model(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(48, 3)),
    ...     mean=(0.5,) * 3, std=(0.5,) * 3, input_size=4)
    >>> logits = torch.tensor([[1.0, 4.0, 6.0]])
    >>> fv.margin(2).bind(model.at((4, 4))).score({"1": logits}, torch.zeros(1, 3, 4, 4))
    tensor([2.])
    """
    if others not in get_args(Others)[:2]:
        raise TargetError(f"margin: others is 'best' or 'logsumexp', got {others!r}")
    return AgainstOthers(wanted, "best" if others == "best" else "logsumexp", layer)


def log_probability(wanted: int | str, layer: str | None = None) -> AgainstOthers:
    """Climb log p of a class under the softmax of a layer; at most 0.

    Args:
        wanted, layer: as for :func:`featvis.margin`.

    Raises:
        TargetError: once bound, no such class, or no classifier layer.

    >>> import featvis as fv
    >>> fv.log_probability("Pembroke")
    log_probability(Pembroke)
    """
    return AgainstOthers(wanted, "all", layer)
