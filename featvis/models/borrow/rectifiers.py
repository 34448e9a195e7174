"""Rectifiers: the functions that ReLUs and ReLU6s call, and a context that stands in for them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

_ARGUMENTS: dict[Any, tuple[str, ...]] = {
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
_IN_PLACE = {functional.relu_, torch.relu_, Tensor.relu_, functional.hardtanh_}


class Rectifier:
    """One call of a rectifier: what it clamps, to what, and whether it writes over its input."""

    def __init__(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        arguments = dict(zip(_ARGUMENTS[function], args, strict=False)) | kwargs
        self.inputs = arguments["input"]
        self.in_place = function in _IN_PLACE or bool(arguments.get("inplace", False))
        self.low, self.high = 0.0, float("inf")
        if function is functional.relu6:
            self.high = 6.0
        elif function in (functional.hardtanh, functional.hardtanh_):
            self.low, self.high = float(arguments.get("min_val", -1.0)), float(arguments.get("max_val", 1.0))


def rectifier_of(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Rectifier | None:
    """Return a call of a rectifier, or None where the function is another."""
    return Rectifier(function, args, kwargs) if function in _ARGUMENTS else None


class RectifierMode(TorchFunctionMode, ABC):
    """Has :meth:`rectify` do the work of every call, by module or function, of a ReLU or ReLU6."""

    @abstractmethod
    def rectify(self, inputs: Tensor, ceiling: float, in_place: bool) -> Tensor:
        """Return ``inputs`` clamped to [0, ceiling], with a backward pass of its own."""

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        rectifier = rectifier_of(function, args, kwargs)
        if (
            rectifier is not None
            and rectifier.low == 0
            and isinstance(rectifier.inputs, Tensor)
            and rectifier.inputs.requires_grad
        ):
            return self.rectify(rectifier.inputs, rectifier.high, rectifier.in_place)
        return function(*args, **kwargs)


def clamp(ctx: Any, inputs: Tensor, ceiling: float, in_place: bool) -> Tensor:
    """Return ``inputs`` clamped to [0, ceiling], with what :func:`clamp_gradient` needs kept in ``ctx``."""
    ctx.ceiling = ceiling
    if not in_place:
        ctx.save_for_backward(inputs)
        return inputs.clamp(0.0, ceiling)
    # The caller may go on with the tensor it gave rather than with what is returned.
    ctx.save_for_backward(inputs.clone())
    ctx.mark_dirty(inputs)
    return inputs.clamp_(0.0, ceiling)


def clamp_gradient(ctx: Any, inputs: Tensor, gradient: Tensor) -> Tensor:
    """Return the usual gradient of :func:`clamp`; its ``inputs`` are what it saved.

    They are handed over, for what was saved can be unpacked once only within a checkpoint.
    """
    return torch.ops.aten.hardtanh_backward(gradient, inputs, 0.0, ctx.ceiling)  # type: ignore[no-any-return]
