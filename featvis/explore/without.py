"""A network in which some units are switched off: zeroed, held at their mean, or scaled."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from featvis.errors import ModelError, TargetError, UserError, count_of, unknown
from featvis.models.borrow.fold import find_pairs
from featvis.models.handle import ModelHandle
from featvis.models.layers.measure import LayerInfo
from featvis.models.photograph import Photographs
from featvis.photographs.canvases import Canvases
from featvis.spec.target import Target, expand, parse_request, parse_vectors

MODES = ("zero", "mean")
_NAMED = 60
"""Characters of a network's name that its units' addresses take at most."""

Units = str | Target | Sequence[str | Target]
"""Addresses of units: one text, one target, or several of them."""


def without(
    model: ModelHandle,
    units: Units,
    mode: str = "zero",
    *,
    factor: float | None = None,
    photographs: Photographs | None = None,
) -> ModelHandle:
    """Return a network in which units are switched off, at every position; the one given stays as it is.

    What is returned is a handle like any other: it renders, attributes and is evaluated. Its weights and its
    name are others, for pictures of it are other pictures; its last note says what was done.

    Args:
        model: from :func:`featvis.load_model`.
        units: their addresses, ``"blocks.4:17"``, ``"blocks.4:0:8"``, or a list of them, of one layer or
            several. Of a layer that runs several times it is the last run, or the one that ``NAME#1`` says.
        mode: ``zero``, or ``mean``: each unit gives its mean over photographs and positions, whatever is
            shown.
        factor: scales the units instead: 0.5 halves them, -1 turns them round.
        photographs: for ``mean``: a folder, or a list of files, PIL images, or tensors or arrays
            ``(C, H, W)`` in [0, 1]. Without any, the mean that the network's BatchNorm has learnt, where it
            has one of these very units.

    Raises:
        CanvasError: a photograph with other channels, or values beyond [0, 1].
        TargetError: no such layer or unit.
        UserError: an unknown mode, a factor that is no number, or no mean without photographs.

    >>> import featvis as fv, torch
    >>> network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU())
    >>> model = fv.load_model(network, mean=(0.5,) * 3, std=(0.5,) * 3, input_size=16)
    >>> off = fv.without(model, "0:1,3")
    >>> off.name, off.module(torch.ones(1, 3, 16, 16))[0, [1, 3]].any().item()
    ('Sequential without 0:1,3', False)
    """
    if mode not in MODES:
        raise UserError(unknown("mode", str(mode), MODES, "zero, mean, or a factor"))
    if factor is not None and (mode != "zero" or isinstance(factor, bool) or not _is_finite(factor)):
        raise UserError(f"a factor is a finite number, and takes the place of a mode; got {factor!r}, {mode}")
    if photographs is not None and mode != "mean":
        raise UserError("photographs are for mode='mean'")
    chosen = units_by_layer(model, units)
    network = model.at(model.input_size)
    if network.own_output is not None and network.own_output[0] in chosen:
        raise TargetError(
            f"{network.own_output[0]!r} is what forward itself returns, which no module gives; units of a "
            "layer before it can be switched off"
        )
    changes = [
        _Change(network.find(layer), rows, network.find(_run_of(model.module, layer)[0]).calls)
        for layer, rows in chosen.items()
    ]
    where = ""
    if mode == "mean":
        means, where = _means(model, changes, photographs)
        changes = [replace(one, value=means[one.layer.name], factor=0.0) for one in changes]
    elif factor is not None:
        changes = [replace(one, factor=float(factor)) for one in changes]
    other = model.copy()
    for change in changes:
        _switch(other.module, change)
    other._forget()
    named = name_units(chosen)
    if mode == "mean":
        name, note = f"{model.name} with {named} at the mean", f"{named} held at {where}"
    elif factor is not None:
        name, note = f"{model.name} with {named} times {factor:g}", f"{named} times {factor:g}"
    else:
        name, note = f"{model.name} without {named}", f"{named} zeroed"
    other.name, other.notes = name, (*model.notes, note)
    return other


def units_by_layer(model: ModelHandle, units: Units) -> dict[str, list[int]]:
    """Return the units that addresses name, by layer, each once, in the order given."""
    network = model.at(model.input_size)
    found: dict[str, dict[int, None]] = {}
    for address in [units] if isinstance(units, str | Target) else list(units):
        if isinstance(address, Target):
            request = parse_request(f"x:{address.unit}")
            request = replace(request, layer=address.layer, position=address.position)
        elif not isinstance(address, str):
            raise TargetError(f"units are addresses like 'blocks.4:17', got {type(address).__name__}")
        elif parse_vectors(address) is not None:
            raise TargetError(f"{address!r} names directions; units of a layer are switched off")
        else:
            request = network.request(address)
        if request.position is not None:
            row, column = request.position
            raise TargetError(f"{address}: a unit is switched off everywhere; leave out @{row},{column}")
        for layer in request.layers if isinstance(address, str) else [request.layer]:
            info = network.layer(layer)
            targets = expand(replace(request, layer=layer), info.units, info.labels)
            found.setdefault(layer, {}).update(dict.fromkeys(target.unit for target in targets))
    if not found:
        raise TargetError("no unit to switch off; name some, for instance 'blocks.4:17'")
    return {layer: list(rows) for layer, rows in found.items()}


def name_units(chosen: dict[str, list[int]]) -> str:
    """Return units by layer as addresses, runs of them as ranges, cut where that is long.

    >>> name_units({"blocks.3": [0, 1, 2, 3, 9], "fc": [4]})
    'blocks.3:0:4,9 fc:4'
    """
    parts = []
    for layer, rows in chosen.items():
        runs: list[list[int]] = []
        for row in sorted(rows):
            if runs and row == runs[-1][1]:
                runs[-1][1] = row + 1
            else:
                runs.append([row, row + 1])
        texts = [
            f"{first}:{end}" if end - first > 2 else ",".join(map(str, range(first, end)))
            for first, end in runs
        ]
        parts.append(f"{layer}:{','.join(texts)}")
    text = " ".join(parts)
    if len(text) <= _NAMED:
        return text
    count = count_of(sum(map(len, chosen.values())), "unit")
    return f"{count} of {', '.join(chosen)}"


@dataclass(frozen=True)
class _Change:
    """What is done to some units of a layer: value + factor · activation."""

    layer: LayerInfo
    rows: list[int]
    runs: int
    """How often its module runs in a pass."""
    factor: float = 0.0
    value: Tensor | None = None
    """``(units,)`` of the whole layer."""


class _Switch:
    """A hook that changes units of what a module gives, at one of its runs in a pass."""

    def __init__(self, change: _Change, key: str, call: int) -> None:
        self._key, self._axis, self._axes = key, change.layer.axis, len(change.layer.shape)
        self._call, self._once = call, change.runs == 1
        self._scales = change.factor != 0
        self._seen = 0

    def begin(self, module: nn.Module, inputs: Any) -> None:
        """Count from the start of a pass: one that ended early left the count behind."""
        self._seen = 0

    def __call__(self, module: nn.Module, inputs: Any, output: Any) -> Any:
        """Return the output with the units changed."""
        self._seen += 1
        if not self._once and self._seen != self._call:
            return None
        if isinstance(output, tuple | list):
            return type(output)((self._changed(module, output[0]), *output[1:]))
        return self._changed(module, output)

    def _changed(self, module: nn.Module, activation: Tensor) -> Tensor:
        # squeeze() takes away the axis of a batch of one
        axis = self._axis - (activation.dim() == self._axes - 1)
        shape = [-1 if place == axis else 1 for place in range(activation.dim())]
        chosen, factor, value = (
            module._buffers[f"{self._key}_{part}"].view(shape)  # type: ignore[union-attr]
            for part in ("units", "factor", "value")
        )
        # Chosen, not multiplied by 0 where they stay: their bits are their own, and infinity times 0 is none.
        changed = value.to(activation.dtype)
        if self._scales:
            changed = torch.addcmul(changed, activation, factor.to(activation.dtype))
        return torch.where(chosen, changed, activation)


def _switch(module: nn.Module, change: _Change) -> None:
    """Switch units of a network of our own; what is done stands in its buffers and so in its fingerprint."""
    name, call = _run_of(module, change.layer.name)
    owner = module.get_submodule(name)
    key = next(f"switch{n}" for n in range(10**6) if f"switch{n}_units" not in owner._buffers)
    where = next((one.device for one in (*owner.parameters(), *module.parameters())), torch.device("cpu"))
    kind = next((one.dtype for one in module.parameters() if one.is_floating_point()), torch.float32)
    chosen = torch.zeros(change.layer.units, dtype=torch.bool)
    chosen[change.rows] = True
    value = torch.zeros(change.layer.units) if change.value is None else change.value.float().clone()
    value[~chosen] = 0
    owner.register_buffer(f"{key}_units", chosen.to(where))
    factor = torch.full((change.layer.units,), change.factor)
    owner.register_buffer(f"{key}_factor", factor.to(where, kind))
    owner.register_buffer(f"{key}_value", value.to(where, kind))
    switch = _Switch(change, key, call or change.runs)
    owner.register_forward_hook(switch)
    if change.runs > 1:
        module.register_forward_pre_hook(switch.begin)


def _run_of(module: nn.Module, layer: str) -> tuple[str, int | None]:
    """Return the name of a layer's module, and which of its runs is meant; None for the last."""
    if layer in dict(module.named_modules(remove_duplicate=False)):
        return layer, None
    name, _, call = layer.rpartition("#")
    return name, int(call)


