"""Everything featvis raises on purpose.

A :class:`UserError` is a mistake that its message teaches to mend: what was expected, what came,
and the nearest right thing. The command line prints it as one line and exits with code 2.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import Any


class FeatvisError(Exception):
    """The base of every error that featvis raises on purpose."""

    def __init__(self, message: str = "", *, typed: str | None = None) -> None:
        """Say what is wrong; ``typed`` says it to the command line, where its remedy is another."""
        super().__init__(message)
        self.typed = typed or message


class UserError(FeatvisError):
    """A request cannot be carried out as it stands; the message says how to mend it.

    >>> import featvis as fv
    >>> fv.Recipe(stepz=3)
    Traceback (most recent call last):
    featvis.errors.RecipeError: recipe: unknown key 'stepz'; did you mean 'steps'...
    """


class TargetError(UserError):
    """An address (``layer:units@row,column``) does not parse, or names no layer, unit, class or position."""


class RecipeError(UserError):
    """A recipe, config or option is unknown, of the wrong type or out of range; raised before any compute."""


class BoundsError(RecipeError):
    """A recipe that was read from a file asks for more than is computed unless its user allows it."""

    def __init__(self, problem: str) -> None:
        super().__init__(f"{problem}; unbounded=True allows it")
        self.problem = problem
        """What it asks for, without the remedy."""


class ModelError(UserError):
    """A network is unknown, does not load, or cannot be used as asked."""


class NetworkError(ModelError, RuntimeError):
    """The network's own code fails while it is climbed; a RuntimeError, as what it raised most often is."""


class WeightsError(ModelError):
    """Weights are missing, damaged, unsafe to read, or do not fit the network."""


class CanvasError(UserError):
    """The network, image space or transform cannot take a canvas or an image of this size or range."""


class OutputError(UserError):
    """A place cannot be written, or a file cannot be read or was not made by featvis."""


class Interrupted(KeyboardInterrupt):
    """Ctrl-C during a run. It ends a script as ever; who catches it finds the pictures so far in it."""

    def __init__(self, pictures: Sequence[Any] = ()) -> None:
        super().__init__(f"interrupted with {len(pictures)} pictures")
        self.pictures = list(pictures)
        """Those that are finished, and those under way as they stand, with status ``stopped``."""


class FeatvisWarning(UserWarning):
    """Something a user should know that is no mistake; the command line shows it as one line."""


def nearest(name: str, names: Iterable[str], count: int = 3) -> list[str]:
    """Return up to ``count`` of ``names`` that look most like ``name``, best first.

    >>> nearest("fetures.28", ["features.28", "features.2", "classifier.0"], count=1)
    ['features.28']
    """
    choices = list(dict.fromkeys(names))
    lowered: dict[str, str] = {choice.lower(): choice for choice in reversed(choices)}
    found = difflib.get_close_matches(name.lower(), list(lowered), n=count, cutoff=0.5)
    if not found and name:
        found = [choice for choice in lowered if name.lower() in choice][:count]
    return [lowered[choice] for choice in found]


def unknown(what: str, name: str, names: Iterable[str], hint: str = "") -> str:
    """Compose the sentence for an unknown name: what it is, the nearest right ones, a hint.

    >>> unknown("recipe", "portait", ["portrait", "channel"])
    "unknown recipe 'portait'; did you mean 'portrait'?"
    """
    close = nearest(name, names)
    sentence = f"unknown {what} {name!r}"
    if close:
        sentence += "; did you mean " + " or ".join(repr(choice) for choice in close) + "?"
    if hint:
        sentence += f" ({hint})" if close else f"; {hint}"
    return sentence


def count_of(number: int, thing: str) -> str:
    """Return a number with its noun.

    >>> count_of(1, "picture"), count_of(2, "job")
    ('1 picture', '2 jobs')
    """
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"
