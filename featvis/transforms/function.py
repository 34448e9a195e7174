"""A transform of the user's own, from a function."""

from __future__ import annotations

import hashlib
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, overload

import numpy as np
import torch
from torch import Tensor

from featvis.errors import RecipeError, UserError
from featvis.models.functions import chance_of, digest_of_function, takes_second, untouched
from featvis.spec import register
from featvis.transforms.base import Size, Transform

Function = Callable[[Tensor, Tensor], Tensor]


@overload
def transform(function: Function, *, name: str | None = None, numbers: int = 4) -> Transform: ...
@overload
def transform(*, name: str | None = None, numbers: int = 4) -> Callable[[Function], Transform]: ...
def transform(
    function: Function | None = None, *, name: str | None = None, numbers: int = 4
) -> Transform | Callable[[Function], Transform]:
    """Return a transform that calls ``function(images, uniform)``; also a decorator, ``@fv.transform``.

    The name stands in the recipe, and so in the picture's key: give another function another name. Where a
    folder holds a picture of another function of the name, a warning says so and it is rendered anew.

    Args:
        function: takes images ``(B, C, H, W)`` and numbers ``(B, numbers)``, uniform on [0, 1), one row for
            each picture, on the images' device; returns images of the same shape, differentiably. All its
            chance is to come from these numbers, and no image may depend on another. One that takes images
            alone is called so; if it draws numbers of its own (from torch, NumPy or ``random``: a random
            transform of torchvision, say), it is called for each picture by itself, seeded by its numbers.
        name: by which recipes tell it from others; by default what its ``def`` calls it.
        numbers: how many numbers a step of one picture takes.

    Raises:
        RecipeError: no name, or one of featvis' own transforms'; ``function`` cannot be called.
        UserError: it takes other arguments; once called, it gives images of another shape, writes into those
            that it is given, or lets one depend on another.

    >>> import featvis as fv, torch
    >>> darker = fv.transform(lambda images, uniform: images * uniform[:, :1, None, None], name="darker")
    >>> darker.apply(torch.ones(2, 1, 1, 1), torch.tensor([[0.5], [0.25]]), None, (1, 1)).flatten().tolist()
    [0.5, 0.25]
    >>> @fv.transform
    ... def mirrored(images):
    ...     return images.flip(-1)
    >>> mirrored.part_name
    'mirrored'
    """
    if function is None:
        return lambda wrapped: _of_function(wrapped, name, numbers)
    return _of_function(function, name, numbers)


def _of_function(function: Function, name: str | None, numbers: int) -> Transform:
    if not callable(function):
        raise RecipeError(f"a transform is a function of images and numbers, got {type(function).__name__}")
    if name is None:
        name = str(getattr(function, "__name__", ""))
        if not name.isidentifier():
            raise RecipeError("a function without a def has no name: fv.transform(function, name=…)")
    if not isinstance(name, str) or not name.strip():
        raise RecipeError(f"a transform's name is a text that tells it from others, got {name!r}")
    if name in register.names("transforms"):
        raise RecipeError(f"transform {name!r} is one of featvis' own; choose another name")
    if isinstance(numbers, bool) or not isinstance(numbers, int) or numbers < 1:
        raise RecipeError(f"transform {name!r}: numbers is a whole number from 1 up, got {numbers!r}")
    takes_numbers = takes_second(function, f"transform {name!r}", "images", "uniform")
    body: dict[str, Any] = {"__module__": "user", "__doc__": function.__doc__, "numbers": numbers}
    body |= {"function": staticmethod(function), "takes_numbers": takes_numbers}
    made: Transform = register.part(name)(type("UserTransform", (_Called,), body))()
    return made


class _Called(Transform):
    """Calls a function with each picture's own numbers."""

    function: ClassVar[Any]
    takes_numbers: ClassVar[bool]
    draws: ClassVar[bool | None] = None
    """Whether the function draws numbers of its own; None as long as it has not been called."""

    @property
    def replayable(self) -> bool:  # type: ignore[override]
        """Whether a step may be recorded: one that draws would draw the same for ever."""
        return self.takes_numbers if self.draws is None else not self.draws

    def code(self) -> str:
        return digest_of_function(self.function)

    def check(self, canvas: Size, shown_size: Size) -> None:
        for channels in (3, 1):
            images = torch.full((2, channels, *canvas), 0.5, requires_grad=True)
            try:
                with torch.enable_grad(), _chance_kept(images.device):
                    shown = self._call_watched(images * 1, torch.full((2, self.numbers), 0.5))
                    (slope,) = torch.autograd.grad(shown[0].sum(), images, allow_unused=True)
            except Exception:  # of a user's function; on the run's own images it is told
                continue
            if not self.draws and slope is not None and bool(slope[1].any()):
                raise UserError(
                    f"transform {self.part_name!r} lets a picture depend on the others of its batch; what it "
                    "does to one may depend on that one and its numbers"
                )
            return

    def prepare(self, uniform: Tensor, progress: Tensor, canvas: Size, shown_size: Size) -> Tensor:
        return uniform

    def apply(self, images: Tensor, values: Tensor, field: Tensor | None, shown_size: Size) -> Tensor:
        what = f"transform {self.part_name!r}"
        with untouched(what, {"its images": images}):
            if self.draws is None:
                with _chance_kept(images.device):
                    self._call_watched(images, values)
            shown = (self._call_each if self.draws else self._call)(images, values)
        if not isinstance(shown, Tensor) or shown.shape != images.shape:
            came = tuple(shown.shape) if isinstance(shown, Tensor) else type(shown).__name__
            raise UserError(
                f"{what} must return images of the shape it is given, {tuple(images.shape)}; "
                f"it returned {came}"
            )
        return shown

    def _call(self, images: Tensor, values: Tensor) -> Any:
        return self.function(images, values) if self.takes_numbers else self.function(images)

    def _call_watched(self, images: Tensor, values: Tensor) -> Any:
        """Call it, and know from then on whether it draws numbers of its own."""
        before = chance_of(images.device)
        shown = self._call(images, values)
        type(self).draws = chance_of(images.device) != before
        return shown

    def _call_each(self, images: Tensor, values: Tensor) -> Any:
        """Call it for one picture after the other, each with its own chance."""
        shown = []
        for lane in range(len(images)):
            image, own = images[lane : lane + 1], values[lane : lane + 1]
            seed = int.from_bytes(hashlib.sha256(own.cpu().numpy().tobytes()).digest()[:4], "little")
            with _ONE_AT_A_TIME, _chance_kept(image.device):
                torch.manual_seed(seed)
                random.seed(seed)
                np.random.seed(seed)
                shown.append(self._call(image, own))
        return torch.cat(shown) if all(isinstance(one, Tensor) for one in shown) else shown[0]


_ONE_AT_A_TIME = threading.Lock()
"""All threads draw from the same generators."""


@contextmanager
def _chance_kept(device: torch.device) -> Iterator[None]:
    """Leave torch's, NumPy's and Python's own generators where they were."""
    state, numpy = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            yield
    finally:
        random.setstate(state)
        np.random.set_state(numpy)
