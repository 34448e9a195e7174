"""activation_statistics: what photographs make of a network's layers, for a penalty to hold pictures to."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from featvis.errors import ModelError, OutputError, RecipeError
from featvis.models.handle import ModelHandle
from featvis.models.layers.answer import modules_of
from featvis.models.layers.network import NetworkAt
from featvis.models.photograph import Photographs
from featvis.objectives.statistics import ActivationStatistics, load_activation_statistics
from featvis.photographs.canvases import Canvases

ENOUGH = 3
"""A network of fewer convolutions is a transformer, or hardly a network; its LayerNorms tell more."""


def activation_statistics(
    model: ModelHandle,
    photographs: Photographs,
    *,
    out: str | Path | None = None,
    size: int | tuple[int, int] | None = None,
    batch: int = 8,
    say: Callable[[str], None] | None = None,
) -> ActivationStatistics:
    """Measure mean and variance of a network's channels over photographs, for the penalty ``batchnorm``.

    What BatchNorm layers keep of their training, measured: so networks without them can be held to it, too.
    Of each photograph the middle at ``size`` is shown, in bounded memory; for every Conv2d that runs once in
    a pass and gives a map, mean and variance are taken of what it gives, channel by channel, over all
    positions and photographs. Where a network has fewer than three of these, its LayerNorms take their
    place, over tokens. A few hundred photographs of many things will do.

    Args:
        model: from :func:`featvis.load_model`; borrowed.
        photographs: a folder, flat or with sub-folders; or a list of files, PIL images, or tensors or
            arrays ``(C, H, W)`` in [0, 1].
        out: the safetensors file to write, a penalty's ``statistics``. If it holds those of the same files
            (by path, size and time of change), weights and size, it is read instead. No other is written
            over.
        size: (height, width) at which photographs are shown, or one number for a square; by default the
            network's own.
        batch: how many photographs the network sees at once.
        say: is told how far it is, a line at a time.

    Raises:
        CanvasError: a photograph with other channels, or values beyond [0, 1].
        UserError: no photograph, no such layer in the network, ``out`` cannot be written.

    >>> import featvis as fv, torch
    >>> network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.Conv2d(4, 2, 3))
    >>> model = fv.load_model(network, mean=(0.5,) * 3, std=(0.5,) * 3, input_size=16)
    >>> fv.activation_statistics(model, [torch.rand(3, 16, 16) for _ in range(4)]).layers["0"].shape
    (2, 4)
    """
    if size is None:
        canvas = model.input_size
    else:
        canvas = (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))
    if min(canvas) < 1 or batch < 1:
        raise RecipeError(f"size and batch are at least 1, got {size} and {batch}")
    network = model.at(canvas)
    if any(layer.mixes for layer in network.layers.values()):
        batch = 1  # or what an image gives would depend on its mates
    canvases = Canvases(model, photographs, batch, canvas)
    out = None if out is None else Path(out)
    fingerprint = f"{canvases.fingerprint} {model.interpolation}"
    weights = model.fingerprint()
    if out is not None:
        _check_place(out, canvases.folder)
        if out.exists():
            return _read_again(out, fingerprint, canvas, weights)
    kind, names = _layers_of(network)
    layers = _measure(model, names, canvases, say)
    found = ActivationStatistics(
        {name: layers[name].numpy() for name in names},
        model.name,
        kind,
        canvas,
        canvases.shown,
        canvases.skipped,
        weights,
        fingerprint,
    )
    if out is not None:
        found.save(out)
    return found


def _check_place(out: Path, folder: Path | None) -> None:
    if folder is not None and out.resolve().is_relative_to(folder.resolve()):
        raise OutputError(f"{out} would lie among the photographs that it is about; name a place outside")
    if out.is_dir():
        raise OutputError(f"{out} is a folder; name a file in it")


def _read_again(out: Path, fingerprint: str, size: tuple[int, int], weights: str) -> ActivationStatistics:
    try:
        before = load_activation_statistics(out)
    except OutputError as error:
        raise OutputError(f"{error}; it is not written over") from None
    if not before.answers(fingerprint, size, weights):
        what = "of other photographs, another size or other weights"
        raise OutputError(f"{out} holds statistics {what} ({before.summary()}); name another file")
    return before


def _layers_of(network: NetworkAt) -> tuple[str, list[str]]:
    """Return the class of the layers that are measured, and their names in the order in which they run."""
    convolutions = _named(network, (nn.Conv2d,), ("map",))
    if len(convolutions) >= ENOUGH:
        return "Conv2d", convolutions
    norms = _named(network, (nn.LayerNorm,), ("tokens", "map", "map_last"))
    if norms:
        return "LayerNorm", norms
    if convolutions:
        return "Conv2d", convolutions
    raise ModelError(
        f"{network.name} has no Conv2d and no LayerNorm that runs once and gives a map or tokens"
    )


def _named(network: NetworkAt, kinds: tuple[type[nn.Module], ...], layouts: tuple[str, ...]) -> list[str]:
    modules = modules_of(network.module)
    found = [
        layer
        for layer in network.layers.values()
        if isinstance(modules[layer.name], kinds)
        and layer.kind in layouts
        and layer.calls == 1
        and math.prod(layer.shape) > layer.units  # one position has no variance of its own
        and network.first_without_weights(layer) is None
    ]
    return [layer.name for layer in sorted(found, key=lambda layer: layer.order)]


def _measure(
    model: ModelHandle, names: list[str], canvases: Canvases, say: Callable[[str], None] | None
) -> dict[str, Tensor]:
    """Return mean and variance ``(2, C)`` of each layer, in float64 on the CPU."""
    network = model.at(canvases.size)
    sums: dict[str, Tensor] = {}
    counts: dict[str, int] = {}

    def add(name: str, output: Tensor) -> None:
        # Sums are float64 without a copy of the map in it; one device has no such numbers.
        given = output.cpu() if output.device.type == "mps" else output
        axis = network.layers[name].axis % given.dim()
        over = [place for place in range(given.dim()) if place != axis]
        first = given.sum(over, dtype=torch.float64)
        second = torch.linalg.vector_norm(given, dim=over, dtype=torch.float64).square()
        both = torch.stack((first, second)).cpu()
        sums[name] = sums[name] + both if name in sums else both
        counts[name] = counts.get(name, 0) + given.numel() // len(first)

    for images in canvases.spoken(say):
        model.tell_each(images, {name: partial(add, name) for name in names})
        if not all(bool(values.isfinite().all()) for values in sums.values()):
            raise ModelError(f"{model.name} gives numbers that are not finite for some photograph")
    found = {}
    for name, values in sums.items():
        mean, square = values / counts[name]
        found[name] = torch.stack((mean, (square - mean.square()).clamp(min=0)))
    return found
