"""An objective of a user's own function."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor

from featvis.errors import UserError
from featvis.objectives.base import Objective
from featvis.objectives.shown import Activations


class Custom(Objective):
    """A user's function of the activations (and, if it takes two arguments, of the images)."""

    def __init__(self, function: Callable[..., Tensor], layers: Sequence[str], name: str) -> None:
        self.function, self.layers, self.name = function, tuple(layers), name
        code = getattr(function, "__code__", None)
        self._takes_images = code is not None and code.co_argcount >= 2

    def score(self, activations: Activations, images: Tensor) -> Tensor:  # noqa: D102
        if self._takes_images:
            return self.function(activations, images)
        return self.function(activations)

    def kind(self) -> tuple[object, ...]:  # noqa: D102
        return (*super().kind(), id(self.function))

    def describe(self) -> str:  # noqa: D102
        return f"{self.name}({', '.join(self.layers)})"


def objective(
    layers: Sequence[str] | str = (), name: str | None = None
) -> Callable[[Callable[..., Tensor]], Custom]:
    """Make an objective of a function: ``activations -> (B,)`` or ``(activations, images) -> (B,)``.

    Args:
        layers: the layers it reads; the function gets their activations by name.
        name: what the picture's key and captions say; by default the function's name. Two functions
            that differ need two names, for a function cannot be hashed.

    Raises:
        UserError: the decorator was written without parentheses; once called, the scores' shape is wrong.

    >>> import featvis as fv
    >>> @fv.objective(layers=["conv"])
    ... def brightest(activations):
    ...     return activations["conv"].amax((1, 2, 3))
    >>> brightest
    brightest(conv)
    """
    if callable(layers):
        raise UserError("write @fv.objective(layers=[...]), with the layers that the function reads")
    wanted = (layers,) if isinstance(layers, str) else tuple(layers)

    def wrap(function: Callable[..., Tensor]) -> Custom:
        return Custom(function, wanted, name or str(getattr(function, "__name__", "objective")))

    return wrap
