"""The register of executors: how jobs are computed. No torch in here.

An executor is a function in a file of this folder; that file is all it takes::

    @executor("mine", about="what it does, in a few words")
    def mine(wanted, model, weights, *, watch=None, say=None, failed=None): ...

Further keyword parameters are its options. Their annotations are types of :mod:`featvis.spec.options`, or
plain ones, and what is given is checked by them. ``featvis.spec.discovery`` says where else such files may
lie.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar

from featvis.errors import RecipeError, unknown
from featvis.spec.discovery import Register

if TYPE_CHECKING:
    from pydantic import BaseModel

    from featvis.engine.lanes import Step
    from featvis.models.handle import ModelHandle
    from featvis.plan.wanted import Wanted
    from featvis.results.picture import Picture

DEFAULT = "devices"
_OF_A_RUN = ("watch", "say", "failed", "crew")
"""Keyword parameters of an executor that a run gives it; all others are its options."""


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
                way are finished as they stand. Never called by one that is entered as ``remote``.
            say: called with a line whenever something is worth one.
            failed: called with each picture whose computation fails, and why, and the rest goes on; by
                default the error is raised.

        One that has a parameter ``crew``, too, calls it with the number of workers that are at work, whenever
        that changes.

        Raises:
            Interrupted: at Ctrl-C, with the pictures under way.
        """


