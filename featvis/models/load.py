"""load_model: from a name, a file or a module to a ModelHandle."""

from __future__ import annotations

import logging
import operator
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from featvis.errors import FeatvisError, ModelError, count_of, unknown
from featvis.models.borrow.tap import borrowed
from featvis.models.form import FRAMES_TRIED, IMAGES, find_form, forms_of
from featvis.models.forward import Forward, seen_as
from featvis.models.given import as_module
from featvis.models.handle import ModelHandle
from featvis.models.labels import Labels, read_labels
from featvis.models.plain import PlainRun
from featvis.models.preprocessing import Numbers, preprocessing_of
from featvis.models.sources.base import Loaded
from featvis.models.sources.from_timm import read_config
from featvis.models.sources.register import find_source, forms, sources, split_name
from featvis.models.weights import Applied, WeightsFile, apply_weights, find_fit, read_weights
from featvis.notebook import quiet_bars

_DEVICES = ("auto", "cpu", "cuda", "cuda:1", "mps")
DEFAULT_MODEL = "efficientnet_lite0"
log = logging.getLogger(__name__)


def load_model(
    source: str | nn.Module | ModelHandle = DEFAULT_MODEL,
    *,
    weights: str | Path | None = None,
    mean: Numbers | None = None,
    std: Numbers | None = None,
    input_size: int | tuple[int, int] | None = None,
    labels: Labels | None = None,
    unit_axis: int | dict[str, int] | None = None,
    device: str | torch.device | None = None,
    signal: bool | None = None,
    forward: Forward | None = None,
    channel_order: str | None = None,
    range: float | None = None,
    sample_rate: float | None = None,
    frames: int | None = None,
) -> ModelHandle:
    """Load a network.

    Args:
        source: ``efficientnet_lite0`` (embedded, the default), ``…lite1``, ``…lite2``,
            ``squeezenet1_1`` (all embedded), ``torchvision:NAME``, ``timm:NAME``,
            ``hf:OWNER/NAME`` (transformers), ``file:PATH.py:FUNCTION``, a source of your own (see
            :mod:`featvis.models.sources.register`), or any ``nn.Module`` (then ``mean`` and ``std`` must be
            given).
        weights: a file (safetensors, or a checkpoint, of which only tensors are read), ``FILE:KEY`` for a
            part of it, ``"none"`` for random weights (always the same ones), or None for the source's own
            pretrained ones.
        mean: subtracted from images ``(B, C, H, W)`` in [0, 1], one number for each channel, instead of
            what the source or the weights say. Numbers that are of images in 0 to 255 are divided by 255.
        std: divides them afterwards, one number for each channel, none of them 0.
        input_size: in pixels, one side or (height, width); by default what the source says, else
            measured: 224 if the network runs at that.
        labels: names of the classes, in the order of the network's output; or a file of them: one a line, or
            JSON.
        unit_axis: where the shape of a layer's output does not say which axis holds its units: the axis,
            for every layer or by the layer's name.
        device: where to put it: ``cpu``, ``cuda``, ``cuda:1``, ``mps``, or ``auto`` for a GPU where there
            is one. By default ``auto`` for networks that featvis builds; a module stays where it is.
        signal: whether the network takes signals ``(B, C, T)`` or raw waveforms ``(B, T)`` instead of images
            (which of the two, is found by trying); its canvas is then ``(1, T)``, and ``input_size`` is T. By
            default what a ``file:`` says, else no.
        sample_rate: of signals that can be heard, samples a second: a WAV file then lies beside each picture.
        frames: how many frames a network takes of videos or volumes ``(B, C, T, H, W)``; ``mean`` and ``std``
            are those of one frame. By default, for one that has kernels of three axes and runs on no images,
            the first of 16, 32, 8 … that it runs with.
        forward: how the network is run, where not as ``module(images)``: a function of it and the images
            that it takes, for instance ``lambda net, images: net(images, other)``.
        channel_order: of the images that the network takes, and so of ``mean`` and ``std``: ``rgb``, or
            ``bgr``. Pictures are RGB always.
        range: of the images that the network takes before ``mean`` and ``std``: 1, or 255.

    Returns:
        The network with what it expects of an image; a handle is returned as it is.

    Raises:
        ModelError: unknown, cannot be built, or its preprocessing is not known.
        WeightsError: the weights are missing, damaged, unsafe, or do not fit.

    >>> import featvis as fv, torch
    >>> fv.load_model(torch.nn.Conv2d(3, 4, 3), mean=(0.5,) * 3, std=(0.5,) * 3, input_size=16)
    ModelHandle('Conv2d', input 16x16, 0 class names)
    """
    if isinstance(source, ModelHandle):
        return source
    quiet_bars()
    began = time.perf_counter()
    asked: dict[str, Any] = {
        "input_size": input_size,
        "labels": labels,
        "signal": signal,
        "forward": forward,
        "channel_order": channel_order,
        "unit_axis": unit_axis,
        "sample_rate": sample_rate,
        "frames": frames,
    }
    asked = {key: value for key, value in asked.items() if value is not None}
    if isinstance(source, str):
        name, loaded = source, _of_name(source, pretrained=weights is None)
        if loaded.handle is not None:
            return _as_it_is(loaded, name, device, {**asked, "mean": mean, "std": std, "weights": weights})
        loaded.module.eval()  # ours: whoever calls it means the network as it was trained
    else:
        module, told = as_module(source)
        name, loaded = type(module).__name__, read_config(module)
        loaded = replace(loaded, notes=(*told, *loaded.notes))
        if weights == "none":
            raise ModelError("weights='none' is for named sources; this module has its own weights")
    missing, notes = list(loaded.missing), list(loaded.notes)
    file = None
    if weights is not None and str(weights) != "none":
        file = read_weights(weights)
        loaded, applied = _with_weights(loaded, source if isinstance(source, str) else None, file)
        missing, notes = applied.missing, [*loaded.notes, *applied.notes]
    loaded = replace(loaded, **asked)
    numbers = preprocessing_of(
        name,
        loaded,
        mean=mean,
        std=std,
        range=range,
        metadata=file.preprocessing() if file is not None else {},
    )
    placed = device is not None or isinstance(source, str)
    if placed:
        loaded.module.to(pick_device(device or "auto"))
    unit_axes = {"": loaded.unit_axis} if isinstance(loaded.unit_axis, int) else loaded.unit_axis
    size = loaded.input_size
    if size is not None:
        size = as_canvas(size, signal=loaded.signal, channels=len(numbers.mean))
    frames = loaded.frames
    if frames is None and not loaded.signal and loaded.forward is None:
        frames = _frames(loaded.module, numbers.mean, size or (224, 224))
        if frames is not None:
            notes.append(f"{name} takes videos or volumes (B, C, T, H, W); here T is {frames}")
    handle = ModelHandle(
        seen_as(loaded.module, loaded.forward, loaded.channel_order),
        name=name,
        mean=numbers.mean,
        std=numbers.std,
        input_size=size,
        signal=loaded.signal,
        sample_rate=loaded.sample_rate,
        frames=frames,
        interpolation=loaded.interpolation,
        labels=read_labels(loaded.labels),
        missing=missing,
        unit_axes=unit_axes,
        notes=[*notes, *numbers.notes],
    )
    if labels is not None or (loaded.labels and str(source).startswith("file:")):
        _check_labels(handle)
    handle.spreads = placed and str(device or "auto") in ("auto", "cuda")
    log.info("loaded %s in %.1f s, on %s", name, time.perf_counter() - began, handle.device)
    return handle


