"""The register of attribution methods and their options. No torch in here: mistakes are found at once.

A method is a function in a file of this folder; that file is all it takes::

    @method("my-method", about="what its map says", signed=True)
    def my_method(score: Score, image: Tensor, *, steps: int = 50) -> Outcome: ...

Its keyword parameters, with their defaults, are its options. One called ``layer`` is the map that it reads
beside the target's layers. ``featvis.spec.discovery`` says where else such files may lie.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from featvis.errors import ModelError, RecipeError, unknown
from featvis.spec.discovery import Register

if TYPE_CHECKING:
    from torch import Tensor

_WHOLE = {"steps": 1, "window": 1, "stride": 1, "smooth": 0, "seed": 0}
"""Options that are whole numbers, each with its least."""
BASELINES = ("mean", "black", "white", "blur")


class Outcome(NamedTuple):
    """What a method returns."""

    values: Tensor
    """The map ``(H, W)``."""
    numbers: dict[str, Any]
    """What the method tells beside its map."""
    warning: str = ""
    """What the user should know of this run."""


@dataclass(frozen=True)
class Method:
    """What is known of a method before it is imported."""

    name: str
    about: str
    """What its map says, in a few words."""
    signed: bool = False
    """Whether its map says for and against; the others' maps hold magnitudes."""
    full_scale: float | None = None
    """The magnitude that is shown at full strength; by default nearly the largest of the map."""
    needs: str = ""
    """A package beyond featvis' own."""
    extra: str = ""
    """The extra of featvis that installs it."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """The keyword parameters of its function with their defaults."""


REGISTER = Register("featvis.attribution", "method", Method)
method = REGISTER.enter
"""Enters a function under a name, with the fields of :class:`Method` as keywords, all written as literals."""


def methods() -> dict[str, Method]:
    """Return the methods by name, in the order in which they are shown, importing none."""
    return REGISTER.entries()


def find_method(name: str) -> Callable[..., Outcome]:
    """Import a method and return its function; a ModelError says which package it lacks."""
    entry = methods()[name]
    try:
        if entry.needs:
            importlib.import_module(entry.needs)
    except ImportError as error:
        package = f"'featvis[{entry.extra}]'" if entry.extra else entry.needs
        raise ModelError(
            f"{name} needs {entry.needs}, which is not installed ({error}); pip install {package}"
        ) from None
    function: Callable[..., Outcome] = REGISTER.find(name)
    return function


def check_options(names: Sequence[str], given: Mapping[str, Any]) -> dict[str, Any]:
    """Check options for some methods and return those that are given, that is, are not None.

    Every option that is given must mean something to one of them, else a RecipeError is raised.

    >>> check_options(["occlusion"], {"window": 9, "stride": None})
    {'window': 9}
    """
    known = methods()
    for name in names:
        if not isinstance(name, str):
            raise RecipeError(f"a method is named by a text, one a call; got {name!r}")
        if name not in known:
            raise RecipeError(
                unknown("method", name, known, f"methods: {', '.join(known)}; SmoothGrad: smooth=16")
            )
    options = list(dict.fromkeys(option for entry in known.values() for option in entry.options))
    for option in given:
        if option not in options:
            raise RecipeError(unknown("option", option, options, "options: " + ", ".join(options)))
    given = {option: value for option, value in given.items() if value is not None}
    for option, value in given.items():
        takers = [name for name, entry in known.items() if option in entry.options]
        if not set(takers) & set(names):
            raise RecipeError(
                f"{option} means nothing to {', '.join(names)}; it is an option of {', '.join(takers)}"
            )
        _check_value(option, value)
    if not given.get("smooth") and {"noise", "seed"} & set(given):
        raise RecipeError("noise and seed are SmoothGrad's; say with smooth how many noisy copies it takes")
    return given


def _check_value(option: str, value: Any) -> None:
    if option in _WHOLE:
        least = _WHOLE[option]
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise RecipeError(f"{option} is a whole number from {least} up, got {value!r}")
    if option == "area" and not (math.isfinite(value) and 0 < value < 1):
        raise RecipeError(f"area is a share of the canvas between 0 and 1, got {value}")
    if option == "noise" and not (math.isfinite(value) and value > 0):
        raise RecipeError(f"noise is a deviation above 0, got {value}")
    if option == "baseline" and not (isinstance(value, str) and value in BASELINES):
        raise RecipeError(unknown("baseline", value, BASELINES, "baselines: " + ", ".join(BASELINES)))
