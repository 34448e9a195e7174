"""A facet: one of the many things that a unit answers to, chosen by a linear probe of earlier layers."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from featvis.errors import TargetError, UserError
from featvis.models.borrow.moments import layer_of
from featvis.models.layers.measure import LayerInfo
from featvis.models.layers.network import NetworkAt
from featvis.objectives.base import Composite, Objective, copy_with, number, spread_over
from featvis.objectives.shown import Activations
from featvis.objectives.unit import as_objective

SHARE = 5.0
"""What the probes' terms weigh together at strength 1 (the authors' code)."""


class Facet(Composite):
    """J + (5/n)·strength·Σ_l Σ A_l · relu(sg ∂J/∂A_l) · w_l over the n probed layers.

    Goh et al. 2021, "Multimodal Neurons in Artificial Neural Networks" (feature facets). Where no gradient
    is taken, as in the score of a finished picture, it is J alone.
    """

    constants = ("probes",)

    def __init__(self, target: Objective, probes: Mapping[str, Tensor], strength: float) -> None:
        self.probes, self.strength = dict(probes), strength
        self.own_layers = tuple(probes)
        self._infos: dict[str, LayerInfo] = {}
        super().__init__([target])

    def bind(self, network: NetworkAt) -> Objective:  # noqa: D102
        target = self.inner[0].bind(network)
        infos = {name: network.layer(name) for name in self.probes}
        if not target.layers:
            raise TargetError(f"facet: {target.describe()} reads no layer of {network.name}")
        deepest = max(network.find(layer_of(name)).order for name in target.layers)
        for name, weights in self.probes.items():
            if infos[name].units != weights.numel():
                raise TargetError(
                    f"facet: a probe of {name} has {infos[name].units} weights, got {weights.numel()}"
                )
            if infos[name].order >= deepest:
                raise TargetError(f"facet: {name} does not run before {target.describe()}; probe others")
        return copy_with(self.with_inner([target]), _infos=infos)

    def score(self, activations: Activations, images: Tensor) -> Tensor:  # noqa: D102
        plain = self.inner[0](activations, images)
        if not plain.requires_grad:
            return plain
        self._bound(self._infos or None)
        read = [activations[name] for name in self.probes]
        gradients = torch.autograd.grad(plain.sum(), read, retain_graph=True, allow_unused=True)
        total = plain
        for (name, weights), values, gradient in zip(self.probes.items(), read, gradients, strict=True):
            if gradient is None:
                raise UserError(
                    f"{self.describe()} does not depend on {name} here; render it in a run of its own"
                )
            info = self._infos[name]
            towards = spread_over(info, gradient).float().clamp(min=0) * weights.to(values.device)[:, None]
            answers = (spread_over(info, values).float() * towards).sum((1, 2))
            total = total + SHARE / len(read) * self.strength * answers
        return total

    def describe(self) -> str:  # noqa: D102
        digest = hashlib.sha256()
        for name, weights in self.probes.items():
            digest.update(name.encode() + weights.cpu().double().numpy().tobytes())
        probed = ", ".join(self.probes)
        return (
            f"facet({self.inner[0].describe()}, {probed}, {digest.hexdigest()[:12]}, "
            f"strength={number(self.strength)})"
        )

    def stacks_with(self) -> tuple[object, ...]:  # noqa: D102
        return (
            Facet,
            self.describe().removeprefix(f"facet({self.inner[0].describe()}"),
            self.inner[0].stacks_with(),
        )


def facet(
    target: Objective | str, probes: Mapping[str, Tensor | Sequence[float]], strength: float = 1.0
) -> Facet:
    """Climb a target, and of what it answers to rather what the probes point at (Goh et al. 2021).

    Args:
        target: an objective that reads a layer, for instance ``fv.channel("blocks.4", 5)``, or its address.
        probes: for each of some earlier layers one weight for each unit, as :func:`featvis.fit_facet`
            returns them.
        strength: from 0 up; the authors take .1 to 5.

    Raises:
        UserError: no objective, no probes, weights that are no finite vector, or no finite strength.
        TargetError: once bound, a probe of other units, or of a layer that does not run before the target's.

    >>> import featvis as fv
    >>> fv.facet(fv.channel("conv2", 5), {"conv1": [1.0, -0.5]}).layers
    ('conv2', 'conv1')
    """
    target = as_objective(target, "facet")
    if not isinstance(probes, Mapping):
        raise UserError("facet: probes are {layer: one finite weight for each unit}")
    vectors = {name: torch.as_tensor(weights).detach().float().clone() for name, weights in probes.items()}
    if not vectors or any(
        vector.dim() != 1 or not bool(vector.isfinite().all()) for vector in vectors.values()
    ):
        raise UserError("facet: probes are {layer: one finite weight for each unit}")
    if not 0 <= strength < float("inf"):
        raise UserError(f"facet: strength is at least 0, got {strength}")
    return Facet(target, vectors, float(strength))
