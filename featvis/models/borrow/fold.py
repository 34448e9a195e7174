"""BatchNorm folded into the convolution before it, for as long as a network is borrowed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from featvis.models.borrow.moments import MOMENTS_OF

LEAST_SCALE = 1e-3
"""From a channel that its BatchNorm scales by less, what came in cannot be told."""


@dataclass(frozen=True)
class Pair:
    """A convolution and the BatchNorm that reads its output, by name."""

    convolution: str
    norm: str


def find_pairs(module: nn.Module, run: Callable[[], Any]) -> list[Pair]:
    """Find the convolutions whose very output a BatchNorm reads, by running the network once.

    Whether something else reads it too cannot be seen so: the folded network's output tells.
    """
    made: dict[int, tuple[str, Tensor]] = {}
    calls: dict[str, int] = {}
    pairs: list[Pair] = []

    def after(name: str, _: nn.Module, __: Any, output: Any) -> None:
        calls[name] = calls.get(name, 0) + 1
        made[id(output)] = (name, output)  # the tensor is kept, so that its id stays its own

    def before(name: str, _: nn.Module, inputs: Any) -> None:
        calls[name] = calls.get(name, 0) + 1
        producer = made.get(id(inputs[0]))
        if producer is not None:
            pairs.append(Pair(producer[0], name))

    with ExitStack() as hooks, torch.no_grad():
        for name, inner in module.named_modules():
            if isinstance(inner, nn.Conv2d):
                hooks.callback(inner.register_forward_hook(partial(after, name)).remove)
            elif isinstance(inner, nn.BatchNorm2d):
                hooks.callback(inner.register_forward_pre_hook(partial(before, name)).remove)
        run()
    return [pair for pair in pairs if calls[pair.convolution] == calls[pair.norm] == 1]


def foldable(pairs: Sequence[Pair], module: nn.Module, wanted: Sequence[str]) -> list[Pair]:
    """Return the pairs that can be folded while the layers ``wanted`` are read.

    What a convolution gives changes when it is folded; so it stays as it is if it, or a module that ends with
    it and leaves the BatchNorm outside, is read; or if the moments of what comes into the BatchNorm are, and
    it scales a channel to nothing.
    """
    modules = dict(module.named_modules())
    return [
        pair
        for pair in pairs
        if _stand_in(modules[pair.norm]) is not None
        and _is_plain(modules[pair.convolution])
        and not any(
            (_holds(name, pair.convolution) and not _holds(name, pair.norm))
            or (name == MOMENTS_OF + pair.norm and not tells_its_inputs(modules[pair.norm]))
            for name in wanted
        )
    ]


def fold_in(module: nn.Module, pairs: Sequence[Pair]) -> None:
    """Fold each pair: the convolution does the BatchNorm's work, which itself only passes on."""
    modules = dict(module.named_modules())
    for pair in pairs:
        convolution, norm = modules[pair.convolution], modules[pair.norm]
        assert isinstance(convolution, nn.Conv2d)
        assert isinstance(norm, nn.BatchNorm2d)
        scale, offset = scale_and_offset(norm)
        # New parameters in place of the network's own, which stay untouched.
        owned: dict[str, Any] = convolution._parameters
        weight, bias = convolution.weight.detach(), convolution.bias
        shifted = offset if bias is None else offset + bias.detach() * scale
        weight = (weight * scale[:, None, None, None]).to(weight.dtype)
        owned["weight"] = nn.Parameter(weight, requires_grad=False)
        owned["bias"] = nn.Parameter(shifted.to(weight.dtype), requires_grad=False)
        norm.__dict__["forward"] = _stand_in(norm)


def scale_and_offset(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Return what a BatchNorm multiplies by and adds, for each channel."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = (norm.running_var.detach() + norm.eps).rsqrt()
    if norm.weight is not None:
        scale = scale * norm.weight.detach()
    offset = -norm.running_mean.detach() * scale
    return scale, offset if norm.bias is None else offset + norm.bias.detach()


def tells_its_inputs(norm: Any) -> bool:
    """Whether the statistics of what came in can be told from those of what a folded BatchNorm passes on."""
    return norm.weight is None or not bool((norm.weight.detach().abs() < LEAST_SCALE).any())


def sends_back_its_own(norm: Any) -> bool:
    """Whether the gradient that a folded BatchNorm sends back is its own: an activation makes it anew."""
    return not isinstance(getattr(norm, "act", nn.Identity()), nn.Identity)


class Rest:
    """What is left of a folded BatchNorm with an activation: that activation."""

    def __init__(self, drop: nn.Module, act: nn.Module) -> None:
        self._drop, self._act = drop, act
        self.done = False
        """Set by whoever has applied the activation for the call that is under way."""

    @property
    def bounds(self) -> tuple[float, float] | None:
        """What the activation clamps to, in place; None if it does something else, or a user watches it."""
        act: Any = self._act
        watched = any(module._forward_hooks or module._forward_pre_hooks for module in (self._drop, act))
        if type(act) is not nn.ReLU6 or type(self._drop) is not nn.Identity or watched or not act.inplace:
            return None
        return float(act.min_val), float(act.max_val)

    def __call__(self, inputs: Tensor) -> Tensor:
        """Do the activation, unless that has been done."""
        if self.done:
            self.done = False
            return inputs
        activation: Tensor = self._act(self._drop(inputs))
        return activation


def _is_plain(convolution: nn.Module) -> bool:
    # A parametrized weight is computed anew at each call; a user's hook must see the true output.
    return "weight" in convolution._parameters and not convolution._forward_hooks


def _stand_in(norm: Any) -> Callable[[Tensor], Tensor] | None:
    """What a folded BatchNorm still does; None if it is of a kind that we do not know."""
    if norm.running_mean is None or norm.running_var is None:
        return None
    if "forward" in norm.__dict__ or norm._forward_pre_hooks:  # a user's, who must see what comes in
        return None
    if type(norm) is nn.BatchNorm2d:
        return lambda inputs: inputs
    drop, act = getattr(norm, "drop", None), getattr(norm, "act", None)
    if type(norm).__name__ == "BatchNormAct2d" and isinstance(drop, nn.Module) and isinstance(act, nn.Module):
        return Rest(drop, act)
    return None


def _holds(name: str, inner: str) -> bool:
    return inner == name or inner.startswith(name + ".")
