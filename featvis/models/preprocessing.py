"""What a network expects of an image's numbers: mean and deviation, whatever range they were stated for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from featvis.errors import ModelError
from featvis.models.sources.base import Loaded

Numbers = Iterable[float]
RANGES = (1, 255)


@dataclass(frozen=True)
class Preprocessing:
    """Mean and deviation of images in [0, 1] and RGB, one number for each channel."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    notes: tuple[str, ...] = ()


def preprocessing_of(
    name: str,
    loaded: Loaded,
    *,
    mean: Numbers | None,
    std: Numbers | None,
    range: float | None,
    metadata: Mapping[str, tuple[float, ...]],
) -> Preprocessing:
    """Return mean and deviation: what the user says, else the weights' file, else the source.

    Raises:
        ModelError: it is not known, or its numbers are of two ranges.
    """
    if range is not None and range not in RANGES:
        raise ModelError(f"range is 1 or 255 (images in 0 to 1, or in 0 to 255), got {range!r}")
    given = {"mean": _row("mean", mean), "std": _row("std", std)}
    if range == 255 and given == {"mean": None, "std": None} and not metadata:
        # As they come, in 0 to 255.
        channels = len(tuple(loaded.mean)) if loaded.mean is not None else _channels(loaded.module)
        given = {"mean": (0.0,) * channels, "std": (1.0,) * channels}
    own = {"mean": _row("mean", loaded.mean), "std": _row("std", loaded.std)}
    used: dict[str, tuple[float, ...]] = {}
    notes: list[str] = []
    for told, unit in (
        (given, range),
        (dict(metadata), None),
        (own, loaded.range),
    ):
        missing = {key: row for key, row in told.items() if row is not None and key not in used}
        if missing:
            scale, note = _range_of(name, missing, unit, signal=loaded.signal)
            used |= {key: tuple(number / scale for number in row) for key, row in missing.items()}
            notes += [note] if note else []
    if len(used) < 2:
        raise ModelError(
            f"{name}: its preprocessing is not known; give mean and std, one number for each channel "
            "(for images in [0, 1] as they are: mean 0 and std 1)"
        )
    if loaded.channel_order == "bgr":
        if {len(used["mean"]), len(used["std"])} != {3}:
            raise ModelError(f"{name}: channel_order 'bgr' is of three channels, not {len(used['mean'])}")
        used = {key: row[::-1] for key, row in used.items()}
    return Preprocessing(used["mean"], used["std"], tuple(notes))


def _row(name: str, told: Any) -> Any:
    """Return numbers as a tuple, of a tensor or an array of any shape too; what is none is refused later."""
    if told is None:
        return None
    if hasattr(told, "tolist") and hasattr(told, "reshape") and getattr(told, "ndim", 0) > 0:
        told = told.reshape(-1).tolist()
    try:
        return tuple(float(number) for number in told)
    except (TypeError, ValueError):
        raise ModelError(
            f"{name} has one number for each channel, for instance (0.5, 0.5, 0.5); got {told!r}"
        ) from None


def _range_of(
    name: str, told: Mapping[str, tuple[float, ...]], range: float | None, *, signal: bool
) -> tuple[float, str]:
    """Return the top of the range that numbers are of, and what is to be said of it."""
    mean, std = told.get("mean", ()), told.get("std", ())
    shown = ", ".join(f"{key} ({', '.join(f'{number:g}' for number in row)})" for key, row in told.items())
    small = bool(mean) and 0 < max(mean) <= 1
    if range is not None:
        if range == 255 and small and min(mean) > 0:
            raise ModelError(
                f"{name}: {shown} looks like images in 0 to 1; with range=255 mean and std are those of "
                "images in 0 to 255, 255 times as large"
            )
        return float(range), ""
    if signal or not (max(mean, default=0) > 1 or max(std, default=0) > 10):
        return 1.0, ""
    if small or (std and min(std) < 1):
        raise ModelError(f"{name}: {shown} are numbers of two ranges, images in 0 to 1 and in 0 to 255")
    return 255.0, f"{shown}: of images in 0 to 255, so divided by 255 (range=255 says so, range=1 says not)"


def _channels(module: nn.Module) -> int:
    first = next((inner for inner in module.modules() if isinstance(inner, nn.Conv2d)), None)
    return 3 if first is None else first.in_channels
