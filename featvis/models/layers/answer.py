"""What a network's forward returns: the tensors in it, and the one that is its answer."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

_NAMES = ("output", "returned")
_ANSWERS = ("logits", "out", "output", "outputs", "prediction", "predictions", "pred", "preds")
"""How the main one of several outputs is called, likeliest first."""


def name_of_output(module: nn.Module) -> str:
    """Return the name under which what a network returns is a layer: ``output``, if no module has it."""
    free = (name for name in _NAMES if name not in module._modules)
    return next(free, _NAMES[0] + "_" * max(map(len, module._modules), default=0))


def modules_of(module: nn.Module) -> dict[str, nn.Module]:
    """Return a network's modules by every name that a layer may have, itself by that of its output."""
    inner = dict(module.named_modules(remove_duplicate=False))
    inner.pop("")
    return {**inner, name_of_output(module): module}


def tensors_of(returned: Any) -> Iterator[Tensor]:
    """Yield the tensors that a network returned, those of dicts and of objects with attributes, too."""
    return (leaf for _, leaf in _named(returned, ()))


def place_of_answer(returned: Any, images: int) -> int | None:
    """Return the place among :func:`tensors_of` of the one that is the network's answer.

    It has numbers for each of the images: the one that is called ``logits`` or the like, else the first.
    One number for each image, ``(B,)``, is an answer where there is no other.
    """
    of_each = [
        (place, name, leaf)
        for place, (name, leaf) in enumerate(_named(returned, ()))
        if leaf.dim() and leaf.shape[0] == images and leaf.is_floating_point()
    ]
    several = [(place, name) for place, name, leaf in of_each if leaf.dim() > 1]
    for wanted in _ANSWERS:
        for place, name in several:
            if name == wanted:
                return place
    if several or _is_for_each(returned, images):
        return several[0][0] if several else None
    return next((place for place, *_ in of_each), None)


def answer_at(returned: Any, place: int) -> Tensor | None:
    """Return the tensor at a place among :func:`tensors_of`; None if there is none."""
    return next((leaf for at, leaf in enumerate(tensors_of(returned)) if at == place), None)


def answer_of(returned: Any, images: int) -> Tensor | None:
    """Return a network's answer for so many images, ``(B, 1)`` where it is one number for each."""
    place = place_of_answer(returned, images)
    answer = None if place is None else answer_at(returned, place)
    return answer[:, None] if answer is not None and answer.dim() == 1 else answer


def is_folded(returned: Any, images: int) -> bool:
    """Whether what a network returned has a first axis that is not the batch: it took parts for images."""
    if _is_for_each(returned, images):
        return False  # a table for each image, as networks for detection give
    leaves = [leaf for leaf in tensors_of(returned) if leaf.is_floating_point() and leaf.dim() > 1]
    return bool(leaves) and all(leaf.shape[0] != images for leaf in leaves)


def _is_for_each(returned: Any, images: int) -> bool:
    for_each = isinstance(returned, list | tuple) and len(returned) == images
    return for_each and all(isinstance(one, Mapping) for one in returned)


def _named(returned: Any, within: tuple[int, ...]) -> Iterator[tuple[str, Tensor]]:
    """Yield every tensor with the name of what holds it in the outermost dict or object; else no name."""
    if id(returned) in within:  # an object that holds itself
        return
    within = (*within, id(returned))
    entries = _entries(returned)
    if entries is not None:
        for name, value in entries:
            yield from ((str(name), leaf) for _, leaf in _named(value, within))
        return
    for leaf in tree_leaves(returned):
        if isinstance(leaf, Tensor):
            yield "", leaf
        elif leaf is not returned or _entries(leaf) is not None:
            yield from _named(leaf, within)


def _entries(returned: Any) -> list[tuple[Any, Any]] | None:
    """Return by name what a dict, a named tuple or an object holds; None of anything else."""
    if isinstance(returned, Mapping):
        return list(returned.items())
    if isinstance(returned, tuple) and hasattr(returned, "_fields"):
        return list(zip(returned._fields, returned, strict=False))
    if isinstance(returned, Tensor | nn.Module | type):
        return None
    if dataclasses.is_dataclass(returned):
        return [(one.name, getattr(returned, one.name, None)) for one in dataclasses.fields(returned)]
    held = getattr(returned, "__dict__", None)
    return list(held.items()) if isinstance(held, dict) and held else None
