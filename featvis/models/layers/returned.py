"""What a network returns: which layer it comes from, whether it is probabilities."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from featvis.models.layers.answer import answer_of, name_of_output
from featvis.models.layers.observe import Run, version_of

_NEAR = 1e-3


@dataclass(frozen=True)
class Output:
    """What is known of a network's output."""

    layer: str
    """The last layer that it is, unit for unit."""
    probabilities: frozenset[str] = frozenset()
    """The layers whose units are probabilities of which one is true: they sum to 1."""
    logits: str | None = None
    """The layer that those are the softmax of, if there is one."""
    own: str = ""
    """The name of what forward returns where no module gives it; the layer, then."""
    place: int = 0
    """Where it stands among the tensors that forward returns."""
    alike: frozenset[str] = frozenset()
    """The layers before it whose units are its own, each raised by the one of its number alone."""


def output_of(observed: Run, names: list[str], again: Callable[[Any], Any], module: nn.Module) -> Output:
    """Find the layer that a network's output comes from, or say that it is one of its own.

    Args:
        observed: a run on two images.
        names: of the layers, the last first.
        again: runs the network as ``run`` does, with gradients, and returns what it returned.
        module: the network.
    """
    answer, last = observed.answer, observed.last
    layer = names[0] if names else ""
    alike = frozenset[str]()
    if answer is not None and not (last is not None and _is_handed_on(answer, last, observed.version)):
        found = _source_of(answer, names, again, module)
        if found is None:  # no gradient tells what the answer depends on
            seen = {**observed.vectors} if last is None else {**observed.vectors, names[0]: last}
            found = next((name for name in names if name in seen and _is_same(answer, seen[name])), ""), alike
        layer, alike = found
    own = "" if layer or answer is None else name_of_output(module)
    names = [own, *names] if own else names
    layer = layer or own
    vectors = dict(observed.vectors)
    if own and answer is not None and answer.dim() == 2:
        vectors[own] = answer
    values = None if answer is None or answer.dim() != 2 else answer
    if values is None or not _sums_to_one(values):
        values = next((vectors[name] for name in names[:1] if name in vectors), None)
    sums = {name for name, vector in vectors.items() if name in names and _sums_to_one(vector)}
    logits = None
    if values is not None and _sums_to_one(values):
        for name in names:
            vector = vectors.get(name)
            if vector is None or name in sums or vector.shape != values.shape:
                continue
            if torch.allclose(vector.float().softmax(1), values.float(), rtol=_NEAR, atol=1e-5):
                logits = name
                break
    return Output(layer, frozenset(sums), logits, own, observed.place or 0, alike)


def _is_handed_on(answer: Tensor, given: Tensor, version: int | None) -> bool:
    """Whether the answer is what a module gave, unit for unit: the tensor itself, or a view of it."""
    if version is not None and version != version_of(given):
        return False  # what was written into since is another tensor than the module gave
    if answer.shape == given.shape and torch.equal(answer, given):
        return True
    if answer.untyped_storage().data_ptr() != given.untyped_storage().data_ptr():
        return False
    if answer.numel() == given.numel():
        return answer.shape != given.shape or answer.stride() == given.stride()
    if answer.dim() != given.dim() or answer.stride() != given.stride():
        return False
    if answer.dim() > 2 and answer.shape[1] == given.shape[1]:  # a part of a map
        of_unit, others = given.stride(1), given.stride()[2:]
        offset = answer.storage_offset() - given.storage_offset()
        return bool(offset < of_unit if of_unit >= max(others) else offset % min(others) == 0)
    return False


def _is_same(answer: Tensor, given: Tensor) -> bool:
    """Whether a layer's units are those of the answer: as they are, or through a function that is known.

    A softmax and its like keep the classes; the mean over a map is what is climbed of one anyway, and a map
    that is resized shows the same units.
    """
    if len(given) != len(answer) or not given.is_floating_point():
        return False
    answer, given = answer.detach(), given.detach()
    coarse = any(one.dtype in (torch.float16, torch.bfloat16) for one in (answer, given))
    answer, given = answer.float(), given.float()
    finite = answer.isfinite()
    numbers = answer[finite] if bool(finite.any()) else answer.new_zeros(1)
    near = (8 * 2**-8 if coarse else _NEAR) * float(numbers.abs().max())
    low, high = float(numbers.min()), float(numbers.max())
    # A clamp to the very range of the answer is its relu, or whatever else cut it off.
    cut = (partial(torch.clamp, min=low, max=high),) if low < high else ()
    for values in _forms(answer, given):
        for function in (*_FUNCTIONS, *cut):
            made = function(values)
            if torch.equal(made.isfinite(), finite) and bool(((made - answer)[finite].abs() <= near).all()):
                return True
    return False


