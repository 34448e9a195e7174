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
        super().__init__(f"interrupted with {count_of(len(pictures), 'picture')}")
        self.pictures = list(pictures)
        """Those that are finished, and those under way as they stand, with status ``stopped``."""


class FeatvisWarning(UserWarning):
    """Something a user should know that is no mistake; the command line shows it as one line."""


_OTHER_WORDS: dict[str, tuple[str, ...]] = {
    "learning_rate": ("lr", "step_size", "eta"),
    "steps": ("iterations", "iters", "n_iter", "num_iterations", "n_steps", "num_steps", "epochs"),
    "snapshots": ("thresholds", "checkpoints", "save_at"),
    "space": ("param_f", "parametrization", "parameterization", "image_f", "fft", "decorrelate"),
    "lanes": ("batch", "batch_size"),
    "watch": ("callback", "callbacks", "on_step", "step_callback"),
    "start": ("seed_input", "init", "init_image", "initial_image", "input_image", "seed_image"),
    "size": ("fixed_image_size", "image_size", "img_size", "imgsize", "resolution", "canvas"),
    "progress": ("verbose", "show_progress", "tqdm", "show_inline"),
    "penalties": ("regularizers", "regularization", "losses"),
    "out": ("output", "output_dir", "outdir", "save_path", "save_dir"),
    "seed": ("random_state", "rng"),
    "mean": ("norm_mean",),
    "integrated-gradients": ("ig", "integrated_gradients", "intgrad"),
    "saliency": ("smoothgrad", "smooth_grad", "gradient", "gradients", "vanilla_gradient"),
    "grad-cam": ("gradcam", "grad_cam", "cam"),
    "warp": ("jitter", "rotate", "random_rotate", "scale", "random_scale", "affine", "random_affine"),
    "augmentation": ("name", "kind", "type", "aug", "transform"),
    "total_variation": ("tv", "tv_loss"),
    "fourier": ("fft", "fft_image", "spectral"),
    "pixel": ("naive", "rgb", "pixel_image"),
}
"""By the name here, what other tools and papers call it; see :func:`unknown`."""


def said_here(name: str, names: Iterable[str]) -> list[str]:
    """Return those of ``names`` that other tools or papers call ``name``.

    >>> said_here("lr", ["steps", "learning_rate"]), said_here("steps", ["learning_rate"])
    (['learning_rate'], [])
    """
    word = name.strip().lower().replace("-", "_")
    return [known for known in dict.fromkeys(names) if word in _OTHER_WORDS.get(known, ())]


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


def unknown(what: str, name: object, names: Iterable[str], hint: str = "") -> str:
    """Compose the sentence for an unknown name: what it is, the nearest right ones, a hint.

    What is no text is like none of them, and is told in one line.

    >>> unknown("recipe", "portait", ["portrait", "channel"])
    "unknown recipe 'portait'; did you mean 'portrait'?"
    >>> unknown("option", "lr", ["steps", "learning_rate"])
    "unknown option 'lr'; did you mean 'learning_rate'?"
    """
    names = list(names)
    close = (said_here(name, names) or nearest(name, names)) if isinstance(name, str) else []
    shown = repr(name if not isinstance(name, str) or len(name) < 97 else f"{name[:60]}…{name[-20:]}")
    sentence = f"unknown {what} {shown if len(shown) < 99 and shown.isprintable() else type(name).__name__}"
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
