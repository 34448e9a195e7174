"""An objective of a user's own function."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NoReturn

from torch import Tensor, nn

from featvis.errors import TargetError, UserError
from featvis.models.functions import digest_of_function, takes_second
from featvis.objectives.base import Objective
from featvis.objectives.shown import Activations, Shown


class Custom(Objective):
    """A user's function of the activations (and, if it takes two arguments, of the images)."""

    def __init__(self, function: Callable[..., Tensor], layers: Sequence[str], name: str) -> None:
        self.function, self.layers, self.name = function, tuple(layers), name
        self._takes_images = takes_second(function, f"objective {name!r}", "activations", "images")

    def score(self, activations: Activations, images: Tensor) -> Tensor:  # noqa: D102
        own = activations if isinstance(activations, Shown) else _Read(activations, self)
        return self.function(own, images) if self._takes_images else self.function(own)

    def kind(self) -> tuple[object, ...]:  # noqa: D102
        return (*super().kind(), id(self.function))

    def describe(self) -> str:  # noqa: D102
        return f"{self.name}({', '.join(self.layers)})"

    def code(self) -> str:  # noqa: D102
        return digest_of_function(self.function)


class _Read(dict[str, Tensor]):
    """Activations that say which layers there are, where another is asked for."""

    def __init__(self, activations: Activations, objective: Custom) -> None:
        super().__init__(activations)
        self._objective = objective

    def __missing__(self, layer: object) -> NoReturn:
        layers = self._objective.layers
        there = f"layers={list(layers)} were declared" if layers else "no layers were declared"
        raise TargetError(
            f"{self._objective.describe()} reads {layer!r}, but {there}: "
            f"@fv.objective(layers={[*layers, layer]})"
        )

    def __call__(self, layer: object) -> NoReturn:
        raise TargetError(f"{self._objective.describe()}: activations are read as activations[{layer!r}]")


def objective(
    layers: Sequence[str] | str = (), name: str | None = None
) -> Callable[[Callable[..., Tensor]], Custom]:
    """Make an objective of a function: ``activations -> (B,)`` or ``(activations, images) -> (B,)``.

    It gets the images ``(B, C, H, W)`` in [0, 1] if it requires two arguments, or if its second one is called
    ``images``; other arguments with defaults (``lambda activations, n=n: …``) stay its own.

    Args:
        layers: the layers it reads; the function gets their activations by name.
        name: what the picture's key and captions say; by default the function's name. Different functions
            in one call need different names; where a folder holds a picture of another function of the
            name, a warning says so and the picture is rendered anew.

    Raises:
        UserError: the decorator was written without parentheses, or the function takes other arguments;
            once called, the scores' shape is wrong or a layer is read that was not declared.

    >>> import featvis as fv
    >>> @fv.objective(layers=["conv"])
    ... def brightest(activations):
    ...     return activations["conv"].amax((1, 2, 3))
    >>> brightest
    brightest(conv)
    """
    if callable(layers) and not isinstance(layers, nn.Module):
        raise UserError("write @fv.objective(layers=[...]), with the layers that the function reads")
    wanted = (layers,) if isinstance(layers, str | nn.Module) else tuple(layers)
    for one in wanted:
        if not isinstance(one, str):
            raise TargetError(
                f"layers are named, as `featvis layers` or model.layers lists them: layers=['features.3']; "
                f"got {type(one).__name__}"
            )

    def wrap(function: Callable[..., Tensor]) -> Custom:
        named = name or str(getattr(function, "__name__", "objective"))
        return Custom(function, wanted, named)

    return wrap
