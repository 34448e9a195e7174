"""An objective of a user's own function."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NoReturn

import torch
from torch import Tensor, nn

from featvis.errors import TargetError, UserError
from featvis.models.functions import chance_of, digest_of_function, takes_second, untouched
from featvis.objectives.base import Objective, copy_with
from featvis.objectives.shown import Activations


class Custom(Objective):
    """A user's function of the activations (and, if it takes two arguments, of the images)."""

    def __init__(
        self, function: Callable[..., Tensor], layers: Sequence[str], name: str, *, coupled: bool = False
    ) -> None:
        self.function, self.layers, self.name, self.coupled = function, tuple(layers), name, coupled
        self._takes_images = takes_second(function, f"objective {name!r}", "activations", "images")

    def score(self, activations: Activations, images: Tensor) -> Tensor:  # noqa: D102
        own = _Read(activations, self)
        given = {f"activations[{layer!r}]": value for layer, value in own.items()}
        given |= {"images": images} if self._takes_images else {}
        before = chance_of(images.device) if self._is_to_judge else ()
        with untouched(f"objective {self.name!r}", given):
            scores = self._call(own, images)
        if self._is_to_judge:
            self._is_to_judge = False
            if chance_of(images.device) != before:  # it, or another thread
                self._check_again(scores, _Read(activations, self), images)
            if not self.coupled:
                self._judge(scores, [*given.values()])
        return scores

    def _call(self, own: _Read, images: Tensor) -> Tensor:
        return self.function(own, images) if self._takes_images else self.function(own)

    def _check_again(self, scores: Tensor, own: _Read, images: Tensor) -> None:
        """Refuse a function that scores the same pictures otherwise when it is called once more."""
        again = self._call(own, images)
        if isinstance(again, Tensor) and not torch.equal(again.nan_to_num(), scores.nan_to_num()):
            raise UserError(
                f"objective {self.name!r} draws random numbers, so that none of its pictures could be made "
                "again: draw them once, before the call"
            )

    def by_itself(self) -> Objective:  # noqa: D102
        return copy_with(self, _is_to_judge=True)

    def _judge(self, scores: Tensor, given: list[Tensor]) -> None:
        """Refuse a function whose score of the first picture depends on another picture."""
        read = [value for value in given if value.requires_grad and len(value) > 1]
        if not read or not isinstance(scores, Tensor) or scores.dim() != 1 or not scores.requires_grad:
            return
        slopes = torch.autograd.grad(scores[0], read, retain_graph=True, allow_unused=True)
        others = [slope[1:].nan_to_num() for slope in slopes if slope is not None]
        if any(bool(slope.any()) for slope in others):
            raise UserError(
                f"objective {self.name!r} compares pictures, so that lanes would change them: say it by "
                "@fv.objective(…, coupled=True), and the seeds of a call are computed together"
            )

    def kind(self) -> tuple[object, ...]:  # noqa: D102
        return (*super().kind(), id(self.function))

    def describe(self) -> str:  # noqa: D102
        return f"{self.name}({', '.join(self.layers)})"

    def code(self) -> str:  # noqa: D102
        return digest_of_function(self.function)

    _is_to_judge = False


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
    layers: Sequence[str] | str = (), name: str | None = None, *, coupled: bool = False
) -> Callable[[Callable[..., Tensor]], Custom]:
    """Make an objective of a function: ``activations -> (B,)`` or ``(activations, images) -> (B,)``.

    It gets the images ``(B, C, H, W)`` in [0, 1] if it requires two arguments, or if its second one is called
    ``images``; other arguments with defaults (``lambda activations, n=n: …``) stay its own.

    Args:
        layers: the layers it reads; the function gets their activations by name.
        name: what the picture's key and captions say; by default the function's name. Different functions
            in one call need different names; where a folder holds a picture of another function of the
            name, a warning says so and the picture is rendered anew.
        coupled: whether a picture's score depends on the others, as where pictures are to be unlike each
            other. Then the ``seeds`` of a call are one set, computed together.

    Raises:
        UserError: the decorator was written without parentheses, or the function takes other arguments;
            once called, the scores' shape is wrong, a layer is read that was not declared, what is given
            is written into, random numbers are drawn, or pictures are compared that are not said to be
            ``coupled``.

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
        return Custom(function, wanted, named, coupled=coupled)

    return wrap
