"""Layer-wise relevance propagation as gradient × input, with rules in place of some gradients.

Relevance R = x · g, where g is a gradient whose backward pass has been changed so that each layer hands
down as much relevance as it gets (Montavon et al. 2019, "Layer-Wise Relevance Propagation: An Overview").
The composite, from the images up:

``zB``  the first convolution or linear layer, which reads pixels between black and white
``γ``   convolutions: Σ (what speaks for the output's sign counts 1 + γ times), for inputs of either sign
``ε``   linear layers: z / (z + ε)
``0``   whatever is linear already (sums, means, poolings, BatchNorm): the gradient itself

An activation f hands its relevance on: g · f(x) / x. Gates (sigmoid, softmax) and the deviation that a
LayerNorm divides by count as constants (Ali et al. 2022). Biases keep a share, which is told.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils.checkpoint import CheckpointError

from featvis.attribution.register import Outcome, method
from featvis.attribution.scoring import Score
from featvis.errors import ModelError
from featvis.models.borrow.rectifiers import rectifier_of

GAMMA = 0.25
EPSILON = 1e-6
"""Of the root mean square of a layer's output."""


def relevance(
    score: Score, images: Tensor, gamma: float = GAMMA, epsilon: float = EPSILON
) -> tuple[Tensor, Tensor]:
    """Return the relevance of each pixel's channels, like ``images``, and that which biases keep, a number.

    Both together are the score, but for what ε swallows. A signal's samples and all frames of a video are
    pixels as well.
    """
    form = score.model.form
    mean, std = (
        torch.tensor(values, device=images.device)[:, None, None]
        for values in (score.model.mean, score.model.std)
    )
    with torch.no_grad():
        shown = score.tap.prepare(images)
        levels = (((level - mean) / std).to(shown.dtype).expand_as(images) for level in (0.0, 1.0))
        low, high = (form.shown(level).contiguous() for level in levels)
    leaves = [leaf.detach().requires_grad_() for leaf in (shown, low, high)]
    one = torch.ones((), device=images.device, dtype=shown.dtype, requires_grad=True)
    with Relevance(leaves, one, gamma, epsilon):
        scores = score.of_prepared(leaves[0], images)
    try:
        *gradients, kept = torch.autograd.grad(scores.sum(), [*leaves, one], allow_unused=True)
    except CheckpointError:
        raise ModelError(
            f"{score.model.name} computes a part anew in the backward pass (torch.utils.checkpoint), which "
            "LRP cannot follow; switch that off for it"
        ) from None
    pixels = sum(
        (
            leaf.detach() * gradient
            for leaf, gradient in zip(leaves, gradients, strict=True)
            if gradient is not None
        ),
        start=torch.zeros_like(shown),
    )
    # Back from the network's form: each number goes where it was taken from.
    back = torch.func.vjp(form.shown, images.to(pixels.dtype))[1]
    return back(pixels)[0], torch.zeros(()) if kept is None else kept


@method("lrp", about="the score handed down, layer by layer, to the pixels", signed=True)
def lrp(score: Score, image: Tensor) -> Outcome:
    """Return the relevance of each pixel, summed over its colours (of a video, of all frames)."""
    pixels, kept = relevance(score, image)
    return Outcome(pixels.sum(1)[0], {"kept_by_biases": float(kept)})