def _check_labels(handle: ModelHandle) -> None:
    """Raise ModelError if labels that a user gave are the names of no layer's units."""
    try:
        network = handle.at(handle.input_size)
        output = network.layer(network.output_layer)
    except FeatvisError:  # what is wrong with the network is told where it is used
        return
    if not any(layer.labels for layer in network.layers.values()):
        given = count_of(len(handle.labels), "label")
        layer = f"the output of {handle.name}, layer {output.name!r}"
        raise ModelError(f"{given} for {output.units} classes: {layer}, has {output.units} units")


def _as_it_is(
    loaded: Loaded, name: str, device: str | torch.device | None, asked: dict[str, Any]
) -> ModelHandle:
    """Return the handle of a kind of its own that a user's function made; nothing in it can be exchanged."""
    if given := [key for key, value in asked.items() if value is not None]:
        raise ModelError(f"{name} returns a {type(loaded.handle).__name__}, which has its own {given[0]}")
    handle: ModelHandle = loaded.handle
    handle.name, handle.notes = name, loaded.notes
    if device is not None:
        handle.module.to(pick_device(device))
    return handle


def _with_weights(loaded: Loaded, name: str | None, file: WeightsFile) -> tuple[Loaded, Applied]:
    """Load a file's tensors, into a network built for the file's classes and channels where it can be."""
    fit = find_fit(loaded.module, file)
    if name is not None and (fit.classes is not None or fit.channels is not None):
        prefix, rest = split_name(name)
        classes = None
        if fit.classes is not None and loaded.classes:
            classes = fit.classes[0] * loaded.classes // fit.classes[1]
        built = None
        if classes is not None or fit.classes is None:
            with _always_the_same_draws():
                built = find_source(prefix).load_for(rest, classes, fit.channels)
        again = None if built is None else find_fit(built.module, file)
        if built is not None and again is not None and not again.odd:
            built.module.eval()
            what = " and ".join(
                f"{number} {one if number == 1 else many}"
                for number, one, many in (
                    (classes, "class", "classes"),
                    (fit.channels, "channel", "channels"),
                )
                if number is not None
            )
            note = f"{file.path}: {name} was built with the file's {what}"
            return replace(built, notes=(*built.notes, note)), apply_weights(built.module, again)
    return loaded, apply_weights(loaded.module, fit)