def _forms(answer: Tensor, given: Tensor) -> Iterator[Tensor]:
    """Yield what a layer gave in the answer's shape, each way that keeps the units."""
    if given.numel() == answer.numel():
        yield given.reshape(answer.shape)
    if given.dim() == answer.dim() > 2:
        for turned in (given.movedim(1, -1), given.movedim(-1, 1)):
            if turned.shape == answer.shape:
                yield turned
    if answer.dim() == 2 and given.dim() > 2:
        if given.shape[1] == answer.shape[1]:
            yield given.flatten(2).mean(2)
        if given.shape[-1] == answer.shape[1]:
            yield given.flatten(1, -2).mean(1)
    if answer.dim() == given.dim() == 4 and given.shape[1] == answer.shape[1]:
        for mode in ("bilinear", "nearest", "bicubic"):
            for corners in (False, True) if mode != "nearest" else (None,):
                yield functional.interpolate(given, answer.shape[2:], mode=mode, align_corners=corners)


_FUNCTIONS: tuple[Callable[[Tensor], Tensor], ...] = (
    lambda values: values,
    lambda values: values.softmax(1),
    lambda values: values.softmax(-1),
    lambda values: values.log_softmax(1),
    lambda values: values.log_softmax(-1),
    torch.sigmoid,
    functional.logsigmoid,
    torch.tanh,
)


def _sums_to_one(values: Tensor) -> bool:
    if values.dim() != 2 or values.shape[1] < 2 or not bool(values.isfinite().all()):
        return False
    sums = values.float().sum(1)
    return bool((values >= 0).all()) and torch.allclose(sums, torch.ones_like(sums), atol=_NEAR)


def _source_of(
    shown: Tensor, names: list[str], again: Callable[[Any], Any], module: nn.Module
) -> tuple[str, frozenset[str]] | None:
    """Return the last layer that the answer is, empty if it is none, and the vectors that have its units.

    None if no gradient tells what the answer depends on.
    """
    given: dict[str, Tensor] = {}

    def note(name: str, _: nn.Module, __: Any, output: Any) -> Any:
        inner = output[0] if isinstance(output, tuple | list) and output else output
        if isinstance(inner, Tensor) and inner.requires_grad:
            given[name] = inner
            # What comes next may write into it.
            return output.clone() if inner is output else None
        return None

    try:
        with ExitStack() as hooks, torch.enable_grad():
            for name, inner in module.named_modules():
                if name:
                    hooks.callback(inner.register_forward_hook(partial(note, name)).remove)
            answer = answer_of(again(None), len(shown))
            if answer is None or not answer.requires_grad or answer.shape != shown.shape:
                return None
            total = answer.float().square().sum()
            # Numbers are compared first: a backward pass for each layer of a deep network takes minutes.
            for name in names:
                if name in given and _is_same(answer, given[name]):
                    (slope,) = torch.autograd.grad(total, given[name], retain_graph=True, allow_unused=True)
                    if slope is not None:
                        return name, frozenset()
            vectors = [name for name in given if given[name].shape == answer.shape and answer.dim() == 2]
            return "", frozenset(name for name in vectors if _has_units_of(answer, given[name]))
    except Exception:  # a network that has no gradient is told of when it is climbed
        return None


def _has_units_of(answer: Tensor, given: Tensor) -> bool:
    """Whether each unit of the answer rises with its own unit of a layer, and with no other one."""
    units = answer.shape[1]
    for unit in sorted({0, units // 2, units - 1}):
        (slope,) = torch.autograd.grad(
            answer[:, unit].float().sum(), given, retain_graph=True, allow_unused=True
        )
        if slope is None or not bool((slope[:, unit] > 0).all()):
            return False
        others = slope.clone()
        others[:, unit] = 0
        if bool((others > 1e-5 * slope[:, unit : unit + 1]).any()):
            return False
    return True
