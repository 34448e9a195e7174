"""Gradients of max-pools replaced by those of smoother pools; the forward pass stays as it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

EPSILON = 0.01
"""Lucid's, in the denominator of the L2 form."""


class _Smoothed(torch.autograd.Function):
    """A max-pool forward; backward, the gradient of another pool over the same windows."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, kind: str, window: dict[str, Any]) -> Tensor:
        ctx.save_for_backward(inputs)
        ctx.kind, ctx.window = kind, window
        pooled: Tensor = functional.max_pool2d(inputs, **window)
        return pooled

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (inputs,) = ctx.saved_tensors
        with torch.enable_grad():
            leaf = inputs.detach().requires_grad_()
            smooth = smooth_pool(leaf, ctx.kind, ctx.window)
        (gradient,) = torch.autograd.grad(smooth, leaf, gradients[0])
        return gradient, None, None


def smooth_pool(inputs: Tensor, kind: str, window: dict[str, Any]) -> Tensor:
    """Return the pool of ``(B, C, H, W)`` whose gradients stand in for a max-pool's, padding not averaged.

    ``average`` is avg(x); ``l2`` is avg(x²) / (0.01 + avg|x|), more of what is large (Lucid).
    """
    where = {name: value for name, value in window.items() if name != "dilation"}

    def mean(values: Tensor) -> Tensor:
        return functional.avg_pool2d(values, **where, count_include_pad=False)

    if kind == "average":
        return mean(inputs)
    return mean(inputs.square()) / (EPSILON + mean(inputs.abs()))


class SmoothedPool(TorchFunctionMode):
    """Within this context max-pools over maps, module or function, have the gradients of smoother pools.

    Where one unit of a window gets the whole gradient, most of what could raise the pool is never told;
    Lucid's notebooks found clearer pictures with smoother ones. Dilated pools and those that return
    indices keep their own.
    """

    def __init__(self, kind: str) -> None:
        """Take the gradients of ``average`` or ``l2``; see :func:`smooth_pool`."""
        super().__init__()
        self._kind = kind

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if function in _MAX_POOLS:
            named = dict(zip(_SIGNATURE, args, strict=False)) | kwargs
            inputs = named.pop("input")
            plain = not named.pop("return_indices", False)
            if plain and inputs.requires_grad and inputs.dim() == 4 and _is_one(named.get("dilation", 1)):
                if not named.get("stride"):
                    named["stride"] = named["kernel_size"]
                return _Smoothed.apply(inputs, self._kind, named)
        return function(*args, **kwargs)


_MAX_POOLS = {functional.max_pool2d, torch.max_pool2d}
_SIGNATURE = ("input", "kernel_size", "stride", "padding", "dilation", "ceil_mode")


def _is_one(dilation: Any) -> bool:
    return all(one == 1 for one in (dilation if isinstance(dilation, tuple | list) else [dilation]))
