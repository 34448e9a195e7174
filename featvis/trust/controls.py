"""Sanity controls: the same pictures in networks whose weights were dealt out anew (arXiv 1810.03292)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from featvis.attribution.cascade import Randomized, cascade, layers_from_top
from featvis.errors import UserError
from featvis.models.handle import ModelHandle
from featvis.models.load import load_model
from featvis.models.sources.register import gives_random_weights
from featvis.trust.naturalness import naturalness
from featvis.trust.response import respond
from featvis.trust.selectivity import standardize

_BATCH = 8
_SOME = 32
_STRANGE = 1.0
"""D_σ on photographs in batches of eight: EfficientNets have .26 to .4, with weights dealt out anew 1.6."""
_CHECKED = 6
"""At so many depths at most of the cascade, all weights among them, the pictures are shown."""


def randomize(module: nn.Module, generator: torch.Generator) -> None:
    """Deal each tensor of a module itself, not of its children, out anew among its places; scales stay."""
    for tensor in (*module.parameters(recurse=False), *module.buffers(recurse=False)):
        if tensor.is_floating_point() and tensor.numel() > 1:
            order = torch.randperm(tensor.numel(), generator=generator).to(tensor.device)
            tensor.data.copy_(tensor.data.flatten()[order].reshape(tensor.shape))


def randomized(model: ModelHandle, layer: str, seed: int = 0) -> Iterator[Randomized]:
    """Randomize a copy of a network from a layer downwards and stop at up to six depths on the way."""
    names = layers_from_top(model, [layer], model.input_size, _has_own)
    # Modules that give no single tensor but hold weights of their own are never left out.
    known = {info.name for info in model.at(model.input_size).layers.values()}
    modules = model.module.named_modules()
    names += [name for name, module in modules if name and name not in known and _has_own(module)]
    stops = {max(1, round(len(names) ** (place / (_CHECKED - 1)))) for place in range(_CHECKED)}
    return cascade(model.copy(), names, stops, randomize, seed)


def responses_in_random_networks(
    images: Tensor,
    noise: Tensor,
    model: ModelHandle,
    layer: str,
    units: Sequence[int],
    signs: Sequence[int],
    position: tuple[int, int] | None = None,
) -> list[dict[str, Any]]:
    """Show pictures to networks with more and more random weights, from their layer downwards.

    For each depth: ``randomized`` and ``of`` (modules), and ``z``: each picture's own unit in standard
    deviations above noise, in that network; of the first 32 pictures, and of all at the last depth.
    """
    depths = []
    for stage in randomized(model, layer):
        done = len(stage.layers)
        shown = images if done == stage.total else images[:_SOME]
        said, usual = (respond(some, stage.model, layer, position) for some in (shown, noise))
        z = standardize(said, usual)
        own = [signs[row] * float(z[row, units[row]]) for row in range(len(shown))]
        depths.append({"randomized": done, "of": stage.total, "z": own})
    return depths


def is_untrained(model: ModelHandle, photographs: Sequence[Tensor] = ()) -> bool:
    """Whether a network's weights are random.

    Its BatchNorm layers have seen nothing (all running means 0, variances 1); photographs, where there are a
    batch, are nothing like what they have seen; or ``load_model(name, weights="none")`` gives the same
    weights.
    """
    if len(photographs) >= _BATCH:
        statistics = naturalness(photographs, model, _BATCH)
        if statistics is not None and statistics.spread > _STRANGE:
            return True
    norms = [one for one in model.module.modules() if isinstance(one, nn.modules.batchnorm._BatchNorm)]
    kept = [one for one in norms if one.running_mean is not None and one.running_var is not None]
    if kept:
        return all(
            bool((one.running_mean == 0).all() and (one.running_var == 1).all())  # type: ignore[union-attr]
            for one in kept
        )
    try:
        if not gives_random_weights(model.name):
            return False
        one = model.channels // (model.frames or 1)
        mean, std = model.mean[:one], model.std[:one]
        bare = load_model(model.name, weights="none", mean=mean, std=std, device="cpu")
    except UserError:
        return False
    return bare.fingerprint() == model.fingerprint()


def permute_labels(labels: Sequence[int]) -> list[int]:
    """Return labels in an order in which as few pictures as can be keep their own: the control of transfer.

    >>> permute_labels([7, 7, 3, 5])
    [3, 5, 7, 7]
    """
    order = sorted(range(len(labels)), key=lambda place: (labels[place], place))
    most = max((list(labels).count(label) for label in set(labels)), default=0)
    moved = [labels[place] for place in order[most:] + order[:most]]
    permuted = [0] * len(labels)
    for place, label in zip(order, moved, strict=True):
        permuted[place] = label
    return permuted


def _has_own(module: nn.Module) -> bool:
    return any(True for _ in module.parameters(recurse=False))