class _Passing(torch.autograd.Function):
    """An activation whose backward pass multiplies by f(x) / x."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, outputs: Tensor, inplace: bool) -> Tensor:
        ctx.save_for_backward(torch.where(inputs == 0, torch.zeros_like(inputs), outputs / inputs))
        if not inplace:
            return outputs.clone()
        ctx.mark_dirty(inputs)
        return inputs.copy_(outputs)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (factor,) = ctx.saved_tensors
        return gradients[0] * factor, None, None


class Relevance(TorchFunctionMode):
    """Within this context the gradients of what is computed are those of the composite above."""

    def __init__(self, leaves: list[Tensor], one: Tensor, gamma: float, epsilon: float) -> None:
        """Begin with the prepared images, black and white like them, and the number 1 that marks biases."""
        super().__init__()
        self._one, self._gamma, self._epsilon = one, gamma, epsilon
        # Tensors that are the images still, moved about; kept, so that their ids stay their own.
        self._images = {id(leaves[0]): leaves}

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if function in _LINEAR:
            return self._linear(function, args, kwargs)
        if (rectifier := rectifier_of(function, args, kwargs)) is not None:
            return self._activation(function, args, kwargs, rectifier.in_place)
        if function in _ACTIVATIONS:
            in_place = bool(kwargs.get("inplace", False)) or any(one is True for one in args[1:])
            return self._activation(function, args, kwargs, in_place)
        if function in _GATES:
            return function(*args, **kwargs).detach()
        if function is functional.layer_norm:
            return self._layer_norm(*args, **kwargs)
        if function is functional.batch_norm:
            return self._batch_norm(*args, **kwargs)
        if function is functional.scaled_dot_product_attention:
            query, key, *rest = args
            return function(query.detach(), key.detach(), *rest, **kwargs)
        output = function(*args, **kwargs)
        if function in _MOVES and args and id(args[0]) in self._images:
            leaves = self._images[id(args[0])]
            self._images[id(output)] = [output, *(function(one, *args[1:], **kwargs) for one in leaves[1:])]
        return output

    def _linear(self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        named = dict(zip(("input", "weight", "bias"), args, strict=False)) | kwargs
        inputs, weight, bias = named.pop("input"), named.pop("weight"), named.pop("bias", None)
        marked = None if bias is None else bias * self._one

        def run(inputs: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
            given: Tensor = function(inputs, weight, bias, *args[3:], **named)
            return given

        outputs = run(inputs, weight, marked)
        plain = outputs.detach()
        if id(inputs) in self._images:
            inputs, low, high = self._images[id(inputs)]
            spread = run(inputs, weight) - run(low, weight.clamp(min=0)) - run(high, weight.clamp(max=0))
            return self._as(plain, spread)
        if function is functional.linear or self._gamma == 0:
            return self._as(plain, outputs)
        zero = torch.zeros((), dtype=inputs.dtype, device=inputs.device)
        raised, lowered = torch.where(inputs > 0, inputs, zero), torch.where(inputs > 0, zero, inputs)
        above, below = weight.clamp(min=0) * self._gamma, weight.clamp(max=0) * self._gamma
        up = outputs + run(raised, above) + run(lowered, below)
        down = outputs + run(raised, below) + run(lowered, above)
        if bias is not None:
            shape = (-1, *[1] * (outputs.dim() - 2))
            up = up + (bias.clamp(min=0) * self._gamma * self._one).view(shape)
            down = down + (bias.clamp(max=0) * self._gamma * self._one).view(shape)
        return self._as(plain, torch.where(plain > 0, up, down))

    def _as(self, plain: Tensor, spread: Tensor) -> Tensor:
        """Return ``plain`` with the relevance going down as ``spread`` is made up."""
        value = spread.detach()
        least = self._epsilon * value.square().mean().sqrt() + 1e-30
        factor = plain / (value + torch.where(value < 0, -least, least))
        handed = spread * factor
        return plain + (handed - handed.detach())

    def _activation(
        self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any], in_place: bool
    ) -> Tensor:
        named = dict(zip(("input",), args[:1], strict=False)) | kwargs
        inputs = named.pop("input")
        with torch.no_grad():
            outputs = function(inputs.clone(), *args[1:], **named)
        passed: Tensor = _Passing.apply(inputs, outputs, in_place)
        return passed

    def _layer_norm(
        self,
        input: Tensor,
        normalized_shape: Any,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        eps: float = 1e-5,
    ) -> Tensor:
        axes = list(range(-len(normalized_shape), 0))
        deviation = (input.detach().var(axes, unbiased=False, keepdim=True) + eps).sqrt()
        output = (input - input.mean(axes, keepdim=True)) / deviation
        output = output if weight is None else output * weight
        return output if bias is None else output + bias * self._one

    def _batch_norm(
        self,
        input: Tensor,
        running_mean: Tensor,
        running_var: Tensor,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        training: bool = False,
        momentum: float = 0.1,
        eps: float = 1e-5,
    ) -> Tensor:
        if training or running_mean is None:
            return functional.batch_norm(
                input, running_mean, running_var, weight, bias, training, momentum, eps
            )
        scale = (running_var + eps).rsqrt() * (1.0 if weight is None else weight)
        offset = -running_mean * scale + (0.0 if bias is None else bias)
        shape = (1, -1, *[1] * (input.dim() - 2))
        return input * scale.view(shape) + (offset * self._one).view(shape)


_LINEAR = {functional.linear, torch.conv1d, torch.conv2d, torch.conv3d}
_ACTIVATIONS = {
    functional.silu,
    functional.gelu,
    functional.hardswish,
    functional.leaky_relu,
    functional.elu,
    functional.mish,
    torch.tanh,
    Tensor.tanh,
}
_GATES = {
    torch.sigmoid,
    Tensor.sigmoid,
    functional.sigmoid,
    functional.hardsigmoid,
    functional.softmax,
    torch.softmax,
    Tensor.softmax,
}
_MOVES = {
    functional.pad,
    torch.flatten,
    Tensor.flatten,
    torch.unflatten,
    Tensor.unflatten,
    torch.reshape,
    Tensor.reshape,
    Tensor.view,
    torch.permute,
    Tensor.permute,
    torch.transpose,
    Tensor.transpose,
    torch.movedim,
    Tensor.movedim,
    torch.squeeze,
    Tensor.squeeze,
    torch.unsqueeze,
    Tensor.unsqueeze,
    torch.flip,
    Tensor.flip,
    Tensor.contiguous,
    Tensor.__getitem__,
}