@dataclass(frozen=True)
class Entry:
    """What is known of an executor before it is imported."""

    name: str
    about: str
    remote: bool = False
    """Whether it computes in other processes, whose steps nobody here can watch."""
    needs: str = ""
    """A package beyond featvis' own."""
    extra: str = ""
    """The extra of featvis that installs it."""
    galleries: bool = False
    """Whether it takes a whole gallery, which is submitted to others, and no single pictures; what of its
    options it does not know goes to those others."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """The keyword parameters of its function with their defaults."""
    types: Mapping[str, str] = field(default_factory=dict)
    """The same with their annotations, as they are written."""

    @property
    def own(self) -> dict[str, Any]:
        """Its own options with their defaults."""
        return {name: value for name, value in self.options.items() if name not in _OF_A_RUN}

    @property
    def described(self) -> list[tuple[str, str, str]]:
        """Its own options: the name, the kind and the default of each, as they are written."""
        return [(name, self.types.get(name, ""), repr(value)) for name, value in self.own.items()]

    def schema(self) -> type[BaseModel]:
        """Return what checks its options."""
        from pydantic import ConfigDict, create_model  # the list of commands needs none of this

        from featvis.spec import options as kinds

        plain = {"float": float, "int": int, "bool": bool, "str": str, "tuple": tuple, "dict": dict}
        space = {**vars(kinds), "Literal": Literal}
        # The source of an executor, read as the interpreter would read it; nothing of a user's comes here.
        fields: dict[str, Any] = {
            name: (eval(self.types.get(name, "Any"), {"__builtins__": plain}, space), value)
            for name, value in self.own.items()
        }
        return create_model(
            self.name,
            __config__=ConfigDict(extra="allow" if self.galleries else "forbid", allow_inf_nan=False),
            **fields,
        )


_Function = TypeVar("_Function", bound=Executor)
REGISTER = Register("featvis.run.executors", "executor", Entry)


def executor(
    name: str, *, about: str, remote: bool = False, needs: str = "", extra: str = "", galleries: bool = False
) -> Callable[[_Function], _Function]:
    """Enter a function as an executor; its arguments are literals, see :class:`Entry`."""
    return REGISTER.enter(name, about=about, remote=remote, needs=needs, extra=extra, galleries=galleries)


def executors() -> dict[str, Entry]:
    """Return the executors by name, importing none."""
    return REGISTER.entries()


@dataclass(frozen=True)
class Chosen:
    """An executor and its options, checked."""

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    """Those that were given."""

    @property
    def entry(self) -> Entry:
        """What is known of it."""
        return executors()[self.name]

    def find(self) -> Executor:
        """Import its function and return it."""
        function: Executor = REGISTER.find(self.name)
        return function

    def check_watched(self, what: str) -> None:
        """Raise a RecipeError if ``what`` asks for steps that it computes elsewhere."""
        if self.entry.remote:
            here = [name for name, entry in executors().items() if not entry.remote]
            raise RecipeError(
                f"{what} needs the steps, which executor {self.name!r} takes in other processes; "
                f"executors that take them here: {', '.join(here)}"
            )


AnyExecutor = str | Mapping[str, Any] | Chosen
"""``"ray"``, ``"ray:workers=4,num_gpus=1"``, or a table ``{"name": "ray", "workers": 4}``."""


def choose_executor(
    asked: AnyExecutor = DEFAULT, options: Mapping[str, Any] | None = None, *, galleries: bool = False
) -> Chosen:
    """Return an executor that was asked for, with its options; nothing of it is imported.

    Args:
        asked: its name, with options behind a colon (``ray:workers=4,num_gpus=1``), or a table with ``name``.
        options: further options.
        galleries: whether it may be one that takes whole galleries only.

    Raises:
        RecipeError: there is none of this name, it takes whole galleries only, it has no such option, an
            option's value is none, or a package is not installed.

    >>> choose_executor("ray:workers=4,num_cpus=0.5").options  # doctest: +SKIP
    {'workers': 4, 'num_cpus': 0.5}
    >>> choose_executor("local:workers=4")
    Traceback (most recent call last):
    featvis.errors.RecipeError: executor 'local': unknown option 'workers'; it has no options
    """
    if isinstance(asked, Chosen):
        return asked
    name, given = _read(asked)
    known = executors()
    if name not in known:
        raise RecipeError(unknown("executor", name, known, f"executors: {', '.join(known)}"))
    from pydantic import ValidationError

    from featvis.spec.register import one_line

    entry = known[name]
    if entry.galleries and not galleries:
        raise RecipeError(
            f"executor {name!r} renders whole galleries: fv.build_gallery(…, executor={name!r})",
            typed=f"{name!r} renders whole galleries: featvis gallery build CONFIG --executor {name}",
        )
    given |= dict(options or {})
    try:
        checked = entry.schema().model_validate(given)
    except ValidationError as error:
        raise RecipeError(one_line(error, f"executor {name!r}", list(entry.own))) from None
    for option, value in given.items():
        if isinstance(value, bool) and "bool" not in entry.types.get(option, "bool"):
            raise RecipeError(f"executor {name!r}: {option} is {entry.types[option]}, got {value}")
    if entry.needs and importlib.util.find_spec(entry.needs) is None:
        package = f"'featvis[{entry.extra}]'" if entry.extra else entry.needs
        what = f"executor {name!r} needs {entry.needs}, which is not installed"
        raise RecipeError(f"{what}: pip install {package}")
    return Chosen(name, {option: getattr(checked, option) for option in given})


def _read(asked: str | Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the name and the options that a text or a table tells."""
    if isinstance(asked, Mapping):
        given = {str(option): value for option, value in asked.items()}
        name = given.pop("name", None)
        if not isinstance(name, str):
            raise RecipeError(f"an executor's table has its name: name = {DEFAULT!r}; got {dict(asked)!r}")
        return name, given
    if not isinstance(asked, str):
        raise RecipeError(f"an executor is named: executor={DEFAULT!r}; got {asked!r}")
    name, colon, rest = asked.partition(":")
    given = {}
    for part in rest.split(",") if colon else ():
        option, equals, value = (text.strip() for text in part.partition("="))
        if not equals or not option:
            raise RecipeError(
                f"executor {name!r}: an option is written NAME=VALUE, with commas between; got {part!r}"
            )
        if option in given:
            raise RecipeError(f"executor {name!r}: option {option!r} is given twice")
        given[option] = value
    return name, given
