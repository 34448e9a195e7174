"""A transform of the user's own, from a function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, overload

from torch import Tensor

from featvis.errors import RecipeError, UserError
from featvis.models.functions import digest_of_function, takes_second
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
            alone is called so.
        name: by which recipes tell it from others; by default what its ``def`` calls it.
        numbers: how many numbers a step of one picture takes.

    Raises:
        RecipeError: no name, or one of featvis' own transforms'; ``function`` cannot be called.
        UserError: it takes other arguments.

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

    def code(self) -> str:
        return digest_of_function(self.function)

    def prepare(self, uniform: Tensor, progress: Tensor, canvas: Size, shown_size: Size) -> Tensor:
        return uniform

    def apply(self, images: Tensor, values: Tensor, field: Tensor | None, shown_size: Size) -> Tensor:
        shown = self.function(images, values) if self.takes_numbers else self.function(images)
        if not isinstance(shown, Tensor) or shown.shape != images.shape:
            came = tuple(shown.shape) if isinstance(shown, Tensor) else type(shown).__name__
            raise UserError(
                f"transform {self.part_name!r} must return images of the shape it is given, "
                f"{tuple(images.shape)}; it returned {came}"
            )
        return shown
