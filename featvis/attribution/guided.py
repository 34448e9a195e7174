"""Guided backpropagation through whatever a network calls to rectify."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode


class _Guided(torch.autograd.Function):
    """Clamps to [0, ceiling]; its backward pass lets positive gradients through only."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, ceiling: float, inplace: bool) -> Tensor:
        ctx.ceiling = ceiling
        if not inplace:
            ctx.save_for_backward(inputs)
            return inputs.clamp(0.0, ceiling)
        # The caller may go on with the tensor it gave rather than with what is returned.
        ctx.save_for_backward(inputs.clone())
        ctx.mark_dirty(inputs)
        return inputs.clamp_(0.0, ceiling)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (inputs,) = ctx.saved_tensors
        plain = torch.ops.aten.hardtanh_backward(gradients[0], inputs, 0.0, ctx.ceiling)
        return plain.clamp(min=0), None, None


class GuidedReLU(TorchFunctionMode):
    """Within this context every ReLU and ReLU6, module or function, passes positive gradients only.

    Springenberg et al. 2014. It is the calls that are watched, not the modules, so that functional,
    in-place and fused rectifiers are guided as well.
    """

    def __init__(self) -> None:
        super().__init__()
        self.met = 0
        """How many rectifiers have been guided."""

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        tensor = args[0] if args else kwargs.get("input")
        if function in RECTIFIERS and isinstance(tensor, Tensor) and tensor.requires_grad:
            named = dict(zip(RECTIFIERS[function], args, strict=False)) | kwargs
            low, high = bounds(function, named)
            if low == 0:
                self.met += 1
                return _Guided.apply(tensor, high, is_in_place(function, named))
        return function(*args, **kwargs)


RECTIFIERS: dict[Any, tuple[str, ...]] = {
    functional.relu: ("input", "inplace"),
    functional.relu_: ("input",),
    torch.relu: ("input",),
    torch.relu_: ("input",),
    Tensor.relu: ("input",),
    Tensor.relu_: ("input",),
    functional.relu6: ("input", "inplace"),
    functional.hardtanh: ("input", "min_val", "max_val", "inplace"),
    functional.hardtanh_: ("input", "min_val", "max_val"),
}
"""The functions that rectify, with the names of their arguments."""

_IN_PLACE = {functional.relu_, torch.relu_, Tensor.relu_, functional.hardtanh_}


def is_in_place(function: Any, named: dict[str, Any]) -> bool:
    """Whether a rectifier writes over its input."""
    return function in _IN_PLACE or bool(named.get("inplace", False))


def bounds(function: Any, named: dict[str, Any]) -> tuple[float, float]:
    """Return what a rectifier clamps to."""
    if function is functional.relu6:
        return 0.0, 6.0
    if function in (functional.hardtanh, functional.hardtanh_):
        return float(named.get("min_val", -1.0)), float(named.get("max_val", 1.0))
    return 0.0, float("inf")
