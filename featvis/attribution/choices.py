"""What can be asked of an attribution; no torch in here, so that mistakes are found at once."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any

from featvis.errors import RecipeError, unknown

METHODS = (
    "saliency",
    "guided-backprop",
    "integrated-gradients",
    "lrp",
    "grad-cam",
    "occlusion",
    "extremal",
)
"""The methods by name, in the order in which they are shown."""

SIGNED = frozenset({"integrated-gradients", "lrp", "occlusion"})
"""Methods whose maps say for and against; the others' maps hold magnitudes."""

BY_CAPTUM = frozenset({"saliency", "guided-backprop", "integrated-gradients", "occlusion"})
"""Methods whose loops are Captum's; they need the extra ``attribution``."""

USES = {
    "layer": {"grad-cam"},
    "steps": {"integrated-gradients", "extremal"},
    "window": {"occlusion"},
    "stride": {"occlusion"},
    "area": {"extremal"},
    "baseline": {"integrated-gradients", "occlusion"},
    "smooth": {"saliency", "guided-backprop", "integrated-gradients"},
    "noise": {"saliency", "guided-backprop", "integrated-gradients"},
    "seed": {"saliency", "guided-backprop", "integrated-gradients"},
}
"""Which methods take an option."""

STEPS = {"integrated-gradients": 50, "extremal": 300}
"""How many steps each takes by default."""

BASELINES = ("mean", "black", "white", "blur")


@dataclass(frozen=True)
class Choices:
    """The options of the methods, checked.

    ``layer`` (Grad-CAM), ``steps`` (points on the path; steps of the mask), ``window`` and ``stride``
    (of occlusion, in pixels; by default a seventh of the canvas's shorter side and half of that),
    ``area`` (share of the canvas that the mask of extremal perturbation keeps), ``baseline`` (what stands
    for a missing pixel), ``smooth`` and ``noise`` (SmoothGrad: how many noisy copies, and their noise's
    deviation; Smilkov et al. 2017), ``seed`` (of that noise).
    """

    layer: str | None = None
    steps: int | None = None
    window: int | None = None
    stride: int | None = None
    area: float = 0.1
    baseline: str = "mean"
    smooth: int = 0
    noise: float = 0.15
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("steps", 1), ("window", 1), ("stride", 1), ("smooth", 0), ("seed", 0)):
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < least):
                raise RecipeError(f"{name} is a whole number from {least} up, got {value!r}")
        if not (math.isfinite(self.area) and 0 < self.area < 1):
            raise RecipeError(f"area is a share of the canvas between 0 and 1, got {self.area}")
        if not (math.isfinite(self.noise) and self.noise > 0):
            raise RecipeError(f"noise is a deviation above 0, got {self.noise}")
        if self.baseline not in BASELINES:
            raise RecipeError(
                unknown("baseline", self.baseline, BASELINES, "baselines: " + ", ".join(BASELINES))
            )


def make_choices(methods: tuple[str, ...], given: dict[str, Any]) -> Choices:
    """Check options for some methods: every option that is given must mean something to one of them.

    Raises:
        RecipeError: an unknown option or method, a value out of range, an option that none of them takes.
    """
    for method in methods:
        if method not in METHODS:
            raise RecipeError(unknown("method", method, METHODS, "methods: " + ", ".join(METHODS)))
    known = [field.name for field in fields(Choices)]
    for name in given:
        if name not in known:
            raise RecipeError(unknown("option", name, known, "options: " + ", ".join(known)))
        if not USES[name] & set(methods):
            takers = ", ".join(method for method in METHODS if method in USES[name])
            raise RecipeError(f"{name} means nothing to {', '.join(methods)}; it is an option of {takers}")
    chosen = Choices(**given)
    if chosen.smooth == 0 and {"noise", "seed"} & set(given):
        raise RecipeError("noise and seed are SmoothGrad's; say with smooth how many noisy copies it takes")
    return chosen
