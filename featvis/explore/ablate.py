"""What it does to every class that some units are switched off: over photographs, with intervals."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from featvis.errors import ModelError
from featvis.explore.without import Units, name_units, units_by_layer, without
from featvis.models.borrow.tap import Tap
from featvis.models.handle import ModelHandle
from featvis.models.layers.measure import LayerInfo
from featvis.models.photograph import Photographs, settle
from featvis.notebook import plain, side_by_side, table
from featvis.photographs.canvases import Canvases
from featvis.trust.intervals import StreamedMeans, wilson
from featvis.trust.judging import units_of

Values = NDArray[np.float64]
_SHOWN = 8


@dataclass(frozen=True)
class ClassChange:
    """How a class's logit and probability change, the mean over photographs, with 95 % intervals."""

    unit: int
    label: str
    logit: float
    logit_interval: tuple[float, float] | None
    probability: float
    probability_interval: tuple[float, float] | None

    @property
    def is_sure(self) -> bool:
        """Whether the interval of the logit's change leaves out 0."""
        return self.logit_interval is not None and not self.logit_interval[0] <= 0 <= self.logit_interval[1]

    def to_json(self) -> dict[str, Any]:
        """Return the numbers, ready for JSON."""
        intervals = {
            name: None if interval is None else [_number(value) for value in interval]
            for name, interval in (
                ("logit_interval", self.logit_interval),
                ("probability_interval", self.probability_interval),
            )
        }
        told = {"class": self.unit, "label": self.label, "logit": _number(self.logit)}
        return {**told, "probability": _number(self.probability), **intervals}


@dataclass(frozen=True, repr=False)
class Ablation:
    """What :func:`featvis.ablate` found: how every class changes where units are off.

    >>> change = ClassChange(2, "tabby, tabby cat", -1.5, (-2.0, -1.0), -0.25, (-0.3, -0.2))
    >>> found = Ablation("mine", "conv:4", "conv:4 zeroed", "fc", 40, 0, 8, (change,))
    >>> found, found.losses()[0].is_sure
    (Ablation('conv:4' of mine, 40 photographs: 2 tabby -1.5), True)
    """

    model: str
    units: str
    how: str
    """What was done to the units."""
    layer: str
    """The layer of the classes."""
    photographs: int
    skipped: int
    """Files of the folder that are no photographs."""
    first_changed: int
    """Photographs of which another class comes first."""
    classes: tuple[ClassChange, ...]
    """In the order of the network's output."""

    def losses(self, count: int = _SHOWN) -> list[ClassChange]:
        """Return the classes whose logit falls most, the one that falls most first."""
        falling = [one for one in self.classes if one.logit < 0]
        return sorted(falling, key=lambda one: one.logit)[:count]

    def gains(self, count: int = _SHOWN) -> list[ClassChange]:
        """Return the classes whose logit rises most, the one that rises most first."""
        rising = [one for one in self.classes if one.logit > 0]
        return sorted(rising, key=lambda one: -one.logit)[:count]

    def to_json(self) -> dict[str, Any]:
        """Return all numbers, ready for JSON."""
        names = ("model", "units", "how", "layer", "photographs", "skipped", "first_changed")
        share = wilson(self.first_changed, self.photographs)
        return {
            **{name: getattr(self, name) for name in names},
            "first_changed_interval": [_number(bound) for bound in share],
            "classes": [one.to_json() for one in self.classes],
        }

    def lines(self, count: int = _SHOWN) -> list[str]:
        """Return the result as lines of text: what was done, then the losses and gains."""
        low, high = wilson(self.first_changed, self.photographs)
        share = self.first_changed / self.photographs
        lines = [
            f"{self.how}; {self.photographs} photographs, classes of {self.layer}",
            f"another class comes first for {share:.1%} of them (95 % interval {low:.1%} to {high:.1%})",
        ]
        for title, found in (("falls most", self.losses(count)), ("rises most", self.gains(count))):
            lines.append(f"{title}:" if found else f"{title}: none")
            lines += [f"  {line}" for line in _rows(found)]
        return lines

    def __repr__(self) -> str:
        most = ", ".join(f"{_name(one)} {one.logit:+.3g}" for one in (*self.losses(2), *self.gains(1)))
        return (
            f"Ablation({self.units!r} of {self.model}, {self.photographs} photographs: {most or 'no change'})"
        )

    def _repr_html_(self) -> str:
        parts = []
        for title, found in (("falls most", self.losses()), ("rises most", self.gains())):
            head = [title, "logit", "95 %", "probability", "95 %"]
            rows = [
                [
                    _name(one),
                    one.logit,
                    _pair(one.logit_interval),
                    one.probability,
                    _pair(one.probability_interval),
                ]
                for one in found
            ]
            parts.append(table(head, rows))
        return f"<div>{plain(self.lines(0)[0])}<br>{plain(self.lines(0)[1])}</div>{side_by_side(parts)}"


