"""What is found out of a network by running it: its layers, the canvases it takes, what can be folded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from featvis.errors import CanvasError, ModelError
from featvis.models.borrow.fold import Pair, find_pairs, foldable
from featvis.models.borrow.tap import borrowed
from featvis.models.layers.measure import LayerInfo, measure, next_canvas
from featvis.models.plain import PlainRun

Size = tuple[int, int]


def measure_layers(
    run: PlainRun, size: Size, name: str, input_size: Size, *, axes: dict[str, int], labels: Sequence[str]
) -> dict[str, LayerInfo]:
    """Return the layers at a canvas by name, in the order of :meth:`torch.nn.Module.named_modules`.

    ``axes`` are the units' axis by layer name, as the user settled it; ``labels`` name the classes. Where the
    network does not run at this canvas, a CanvasError names the smallest that it takes.
    """
    with borrowed(run.module):
        try:
            layers = measure(run.module, run.channels, size, axes=axes, fixed=False, run=run)
        except (RuntimeError, AssertionError, ValueError, IndexError, ZeroDivisionError, TypeError) as error:
            raise CanvasError(_canvas_message(run, size, name, input_size, error)) from error
    if not layers:
        raise ModelError(f"{name}: no layer gives a tensor with a batch axis")
    order = {key: place for place, (key, _) in enumerate(run.module.named_modules())}
    return {name: _with_labels(layers[name], tuple(labels)) for name in sorted(layers, key=order.__getitem__)}


def takes_one_size(run: PlainRun, input_size: Size) -> bool:
    """Whether the network runs on images of its own input size only."""
    with borrowed(run.module):
        larger = (input_size[0] * 2, input_size[1] * 2)
        return run.runs_at(input_size) and not run.runs_at(larger)


def trusted_pairs(run: PlainRun, input_size: Size) -> list[Pair]:
    """Return the convolutions that a BatchNorm can be folded into: measured, and checked by the output."""
    generator = torch.Generator().manual_seed(0)
    images = torch.rand((1, run.channels, *input_size), generator=generator)
    with borrowed(run.module), torch.no_grad():
        pairs = find_pairs(run.module, lambda: run(images))
        pairs = foldable(pairs, run.module, ())
        plain = run.numbers(images)
    with borrowed(run.module, fold=pairs), torch.no_grad():
        finite = plain[plain.isfinite()]  # of a network some of whose outputs are no numbers
        near = 1e-3 * float(finite.abs().max()) if finite.numel() else 0.0
        folded = run.numbers(images)
        same = plain.numel() > 0 and torch.allclose(folded, plain, atol=near, equal_nan=True)
    return pairs if same else []


def _canvas_message(run: PlainRun, size: Size, name: str, input_size: Size, error: Exception) -> str:
    canvas = f"{size[0]}x{size[1]}"
    side = next_canvas(
        lambda side: run.runs_at((1 if run.signal else side, side)), size[1] if run.signal else min(size)
    )
    if side is not None:
        return (
            f"{name} does not run on a canvas of {canvas}; the smallest larger side that it takes is {side}"
        )
    height, width = input_size
    if size != input_size and run.runs_at(input_size):
        return f"{name} takes images of {height}x{width} only, not {canvas}"
    reason = " ".join(str(error).split()) or type(error).__name__
    return f"{name} does not run on images of {canvas}: {reason[:200]}"


def _with_labels(layer: LayerInfo, labels: tuple[str, ...]) -> LayerInfo:
    has_names = layer.kind == "vector" and layer.units == len(labels)
    return replace(layer, labels=labels) if has_names else layer
