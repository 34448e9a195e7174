"""Gradients of residual branches made smaller; the forward pass stays as it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import get_gradient_edge
from torch.overrides import TorchFunctionMode

_SHARE: ContextVar[float] = ContextVar("share of the gradient that residual branches pass", default=1.0)
_SUMS = frozenset({"add", "add_", "__add__", "__radd__", "__iadd__"})
_FAR = 4096
"""How many operations back two ways are followed at most until they meet."""


@contextmanager
def residual_gradients(share: float) -> Iterator[None]:
    """Within this context networks pass ``share`` of the gradient through their residual branches.

    Only networks: sums of transforms and objectives stay as they are. :func:`in_a_network` is where.
    """
    before = _SHARE.set(share)
    try:
        yield
    finally:
        _SHARE.reset(before)


def in_a_network() -> AbstractContextManager[object]:
    """Return what a network's forward pass is to run in."""
    share = _SHARE.get()
    return nullcontext() if share == 1 else _LongWays(share)


class _LongWays(TorchFunctionMode):
    """Where two ways from one activation meet in a sum, the longer one passes a share of the gradient.

    The skip gradient method (Wu et al. 2020, *Skip Connections Matter*, equation 3; their γ is 0.5 for
    ResNets): what is reached by the skip connections is what networks of other kinds see, too. Which way is
    the branch is read off the autograd graph, so that no architecture need be known by name.
    """

    def __init__(self, share: float) -> None:
        super().__init__()
        self._share = share

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if getattr(function, "__name__", "") in _SUMS and len(args) > 1 and _are_activations(*args[:2]):
            place = _longer(args[0], args[1])
            if place is not None:
                in_place = function.__name__ in ("add_", "__iadd__") and place == 0
                args = (*args[:place], self._lessened(args[place], in_place), *args[place + 1 :])
        return function(*args, **kwargs)

    def _lessened(self, branch: Tensor, in_place: bool) -> Tensor:
        # What is written over must be the caller's own; else whoever reads the branch elsewhere is spared.
        own = branch if in_place else branch.view_as(branch)
        own.register_hook(lambda gradient: gradient * self._share)  # type: ignore[no-untyped-call]
        return own


def _are_activations(one: Any, other: Any) -> bool:
    return (
        isinstance(one, Tensor)
        and isinstance(other, Tensor)
        and one.requires_grad
        and other.requires_grad
        and one.shape == other.shape
        and torch.is_grad_enabled()
    )


def _longer(one: Tensor, other: Tensor) -> int | None:
    """Return which of two activations came the longer way since they parted; None: both alike, or never one.

    The length of a way is its number of operations in the autograd graph.
    """
    starts = [get_gradient_edge(one).node, get_gradient_edge(other).node]
    if starts[0] is starts[1]:
        return None
    seen: list[dict[Any, int]] = [{start: 0} for start in starts]
    fronts = [[start] for start in starts]
    while (fronts[0] or fronts[1]) and len(seen[0]) + len(seen[1]) < _FAR:
        for side in (0, 1):
            ahead: list[Any] = []
            for node in fronts[side]:
                for parent, _ in node.next_functions:
                    if parent is not None and parent not in seen[side]:
                        seen[side][parent] = seen[side][node] + 1
                        ahead.append(parent)
            fronts[side] = ahead
            met = [node for node in ahead if node in seen[1 - side]]
            if met:
                lengths = min((seen[0][node] + seen[1][node], seen[0][node], seen[1][node]) for node in met)
                return None if lengths[1] == lengths[2] else int(lengths[2] > lengths[1])
    return None
