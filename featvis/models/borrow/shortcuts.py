"""Cheaper forms of modules that give the same activations, for as long as a network is borrowed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import has_torch_function


class _Bounded(torch.autograd.Function):
    """Clamps to [low, high] and keeps only its own output: where that is inside, the gradient passes.

    PyTorch's in-place form keeps a copy of its input, the other one keeps the input itself, which
    nobody else needs any more; both cost a pass over a large map.
    """

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, low: float, high: float, inplace: bool) -> Tensor:
        ctx.low, ctx.high = low, high
        if inplace:
            ctx.mark_dirty(inputs)
            output = inputs.clamp_(low, high)
        else:
            output = inputs.clamp(low, high)
        ctx.save_for_backward(output)
        return output

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        (output,) = ctx.saved_tensors
        passed = torch.ops.aten.hardtanh_backward(gradients[0], output, ctx.low, ctx.high)
        return passed, None, None, None


def take_shortcuts(module: nn.Module) -> None:
    """Let bounded activations and padded strided convolutions do their work in fewer passes over memory."""
    for inner in module.modules():
        if "forward" in inner.__dict__:  # a user's own
            continue
        forward = _stand_in(inner)
        if forward is not None:
            inner.__dict__["forward"] = forward


def _stand_in(module: nn.Module) -> Callable[[Tensor], Tensor] | None:
    if type(module) in (nn.ReLU6, nn.Hardtanh):
        return _bounded(module)
    # timm's convolution for networks that come from TensorFlow, which pads one side more than the other.
    if type(module).__name__ == "Conv2dSame" and isinstance(module, nn.Conv2d):
        return _padded_within(module)
    return None


def _bounded(module: Any) -> Callable[[Tensor], Tensor]:
    low, high, inplace = float(module.min_val), float(module.max_val), bool(module.inplace)

    def forward(inputs: Tensor) -> Tensor:
        # Whoever redirects gradients of dead units must see the plain function.
        if not inputs.requires_grad or has_torch_function((inputs,)):
            return functional.hardtanh(inputs, low, high, inplace)
        bounded: Tensor = _Bounded.apply(inputs, low, high, inplace)
        return bounded

    return forward


def _padded_within(convolution: nn.Conv2d) -> Callable[[Tensor], Tensor] | None:
    """Pad by the depthwise convolution itself, its kernel longer by a zero where one side needs one more."""
    if convolution.groups != convolution.in_channels or convolution.dilation != (1, 1):
        return None
    longer: dict[tuple[bool, bool], Tensor] = {}

    def forward(inputs: Tensor) -> Tensor:
        pads = [
            max(0, (-(-side // stride) - 1) * stride + kernel - side)
            for side, stride, kernel in zip(
                inputs.shape[2:], convolution.stride, convolution.kernel_size, strict=True
            )
        ]
        odd = (pads[0] % 2 == 1, pads[1] % 2 == 1)
        if odd not in longer:
            # TensorFlow puts the odd row below: a zero row above makes both sides alike.
            grown = functional.pad(convolution.weight, (int(odd[1]), 0, int(odd[0]), 0))
            longer[odd] = grown.contiguous(memory_format=torch.channels_last)
        both = [(pad + 1) // 2 for pad in pads]
        return functional.conv2d(
            inputs, longer[odd], convolution.bias, convolution.stride, both, groups=convolution.groups
        )

    return forward
