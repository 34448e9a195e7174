"""A network that does not run: is that the canvas, the form of its input, or itself? Found by trying."""

from __future__ import annotations

import inspect
import math
import sys
import time
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from featvis.devices import is_out_of_memory
from featvis.errors import CanvasError, ModelError, UserError
from featvis.models.layers.answer import is_folded
from featvis.models.layers.measure import next_canvas
from featvis.models.plain import PlainRun
from featvis.models.reason import reason_of

Size = tuple[int, int]
_SECONDS = 3.0
"""For so long other canvases are tried for a network that does not run at its own."""

_WRAP = "load_model(…, forward=lambda net, images: {})"
_TYPED = "write a function that returns such a module and name it: --model file:PATH.py:FUNCTION"
_SIDES = (28, 32, 64, 96, 16, 48, 8, 40, 56, 80, 84, 112, 128, 160, 192, 227, 240, 256, 299, 384, 512)
"""Sides that networks are trained at; tried in this order where nobody told one and 224 does not run."""


def find_size(run: PlainRun) -> Size:
    """Return the canvas that a network was made for, where nobody told it: 224, or one that it runs at."""
    default = (1, 224) if run.signal else (224, 224)
    if runs_at(run, default):
        return default
    # What flattens an image of one channel or more into its first linear layer tells its side.
    rooms = [
        inner.in_features / run.channels for inner in run.module.modules() if isinstance(inner, nn.Linear)
    ]
    told = [math.isqrt(int(room)) for room in rooms if room == math.isqrt(int(room)) ** 2 and room > 16]
    for side in dict.fromkeys((*told, *_SIDES)):
        size = (1, side) if run.signal else (side, side)
        if runs_at(run, size):
            return size
    return default


def runs_at(run: PlainRun, size: Size) -> bool:
    """Whether a network runs on a canvas of this size, each image by itself."""
    try:
        with torch.no_grad():
            return not is_folded(run(torch.full((2, run.channels, *size), 0.5)), 2)
    except Exception:
        return False


def explain(run: PlainRun, size: Size, name: str, input_size: Size, error: Exception | None) -> UserError:
    """Return what to tell of a network that does not run at a canvas.

    ``error`` is what it raised; None if it ran, but took parts of images for images of their own.
    """
    canvas = f"{size[0]}x{size[1]}"
    if error is not None and (is_out_of_memory(error) or "size calculation overflowed" in str(error)):
        return CanvasError(f"{name} has no room in memory at images of {canvas}: {reason_of(error)}")
    if isinstance(error, RecursionError):
        return ModelError(
            f"{name} nests its modules deeper than Python's limit allows ({reason_of(error)}); raise it "
            f"before: sys.setrecursionlimit({10 * sys.getrecursionlimit()})"
        )
    if size != input_size and runs_at(run, input_size):
        side = next_canvas(
            lambda side: runs_at(run, (1 if run.signal else side, side)), size[1] if run.signal else min(size)
        )
        if side is not None:
            least = f"the smallest larger side that it takes is {side}"
            return CanvasError(f"{name} does not run on a canvas of {canvas}; {least}")
        height, width = input_size
        return CanvasError(f"{name} takes images of {height}x{width} only, not {canvas}")
    reason = (
        reason_of(error) if error is not None else "what it returns has another first axis than the batch"
    )
    if error is not None and (found := _other_form(run, size, name, reason, error)) is not None:
        return found
    for side in _larger_and_usual(run, size):
        height, width = 1 if run.signal else side, side
        start = f"{name} does not run on images of {canvas} ({reason}); it does at {height}x{width}"
        return CanvasError(
            f"{start}: load_model(…, input_size={side})", typed=f"{start}: --input-size {side}"
        )
    wrap = _WRAP.format("net(images, …)")
    start = f"{name} fails on images of {run.channels}x{canvas}: {reason}"
    return ModelError(
        f"{start}. If it takes more than images, or takes them otherwise: {wrap}",
        typed=f"{start}. If it takes more than images, or takes them otherwise, {_TYPED}",
    )


def _larger_and_usual(run: PlainRun, size: Size) -> Iterator[int]:
    until, last = time.monotonic() + _SECONDS, (0, 0.0)

    def works(side: int) -> bool:
        nonlocal last
        began = time.monotonic()
        # An attention's cost grows by the fourth power of the side.
        if began > until or (last[0] and last[1] * (side / last[0]) ** 4 > _SECONDS):
            return False
        runs = runs_at(run, (1 if run.signal else side, side))
        last = side, time.monotonic() - began
        return runs

    yield from (side for side in _SIDES if side <= 2 * max(size) and works(side))
    side = next_canvas(works, size[1] if run.signal else min(size))
    if side is not None:
        yield side