def ablate(
    model: ModelHandle,
    units: Units,
    over: Photographs,
    mode: str = "zero",
    *,
    factor: float | None = None,
    mean_of: Photographs | None = None,
    batch: int = 8,
    seed: int = 0,
    say: Callable[[str], None] | None = None,
) -> Ablation:
    """Measure how every class changes over photographs where units are switched off.

    The photographs are streamed: memory does not grow with their number. A class's probability is the
    softmax's over all units of the network's output.

    Args:
        model: from :func:`featvis.load_model`.
        units: their addresses, as for :func:`featvis.without`; all are off at once.
        over: a folder of photographs, of each its middle at the network's size; or a list
            of files, PIL images, or tensors or arrays ``(C, H, W)`` in [0, 1].
        mode: ``zero`` or ``mean``, as for :func:`featvis.without`.
        factor: scales the units instead.
        mean_of: the photographs whose mean ``mode="mean"`` takes; by default those of ``over``.
        batch: how many photographs the network sees at once.
        seed: of the bootstrap over photographs.
        say: is told how far it is, a line at a time.

    Returns:
        For every class the mean change of its logit and of its probability, with 95 % intervals.

    Raises:
        CanvasError: a photograph with other channels, or values beyond [0, 1].
        UserError: no such layer or unit, no photograph, or a network whose output is not finite.

    >>> import featvis as fv, torch
    >>> network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 8), torch.nn.Flatten())
    >>> model = fv.load_model(network, mean=(0.5,) * 3, std=(0.5,) * 3, input_size=8)
    >>> found = fv.ablate(model, "0:2", [torch.rand(3, 8, 8) for _ in range(4)])
    >>> [one.unit for one in found.classes if one.logit]
    [2]
    """
    (found,) = ablate_each(
        model, [units], over, mode, factor=factor, mean_of=mean_of, batch=batch, seed=seed, say=say
    )
    return found


@torch.no_grad()
def ablate_each(
    model: ModelHandle,
    sets: Sequence[Units],
    over: Photographs,
    mode: str = "zero",
    *,
    factor: float | None = None,
    mean_of: Photographs | None = None,
    batch: int = 8,
    seed: int = 0,
    say: Callable[[str], None] | None = None,
) -> list[Ablation]:
    """Measure several sets of units, each off by itself, in one pass over photographs; see :func:`ablate`."""
    over = settle(over)
    mean_of = None if mean_of is None else settle(mean_of)
    taken = None if mode != "mean" else over if mean_of is None else mean_of
    others = [without(model, units, mode, factor=factor, photographs=taken) for units in sets]
    canvases = Canvases(model, over, batch)
    network = model.at(model.input_size)
    layer = network.layer(network.logits_layer)
    as_they_are = network.gives_probabilities(layer.name)
    means, changed = [StreamedMeans(2 * layer.units, seed=seed) for _ in sets], [0] * len(sets)

    def classes_of(tap: Tap, images: Tensor) -> Tensor:
        given = _classes(layer, tap(images)[layer.name])
        if not bool(given.isfinite().all()):
            raise ModelError(f"{layer.name} gives numbers that are not finite for some photograph")
        return given

    with ExitStack() as stack:
        taps = [stack.enter_context(one.tap([layer.name])) for one in (model, *others)]
        for images in canvases.spoken(say):
            shown = images.to(model.device)
            before = classes_of(taps[0], shown)
            for place, tap in enumerate(taps[1:]):
                after = classes_of(tap, shown)
                sure = [one if as_they_are else one.softmax(1) for one in (before, after)]
                means[place].add(torch.cat([after - before, sure[1] - sure[0]], 1).numpy())
                changed[place] += int((before.argmax(1) != after.argmax(1)).sum())
    return [
        Ablation(
            model.name,
            name_units(units_by_layer(model, units)),
            other.notes[-1],
            layer.name,
            canvases.shown,
            canvases.skipped,
            count,
            _class_changes(layer, mean),
        )
        for units, other, count, mean in zip(sets, others, changed, means, strict=True)
    ]


def _classes(layer: LayerInfo, given: Tensor) -> Tensor:
    return units_of(layer, given).cpu().double()


def _class_changes(layer: LayerInfo, means: StreamedMeans) -> tuple[ClassChange, ...]:
    count, mean, interval = layer.units, means.mean, means.interval()

    def pair(place: int) -> tuple[float, float] | None:
        return None if interval is None else (float(interval[0][place]), float(interval[1][place]))

    return tuple(
        ClassChange(
            unit,
            layer.labels[unit] if layer.labels else "",
            float(mean[unit]),
            pair(unit),
            float(mean[count + unit]),
            pair(count + unit),
        )
        for unit in range(count)
    )


def _rows(found: list[ClassChange]) -> list[str]:
    width = max((len(_name(one)) for one in found), default=0)
    return [
        f"{_name(one):{width}}  logit {one.logit:+8.3g} {_pair(one.logit_interval):22}"
        f"  probability {one.probability:+9.2e}" + ("" if one.is_sure else "  (may be 0)")
        for one in found
    ]


def _name(one: ClassChange) -> str:
    label = one.label.partition(",")[0]
    return f"{one.unit} {label}" if label else str(one.unit)


def _pair(interval: tuple[float, float] | None) -> str:
    return "" if interval is None else f"[{interval[0]:+.3g}, {interval[1]:+.3g}]"


def _number(value: float) -> float:
    return float(f"{value:.6g}") if math.isfinite(value) else value
