"""Gradients through dead ReLUs: an image that gets none at a ReLU is given the one that would wake it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode


class _Redirected(torch.autograd.Function):
    """Clamps to [0, ceiling]; the backward pass redirects an image's gradient where all of it is blocked."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, ceiling: float, inplace: bool, lanes: Tensor | None) -> Tensor:
        ctx.ceiling, ctx.lanes = ceiling, lanes
        if not inplace:
            ctx.save_for_backward(inputs)
            return inputs.clamp(0.0, ceiling)
        # The caller may go on with the tensor it gave rather than with what is returned.
        ctx.save_for_backward(inputs.clone())
        ctx.mark_dirty(inputs)
        return inputs.clamp_(0.0, ceiling)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        (inputs,) = ctx.saved_tensors
        (gradient,) = gradients
        plain = torch.ops.aten.hardtanh_backward(gradient, inputs, 0.0, ctx.ceiling)
        alive = plain.flatten(1).any(1)
        if ctx.lanes is not None:
            alive = alive | ~ctx.lanes
        # On the CPU the common case, no image blocked, is known at once; a GPU is not made to wait for it.
        if alive.device.type == "cpu" and bool(alive.all()):
            return plain, None, None, None
        nothing = torch.zeros((), dtype=gradient.dtype, device=gradient.device)
        # The loop descends on minus the score: a negative gradient asks for a larger activation.
        wakes = torch.where(gradient < 0, inputs <= ctx.ceiling, inputs >= 0)
        redirected = torch.where(wakes, gradient, nothing)
        shape = (-1, *[1] * (gradient.dim() - 1))
        return torch.where(alive.view(shape), plain, redirected), None, None, None


class RedirectedReLU(TorchFunctionMode):
    """Within this context every ReLU and ReLU6, module or function, redirects blocked gradients.

    Lucid's rule, for each image on its own and on both sides of a ReLU6: where the
    usual gradient is zero for the whole image, an activation below 0 passes what would raise it and
    one above 6 what would lower it.
    """

    def __init__(self, lanes: Tensor | None = None) -> None:
        """Redirect for every image, or only where ``lanes`` ``(B,)`` is true."""
        super().__init__()
        self._lanes = lanes

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        tensor = args[0] if args else kwargs.get("input")
        if function in _RELU | _RELU6 and isinstance(tensor, Tensor) and tensor.requires_grad:
            named = dict(zip(_SIGNATURES.get(function, ()), args, strict=False)) | kwargs
            low, high = _bounds(function, named)
            if low == 0:
                inplace = function in _IN_PLACE or bool(named.get("inplace", False))
                return _Redirected.apply(tensor, high, inplace, self._lanes)
        return function(*args, **kwargs)


_RELU = {functional.relu, functional.relu_, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_}
_RELU6 = {functional.relu6, functional.hardtanh, functional.hardtanh_}
_IN_PLACE = {functional.relu_, torch.relu_, Tensor.relu_, functional.hardtanh_}
_SIGNATURES = {
    functional.relu: ("input", "inplace"),
    functional.relu6: ("input", "inplace"),
    functional.hardtanh: ("input", "min_val", "max_val", "inplace"),
    functional.hardtanh_: ("input", "min_val", "max_val"),
}


def _bounds(function: Any, named: dict[str, Any]) -> tuple[float, float]:
    if function in _RELU:
        return 0.0, float("inf")
    if function is functional.relu6:
        return 0.0, 6.0
    return float(named.get("min_val", -1.0)), float(named.get("max_val", 1.0))
