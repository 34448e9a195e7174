"""Running a network once and noting what every module gave."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from featvis.models.layers.answer import answer_of, name_of_output, place_of_answer

_SMALL = 100_000


@dataclass
class Observation:
    """What one run showed of one module, or of one call of it."""

    module: str
    shape: tuple[int, ...]
    order: int
    calls: int
    hint: int | None
    """The axis on which the module that made this tensor puts its units, if it tells."""
    passes: bool = False
    """Whether it gave the very tensor that it was given, unchanged."""


@dataclass
class Run:
    """What one run of a network showed."""

    layers: dict[str, Observation] = field(default_factory=dict)
    """The last call of each module, by name."""
    earlier: dict[str, Observation] = field(default_factory=dict)
    """The calls of those that run several times, ``NAME#1`` the first."""
    vectors: dict[str, Tensor] = field(default_factory=dict)
    """What layers gave of two axes, none of them large."""
    unread: dict[str, str] = field(default_factory=dict)
    """What modules gave that are no layer, in words, by name."""
    single: dict[str, Tensor] = field(default_factory=dict)
    """What layers gave that give one number for each unit, ``(B, units)``."""
    last: Tensor | None = None
    """What the module gave that finished last."""
    quantized: str = ""
    """The first module whose output is quantized."""
    returned: Any = None
    """Whatever the network returned."""
    version: int | None = None
    """How often the last module's output had been written to when the module gave it."""
    answer: Tensor | None = None
    """The one tensor of it that is the network's answer."""
    place: int | None = None
    """Where that stands among the tensors that were returned."""
    own: Observation | None = None
    """What it shows, as if a module had given it."""


def observe(module: nn.Module, run: Any, images: Tensor, look: Any = None) -> Run:
    """Run the network on two images or more and return what each module gave; ``look`` sees both."""
    found = Run()
    every: dict[str, list[Observation]] = {}
    # The axis told by the module that last gave a tensor of this many units, and how many axes that had.
    made: dict[int, tuple[int, int]] = {}
    clock = 0

    def hint_of(output: Tensor) -> int | None:
        fitting = (
            axis
            for n, (axis, dims) in made.items()
            if output.shape[axis % output.dim()] == n and (axis == 1 or dims == output.dim())
        )
        return next(fitting, None)

    given: dict[str, int | None] = {}  # by name, the version of what it was given

    def look_before(name: str, _: nn.Module, inputs: Any) -> None:
        given[name] = _version(inputs)

    def note(name: str, inner: nn.Module, inputs: Any, output: Any) -> None:
        nonlocal clock
        clock += 1
        if isinstance(output, tuple | list) and output and isinstance(output[0], Tensor):
            output = output[0]
        if not isinstance(output, Tensor) or not output.is_floating_point() or output.dim() < 2:
            if isinstance(output, Tensor) and output.is_quantized:
                found.quantized = found.quantized or name
            found.unread[name] = _in_words(output)
            return
        hint = _hint(inner, output)
        if hint is not None:
            made[output.shape[hint]] = hint, output.dim()
        else:
            hint = hint_of(output)
        calls = found.layers[name].calls + 1 if name in found.layers else 1
        passes = given[name] is not None and given[name] == _version(inputs) and _is_same(inputs[0], output)
        observed = Observation(type(inner).__name__, tuple(output.shape), clock, calls, hint, passes)
        found.layers[name] = observed
        every.setdefault(name, []).append(observed)
        if output.dim() == 2 and output.numel() <= _SMALL:
            found.vectors[name] = output
        if output.numel() == output.shape[0] * max(output.shape[1:]) <= _SMALL:
            found.single[name] = output.flatten(1)
        found.last, found.version = output, version_of(output)
        if look is not None:
            look(name, output)

    with ExitStack() as hooks, torch.no_grad():
        for name, inner in module.named_modules():
            if name:
                hooks.callback(inner.register_forward_pre_hook(partial(look_before, name)).remove)
                hooks.callback(inner.register_forward_hook(partial(note, name)).remove)
        found.returned = run(images)
    found.place = place_of_answer(found.returned, len(images))
    found.answer = answer = answer_of(found.returned, len(images))
    if answer is not None:
        name = name_of_output(module)
        shape = tuple(answer.shape)
        found.own = Observation(type(module).__name__, shape, clock + 1, 1, hint_of(answer))
        if answer.numel() == len(answer) * max(shape[1:]) <= _SMALL:
            found.single[name] = answer.flatten(1)
        if look is not None:
            with torch.no_grad():
                look(name, answer)
    for name, calls in every.items():
        if len(calls) > 1:
            found.earlier |= {f"{name}#{call.calls}": call for call in calls}
    return found


def _version(inputs: Any) -> int | None:
    """Return how often a module's first input was written to; None where that is not counted."""
    return version_of(inputs[0]) if isinstance(inputs, tuple) and inputs else None


def version_of(tensor: Any) -> int | None:
    """Return how often a tensor was written to; None where that is not counted."""
    if not isinstance(tensor, Tensor) or tensor.is_inference() or tensor.layout != torch.strided:
        return None
    return int(tensor._version)


def _is_same(first: Tensor, second: Tensor) -> bool:
    if first is second:
        return True
    alike = first.shape == second.shape and second.layout == torch.strided
    return alike and first.stride() == second.stride() and first.data_ptr() == second.data_ptr() != 0


def _in_words(output: Any) -> str:
    """Say why what a module gave is no layer."""
    if not isinstance(output, Tensor):
        return f"gives no single tensor in a plain forward pass, but {type(output).__name__}"
    if not output.is_floating_point():
        return f"gives numbers of type {str(output.dtype).removeprefix('torch.')}, which have no gradient"
    shape = "(B,)" if output.dim() else "()"
    return f"gives a tensor of shape {shape}, which has no axis of units"


def _hint(module: nn.Module, output: Tensor) -> int | None:
    if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.modules.batchnorm._BatchNorm):
        return 1
    if isinstance(module, nn.Linear):
        return output.dim() - 1
    if isinstance(module, nn.LayerNorm) and len(module.normalized_shape) == 1:
        # A LayerNorm for (B, C, H, W) moves the axis by itself; its output's shape tells.
        n = module.normalized_shape[0]
        if output.shape[-1] == n and output.shape[1] != n:
            return output.dim() - 1
        if output.shape[1] == n and output.shape[-1] != n:
            return 1
    return None
