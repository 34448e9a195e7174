"""load_model: from a name, a file or a module to a ModelHandle."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from featvis.errors import ModelError, unknown
from featvis.models.borrow.tap import borrowed
from featvis.models.form import FRAMES_TRIED, IMAGES, find_form, forms_of
from featvis.models.handle import ModelHandle
from featvis.models.plain import PlainRun
from featvis.models.sources.base import Loaded
from featvis.models.sources.register import find_source, forms, sources, split_name
from featvis.models.weights import apply_weights, read_weights

_DEVICES = ("auto", "cpu", "cuda", "cuda:1", "mps")
DEFAULT_MODEL = "efficientnet_lite0"


def load_model(
    source: str | nn.Module | ModelHandle = DEFAULT_MODEL,
    *,
    weights: str | Path | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    input_size: int | tuple[int, int] | None = None,
    labels: Sequence[str] | None = None,
    unit_axis: int | dict[str, int] | None = None,
    device: str | torch.device | None = None,
    signal: bool | None = None,
    sample_rate: float | None = None,
    frames: int | None = None,
) -> ModelHandle:
    """Load a network.

    Args:
        source: ``efficientnet_lite0`` (embedded, the default), ``…lite1``, ``…lite2``,
            ``torchvision:NAME``, ``timm:NAME``, ``hf:OWNER/NAME`` (transformers),
            ``file:PATH.py:FUNCTION``, a source of your own (see :mod:`featvis.models.sources.register`), or
            any ``nn.Module`` (then ``mean`` and ``std`` must be given).
        weights: a file (safetensors, or a checkpoint that holds tensors only), ``"none"`` for random
            weights (always the same ones), or None for the source's own pretrained ones.
        mean: subtracted from images ``(B, C, H, W)`` in [0, 1], one number for each channel, instead of
            what the source or the weights say.
        std: divides them afterwards, one number for each channel, none of them 0.
        input_size: in pixels, one side or (height, width); by default what the source says, else 224.
        labels: names of the classes, in the order of the network's output.
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
    if isinstance(source, nn.Module):
        loaded, name = _of_module(source), type(source).__name__
        if weights == "none":
            raise ModelError("weights='none' is for named sources; this module has its own weights")
    else:
        name = source
        loaded = _of_name(source, pretrained=weights is None)
        loaded.module.eval()  # ours: whoever calls it means the network as it was trained
    notes = list(loaded.notes)
    missing: list[str] = []
    if weights is not None and str(weights) != "none":
        read = read_weights(Path(weights))
        missing, extra = apply_weights(loaded.module, read)
        preprocessing = read.preprocessing()
        mean, std = mean or preprocessing.get("mean"), std or preprocessing.get("std")
        if missing:
            counted = [
                name for name in loaded.module.state_dict() if not name.endswith("num_batches_tracked")
            ]
            notes.append(_lacking(missing, len(counted), str(weights)))
        if extra:
            notes.append(
                f"{weights}: {len(extra)} tensors are not part of this network, {extra[0]!r} the first"
            )
    used_mean, used_std = mean or loaded.mean, std or loaded.std
    if used_mean is None or used_std is None:
        raise ModelError(
            f"{name}: its preprocessing is not known; give mean and std, one number for each channel "
            "(for images in [0, 1] as they are: mean 0 and std 1)"
        )
    size = input_size or loaded.input_size or (224, 224)
    signal = loaded.signal if signal is None else signal
    frames = loaded.frames if frames is None else frames
    placed = device is not None or not isinstance(source, nn.Module)
    if placed:
        loaded.module.to(pick_device(device or "auto"))
    canvas = _as_canvas(size, signal)
    if frames is None and not signal and (frames := _frames(loaded.module, used_mean, canvas)) is not None:
        notes.append(f"{name} takes videos or volumes (B, C, T, H, W); here T is {frames}")
    handle = ModelHandle(
        loaded.module,
        name=name,
        mean=used_mean,
        std=used_std,
        input_size=canvas,
        signal=signal,
        sample_rate=loaded.sample_rate if sample_rate is None else sample_rate,
        frames=frames,
        interpolation=loaded.interpolation,
        labels=labels if labels is not None else loaded.labels,
        missing=missing,
        unit_axes={"": unit_axis} if isinstance(unit_axis, int) else unit_axis,
        notes=notes,
    )
    handle.spreads = placed and str(device or "auto") in ("auto", "cuda")
    return handle


def _as_canvas(size: int | tuple[int, int], signal: bool) -> tuple[int, int]:
    if isinstance(size, int):
        return (1, size) if signal else (size, size)
    return int(size[0]), int(size[1])


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
        raise ModelError(f"no device {str(device)!r} on this machine; --device auto takes what there is")
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
        elsewhere = [entry.prefix for entry in sources() if name in find_source(entry.prefix).names()]
        if elsewhere:
            nearest = " or ".join(f"'{prefix}:{name}'" for prefix in elsewhere)
            raise ModelError(f"unknown network {source!r}; did you mean {nearest}?")
        hint = f"embedded: {', '.join(place.names())}; in all: {forms()}"
        raise ModelError(unknown("network", source, place.names(), hint))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # random weights are the same ones every time
        return place.load(name, pretrained)


def _of_module(module: nn.Module) -> Loaded:
    config: dict[str, Any] = getattr(module, "pretrained_cfg", None) or {}
    size = config.get("input_size")
    return Loaded(
        module,
        mean=tuple(config["mean"]) if "mean" in config else None,
        std=tuple(config["std"]) if "std" in config else None,
        input_size=(int(size[1]), int(size[2])) if size else None,
    )


def _lacking(missing: list[str], total: int, weights: str) -> str:
    parts = list(dict.fromkeys(name.partition(".")[0] for name in missing))
    return (
        f"{weights} covers {total - len(missing)} of {total} tensors; without weights: {', '.join(parts[:6])}"
    )