@contextmanager
def _always_the_same_draws() -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # random weights are the same ones every time
        yield


def as_canvas(size: object, *, signal: bool = False, channels: int = 0) -> tuple[int, int]:
    """Return an input size that somebody gave as (height, width).

    Args:
        size: a side (of a signal its length), (height, width), or as text ``32`` or ``32x48``.
        signal: whether the canvas is one row of values.
        channels: of the network, to know (C, H, W) by, which is refused.

    Raises:
        ModelError: something else, or a side below 1.

    >>> as_canvas(32), as_canvas((24, 32)), as_canvas("24x32"), as_canvas(100, signal=True)
    ((32, 32), (24, 32), (24, 32), (1, 100))
    """
    sides: list[Any] = list(size.replace("×", "x").split("x")) if isinstance(size, str) else [size]
    if isinstance(size, Sequence | np.ndarray) and not isinstance(size, str) and np.ndim(size) == 1:
        sides = list(size)
    try:
        whole = [
            int(side) if isinstance(side, str) else operator.index(side)
            for side in sides
            if not isinstance(side, bool)
        ]
    except (TypeError, ValueError):
        whole = []
    alone = len(whole) == 1 and (isinstance(size, str) or np.ndim(size) == 0)  # type: ignore[arg-type]
    if alone:
        whole = [1, *whole] if signal else whole * 2
    if len(whole) != 2 or len(sides) > 2 or min(whole) < 1:
        hint = ""
        if len(whole) in (3, 4) and whole[-3] == (channels or whole[-3]):
            hint = f"; the channels are not part of it: input_size={tuple(whole[-2:])}"
        wanted = "a signal's length" if signal else "one side or (height, width), in pixels from 1 up"
        raise ModelError(f"input_size is {wanted}, got {size!r}{hint}")
    return whole[0], whole[1]


def _frames(module: nn.Module, mean: Sequence[float], canvas: tuple[int, int]) -> int | None:
    """Return with how many frames a network runs that runs on no images; None for any other."""
    if not any(weight.dim() == 5 for weight in module.parameters()):
        return None
    run, channels = PlainRun(module, mean, mean).run, len(tuple(mean))
    with borrowed(module):
        if find_form([IMAGES], run, channels, canvas) is not None:
            return None
        for frames in FRAMES_TRIED:
            forms = forms_of(signal=False, frames=frames, channels=channels)
            if find_form(forms, run, frames * channels, canvas) is not None:
                return frames
    return None


def pick_device(device: str | torch.device) -> torch.device:
    """Return the device meant; ``auto`` is a CUDA GPU where there is one.

    Apple's ``mps`` is taken where it is named only: no picture has been made on one by those who wrote this.
    """
    if str(device) == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError:
        raise ModelError(unknown("device", str(device), _DEVICES, ", ".join(_DEVICES))) from None
    known = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}
    if (chosen.index or 0) >= known.get(chosen.type, 0):
        problem = f"no device {str(device)!r} on this machine"
        raise ModelError(
            f"{problem}; device='auto' takes what there is",
            typed=f"{problem}; --device auto takes what there is",
        )
    return chosen


def list_models(search: str = "") -> list[tuple[str, str]]:
    """Return the names of all networks that can be listed, each with where its weights come from.

    ``hf:`` and ``file:`` name others.

    Args:
        search: only names that hold this text, in letters of either case.

    >>> list_models("lite0")[0]
    ('efficientnet_lite0', 'embedded (PyPI package)')
    """
    return [
        (name, entry.about)
        for entry in sources()
        for name in _full_names(entry.prefix)
        if search.lower() in name.lower()
    ]


def _full_names(prefix: str) -> list[str]:
    return [f"{prefix}:{name}" if prefix else name for name in find_source(prefix).names()]


def _of_name(source: str, *, pretrained: bool) -> Loaded:
    prefix, name = split_name(source)
    place = find_source(prefix)
    if not prefix and name not in place.names():
        if Path(source).is_file():
            raise ModelError(
                f"{source!r} is a file, no network's name; a network is named ({forms()}), and the file "
                "given as its weights"
            )
        elsewhere = [entry.prefix for entry in sources() if name in find_source(entry.prefix).names()]
        if elsewhere:
            nearest = " or ".join(f"'{prefix}:{name}'" for prefix in elsewhere)
            raise ModelError(f"unknown network {source!r}; did you mean {nearest}?")
        hint = f"embedded: {', '.join(place.names())}; in all: {forms()}"
        raise ModelError(unknown("network", source, place.names(), hint))
    with _always_the_same_draws():
        return place.load(name, pretrained)
