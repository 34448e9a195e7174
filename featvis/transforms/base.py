"""What every transform is: all its parameters computed before the run, applied step by step."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

Size = tuple[int, int]


class Transform(ABC):
    """A random, differentiable change of images, each picture by its own draw.

    Before a run :meth:`prepare` turns uniform numbers into the parameters of every step at once; in
    the loop :meth:`apply` only reads them, so that a step draws nothing and waits for nothing. One of your
    own defines both and is entered by :func:`featvis.part`; :func:`featvis.transform` makes one of a
    function.

    Raises:
        RecipeError: an option is unknown, of the wrong type or out of range; when the transform is made.

    >>> import featvis as fv
    >>> images, flip = torch.rand(2, 3, 16, 16), fv.Flip()
    >>> draws = flip.prepare(torch.rand(2, 5, flip.numbers), torch.linspace(0, 1, 5), (16, 16), (16, 16))
    >>> flip.apply(images, draws[:, 0], None, (16, 16)).shape
    torch.Size([2, 3, 16, 16])
    """

    if TYPE_CHECKING:  # what a part takes is checked by `featvis.part`: type checkers cannot know it

        def __init__(self, **options: Any) -> None: ...

    part_name: ClassVar[str]
    numbers: ClassVar[int]
    """How many uniform numbers one step of one picture takes."""
    replayable: ClassVar[bool] = True
    """Whether a GPU may record a step of it; one that waits for the device says here that it may not."""
    resizes: ClassVar[bool] = False
    """Whether it can turn images of one size into another."""

    def code(self) -> str:
        """Return what tells a user's function from another of its name; empty where there is none."""
        return ""

    def copies(self) -> int:
        """Return how many images, each with draws of its own, it makes of one; the mean score is climbed."""
        return 1

    def check(self, canvas: Size, shown_size: Size) -> None:  # noqa: B027  (most can change anything)
        """Raise CanvasError, before any run, if images of this size cannot be changed so."""

    @abstractmethod
    def prepare(self, uniform: Tensor, progress: Tensor, canvas: Size, shown_size: Size) -> Tensor:
        """Return the parameters ``(lanes, steps, m)`` of every step.

        Args:
            uniform: ``(lanes, steps, numbers)``, uniform on [0, 1).
            progress: ``(steps,)``, from 0 at the first step to 1 at the last.
            canvas: (height, width) of the images that come in.
            shown_size: (height, width) of the images that the network is shown.
        """

    def draw_field(self, generator: torch.Generator, channels: int, shown_size: Size) -> Tensor | None:
        """Draw what a picture needs once for the whole run, without the batch axis; None for nothing."""
        return None

    def keep_fields(self, fields: Tensor) -> Tensor:
        """Arrange the fields of all lanes ``(B, …)`` for the device that they are on, once for a run."""
        return fields

    @abstractmethod
    def apply(self, images: Tensor, values: Tensor, field: Tensor | None, shown_size: Size) -> Tensor:
        """Change ``images`` ``(B, C, H, W)`` by this step's ``values`` ``(B, m)``."""


def between(schedule: tuple[float, float], progress: Tensor) -> Tensor:
    """Return a schedule's value at each step: linear from its start to its end.

    >>> between((1.0, 0.0), torch.tensor([0.0, 0.5, 1.0])).tolist()
    [1.0, 0.5, 0.0]
    """
    return schedule[0] + (schedule[1] - schedule[0]) * progress


def drawn(
    ranges: tuple[tuple[float, float], tuple[float, float]], progress: Tensor, uniform: Tensor
) -> Tensor:
    """Return numbers drawn from a range that may move over the run: ``uniform`` ``(…, steps)`` on [0, 1).

    >>> drawn(((0.0, 1.0), (2.0, 4.0)), torch.tensor([0.0, 1.0]), torch.tensor([0.5, 0.5])).tolist()
    [0.5, 3.0]
    """
    ends = [(min(end), max(end)) for end in ranges]
    least = between((ends[0][0], ends[1][0]), progress)
    greatest = between((ends[0][1], ends[1][1]), progress)
    return least + (greatest - least) * uniform


def least_of(ranges: tuple[tuple[float, float], tuple[float, float]]) -> float:
    """Return the least number that a range ever gives."""
    return min(min(end) for end in ranges)
