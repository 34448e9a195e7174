"""Guided backpropagation through whatever a network calls to rectify."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from featvis.models.borrow.rectifiers import RectifierMode, clamp, clamp_gradient


class _Guided(torch.autograd.Function):
    """Clamps to [0, ceiling]; its backward pass lets positive gradients through only."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, ceiling: float, in_place: bool) -> Tensor:
        return clamp(ctx, inputs, ceiling, in_place)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (inputs,) = ctx.saved_tensors
        return clamp_gradient(ctx, inputs, gradients[0]).clamp(min=0), None, None


class GuidedReLU(RectifierMode):
    """Passes positive gradients only through every ReLU and ReLU6 (Springenberg et al. 2014)."""

    def __init__(self) -> None:
        super().__init__()
        self.met = 0
        """How many rectifiers have been guided."""

    def rectify(self, inputs: Tensor, ceiling: float, in_place: bool) -> Tensor:  # noqa: D102
        self.met += 1
        rectified: Tensor = _Guided.apply(inputs, ceiling, in_place)
        return rectified