class _Asked(dict[str, Any]):
    """A dict that holds an image under every key, and remembers which were asked for."""

    def __init__(self, images: Tensor) -> None:
        super().__init__()
        self.images, self.keys_asked = images, list[str]()

    def __missing__(self, key: str) -> Tensor:
        self.keys_asked.append(key)
        return self.images

    def __contains__(self, key: object) -> bool:
        return False


def _other_form(run: PlainRun, size: Size, name: str, reason: str, error: Exception) -> UserError | None:
    """Show the network images in other forms; return what to tell if it runs on one, or lacks an argument."""
    lacking = _lacking(run.module, error)
    if lacking:
        wrap = _WRAP.format(f"net(images, {', '.join(lacking)})")
        start = f"{name} needs more than images: {reason}"
        return ModelError(f"{start}. Give it: {wrap}", typed=f"{start}. To give it, {_TYPED}")
    for channels in _channels(run):
        if _runs(run, torch.zeros(2, channels, *size)):
            count = f"{channels} channel" + ("s" if channels > 1 else "")
            start = f"{name} takes images of {count}, not {run.channels}"
            each = ", ".join(["0.5"] * channels)
            return ModelError(
                f"{start} ({reason}); mean and std have one number for each: "
                f"load_model(…, mean=({each}{',' if channels == 1 else ''}), std=…)",
                typed=f"{start} ({reason}); --mean and --std have one number for each: --mean {each}",
            )
    channels, long = run.channels, max(size)
    images = torch.zeros(2, channels, *size)
    last = "net(images.permute(0, 2, 3, 1))"
    signal = "load_model(…, signal=True, input_size=T)"
    forms: list[tuple[str, Tensor, str]] = [
        ("images (B, H, W, C)", images.permute(0, 2, 3, 1), _WRAP.format(last)),
        ("signals (B, C, T)", torch.zeros(2, channels, long), signal),
        ("signals (B, T)", torch.zeros(2, long), signal),
        ("videos or volumes (B, C, T, H, W)", torch.zeros(2, channels, 8, *size), "load_model(…, frames=T)"),
    ]
    for what, shown, call in forms:
        if _runs(run, shown):
            start = f"{name} takes {what}, not images (B, C, H, W): {reason}"
            return ModelError(f"{start}. Show it so: {call}", typed=f"{start}. To show it so, {_TYPED}")
    asked = _Asked(images.to(device=run.device, dtype=run.dtype))
    if _runs(run, asked) and asked.keys_asked:
        entries = ", ".join(f"{key!r}: images" for key in dict.fromkeys(asked.keys_asked))
        start = f"{name} takes a dict, not images: {reason}"
        return ModelError(
            f"{start}. Give it: {_WRAP.format(f'net({{{entries}}})')}",
            typed=f"{start}. To give it one, {_TYPED}",
        )
    return None


def _runs(run: PlainRun, shown: Any) -> bool:
    try:
        with torch.no_grad():
            if isinstance(shown, Tensor):
                shown = shown.to(device=run.device, dtype=run.dtype)
            return not is_folded(run.module(shown), 2)
    except Exception:
        return False


def _channels(run: PlainRun) -> list[int]:
    """The numbers of channels that the network's first convolution or others may take, likeliest first."""
    first = next((inner for inner in run.module.modules() if isinstance(inner, nn.Conv2d)), None)
    likely = ([first.in_channels] if first is not None else []) + [1, 3]
    return [number for number in dict.fromkeys(likely) if number != run.channels and number <= 64]


def _lacking(module: nn.Module, error: Exception) -> list[str]:
    """Return the further arguments that a network's forward cannot do without."""
    if not isinstance(error, TypeError) or "missing" not in str(error):
        return []
    try:
        parameters = list(inspect.signature(module.forward).parameters.values())
    except (TypeError, ValueError):
        return []
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    plain = [one.name for one in parameters if one.kind in kinds and one.default is inspect.Parameter.empty]
    keyed = [
        f"{one.name}={one.name}"
        for one in parameters
        if one.kind is inspect.Parameter.KEYWORD_ONLY and one.default is inspect.Parameter.empty
    ]
    return plain[1:] + keyed