@torch.no_grad()
def _means(
    model: ModelHandle, changes: Sequence[_Change], photographs: Photographs | None
) -> tuple[dict[str, Tensor], str]:
    """Return by layer each unit's mean, and in words of what."""
    if photographs is None:
        return _learnt(model, changes)
    layers = {one.layer.name: one.layer for one in changes}
    canvases = Canvases(model, photographs)
    sums = {name: torch.zeros(layer.units, dtype=torch.float64) for name, layer in layers.items()}
    counts = dict.fromkeys(layers, 0)
    with model.tap(list(layers), size=model.input_size) as tap:
        for images in canvases:
            read = tap(images.to(model.device))
            for name, layer in layers.items():
                rows = read[name].movedim(layer.axis, -1).reshape(-1, layer.units)
                sums[name] += rows.cpu().double().sum(0)  # Apple's GPUs have no float64
                counts[name] += len(rows)
    means = {name: (sums[name] / counts[name]).float() for name in layers}
    for one in changes:
        if not bool(means[one.layer.name][one.rows].isfinite().all()):
            raise ModelError(f"the mean of {one.layer.name} over these photographs is not finite")
    return means, f"their mean over {count_of(canvases.shown, 'photograph')}"


def _learnt(model: ModelHandle, changes: Sequence[_Change]) -> tuple[dict[str, Tensor], str]:
    """Return the means of units that BatchNorms keep: what comes into one, or what a plain one gives."""
    modules: dict[str, Any] = dict(model.module.named_modules(remove_duplicate=False))
    grey = torch.full((1, model.channels, *model.input_size), 0.5)
    readers = {pair.convolution: pair.norm for pair in find_pairs(model.module, lambda: model.run_once(grey))}
    means, norms = {}, []
    for change in changes:
        name = change.layer.name
        own, norm = modules.get(name), readers.get(name)
        if type(own) is nn.BatchNorm2d and own.running_mean is not None:
            means[name] = (
                torch.zeros(own.num_features) if own.bias is None else own.bias.detach().cpu().float()
            )
            norms.append(name)
        elif norm is not None and modules[norm].running_mean is not None:
            means[name] = modules[norm].running_mean.detach().cpu().float()
            norms.append(norm)
        else:
            raise UserError(
                f"no BatchNorm keeps the mean of {name}: give photographs, a folder of them or images"
            )
    return means, f"the mean that {', '.join(dict.fromkeys(norms))} learnt"


def _is_finite(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
