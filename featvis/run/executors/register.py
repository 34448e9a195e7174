"""The register of executors: how jobs are computed. No torch in here.

An executor is a function in a file of this folder; that file is all it takes::

    @executor("mine", about="what it does, in a few words")
    def mine(wanted, model, weights, *, watch=None, say=None, failed=None): ...

``featvis.spec.discovery`` says where else such files may lie.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from featvis.errors import RecipeError, unknown
from featvis.spec.discovery import Register

if TYPE_CHECKING:
    from featvis.engine.lanes import Step
    from featvis.models.handle import ModelHandle
    from featvis.plan.wanted import Wanted
    from featvis.results.picture import Picture

DEFAULT = "devices"


class Executor(Protocol):
    """Takes what is wanted and yields each picture as soon as it is finished, in any order.

    Pictures with ``best_of`` are computed as so many candidates, all of which are yielded. Which executor it
    was may not show in a picture.
    """

    def __call__(
        self,
        wanted: Sequence[Wanted],
        model: ModelHandle,
        weights: str,
        *,
        watch: Callable[[Step], object] | None = None,
        say: Callable[[str], None] | None = None,
        failed: Callable[[Wanted, str], None] | None = None,
    ) -> Iterator[Picture]:
        """Compute pictures.

        Args:
            wanted: the pictures.
            model: the network; given back as it was, on every way out.
            weights: its fingerprint.
            watch: called with every step, by one thread at a time; where it returns True, the pictures under
                way are finished as they stand.
            say: called with a line whenever something is worth one.
            failed: called with each picture whose computation fails, and why, and the rest goes on; by
                default the error is raised.

        Raises:
            Interrupted: at Ctrl-C, with the pictures under way.
        """


@dataclass(frozen=True)
class Entry:
    """What is known of an executor before it is imported."""

    name: str
    about: str
    galleries: bool = False
    """Whether it takes a whole gallery, which is submitted to others, and no single pictures."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """The keyword parameters of its function with their defaults."""


_Function = TypeVar("_Function", bound=Executor)
REGISTER = Register("featvis.run.executors", "executor", Entry)


def executor(name: str, *, about: str, galleries: bool = False) -> Callable[[_Function], _Function]:
    """Enter a function as an executor; its arguments are literals, see :class:`Entry`."""
    return REGISTER.enter(name, about=about, galleries=galleries)


def executors() -> dict[str, Entry]:
    """Return the executors by name, importing none."""
    return REGISTER.entries()


def check_executor(name: str, *, galleries: bool = False) -> str:
    """Return the name of an executor.

    Args:
        name: of the executor.
        galleries: whether it may be one that takes whole galleries only.

    Raises:
        RecipeError: there is none of this name, or it takes whole galleries only.
    """
    known = executors()
    if name not in known:
        raise RecipeError(unknown("executor", name, known, f"executors: {', '.join(known)}"))
    if known[name].galleries and not galleries:
        raise RecipeError(
            f"executor {name!r} renders whole galleries: fv.build_gallery(…, executor={name!r})",
            typed=f"{name!r} renders whole galleries: featvis gallery build CONFIG --executor {name}",
        )
    return name


def find_executor(name: str) -> Executor:
    """Import an executor and return it.

    Raises:
        RecipeError: there is none of this name.
    """
    function: Executor = REGISTER.find(check_executor(name))
    return function
