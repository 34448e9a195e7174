"""What a network returns: which layer it comes from, whether it is probabilities."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from featvis.models.layers.observe import Run

_NEAR = 1e-3


@dataclass(frozen=True)
class Output:
    """What is known of a network's output."""

    layer: str
    """The last layer that it depends on."""
    probabilities: frozenset[str] = frozenset()
    """The layers whose units are probabilities of which one is true: they sum to 1."""
    logits: str | None = None
    """The layer that those are the softmax of, if there is one."""


def tensors_of(returned: Any) -> Iterator[Tensor]:
    """Yield the tensors that a network returned, those of dicts and of classes that are like one, too."""
    for leaf in tree_leaves(returned):
        if isinstance(leaf, Tensor):
            yield leaf
        elif isinstance(leaf, Mapping):
            yield from tensors_of(list(leaf.values()))


def answer_of(returned: Any, images: int) -> Tensor | None:
    """Return the first tensor that a network returned with a number or more for each of the images."""
    batches = (leaf for leaf in tensors_of(returned) if leaf.dim() and leaf.shape[0] == images)
    return next((leaf for leaf in batches if leaf.is_floating_point() and leaf.dim() > 1), None)


def is_folded(returned: Any, images: int) -> bool:
    """Whether what a network returned has a first axis that is not the batch: it took parts for images."""
    for_each = isinstance(returned, list | tuple) and len(returned) == images
    if for_each and all(isinstance(one, Mapping) for one in returned):
        return False  # a table for each image, as networks for detection give
    leaves = [leaf for leaf in tensors_of(returned) if leaf.is_floating_point() and leaf.dim() > 1]
    return bool(leaves) and all(leaf.shape[0] != images for leaf in leaves)


def output_of(observed: Run, names: list[str], again: Callable[[Any], Any], module: nn.Module) -> Output:
    """Find the layer that a network's output comes from.

    Args:
        observed: a run on two images.
        names: of the layers, the last first.
        again: runs the network as ``run`` does, with gradients, and returns what it returned.
        module: the network.
    """
    answer = answer_of(observed.returned, 2)
    layer = names[0]
    if answer is not None and observed.last is not None and not _is_view(answer, observed.last):
        layer = _depended_on(answer.shape, names, again, module) or layer
    values = None if answer is None or answer.dim() != 2 else answer
    if values is None or not _sums_to_one(values):
        values = next((observed.vectors[name] for name in names[:1] if name in observed.vectors), None)
    sums = {name for name, vector in observed.vectors.items() if name in names and _sums_to_one(vector)}
    logits = None
    if values is not None and _sums_to_one(values):
        for name in names:
            vector = observed.vectors.get(name)
            if vector is None or name in sums or vector.shape != values.shape:
                continue
            if torch.allclose(vector.float().softmax(1), values.float(), rtol=_NEAR, atol=1e-5):
                logits = name
                break
    return Output(layer, frozenset(sums), logits)


def _is_view(answer: Tensor, given: Tensor) -> bool:
    if answer.untyped_storage().data_ptr() == given.untyped_storage().data_ptr():
        return True
    return answer.shape == given.shape and torch.equal(answer, given)


def _sums_to_one(values: Tensor) -> bool:
    if values.dim() != 2 or values.shape[1] < 2 or not bool(values.isfinite().all()):
        return False
    sums = values.float().sum(1)
    return bool((values >= 0).all()) and torch.allclose(sums, torch.ones_like(sums), atol=_NEAR)


def _depended_on(
    shape: torch.Size, names: list[str], again: Callable[[Any], Any], module: nn.Module
) -> str | None:
    """Return the last layer that the output's gradient reaches; None if that cannot be told."""
    given: dict[str, Tensor] = {}

    def note(name: str, _: nn.Module, __: Any, output: Any) -> None:
        if isinstance(output, tuple | list) and output:
            output = output[0]
        if isinstance(output, Tensor) and output.requires_grad:
            given[name] = output

    try:
        with ExitStack() as hooks, torch.enable_grad():
            for name, inner in module.named_modules():
                if name:
                    hooks.callback(inner.register_forward_hook(partial(note, name)).remove)
            answer = answer_of(again(None), shape[0])
            if answer is None or not answer.requires_grad:
                return None
            total = answer.float().square().sum()
            for name in names:
                if name not in given:
                    continue
                (slope,) = torch.autograd.grad(total, given[name], retain_graph=True, allow_unused=True)
                if slope is not None:
                    return name
    except Exception:  # a network that has no gradient is told of when it is climbed
        return None
    return None
