"""What a worker does, wherever it is: it holds the networks and computes the jobs that it is given."""

from __future__ import annotations

import pickle
import platform
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import torch

from featvis.errors import FeatvisError
from featvis.plan.wanted import Wanted
from featvis.results.picture import Picture
from featvis.run.executors.local import local
from featvis.run.executors.parcels import PROTOCOL, Unpacker
from featvis.version import __version__


class Outcome(NamedTuple):
    """What became of a job."""

    pictures: list[Picture]
    failures: list[tuple[int, dict[str, Any], str]]
    """Of each picture that failed: its place in the job, what of it is not as it was asked for, and why."""
    said: list[str]
    error: BaseException | None = None
    """What ended the job early."""


class Worker:
    """Computes one job after another."""

    def __init__(self, fetch: Callable[[int], bytes], device: str) -> None:
        """``fetch`` gets a network's bytes by its number."""
        self._unpacker = Unpacker(fetch, torch.device(device))

    def about(self) -> dict[str, str]:
        """Return what must be alike for all workers, once the network that is climbed is here."""
        self._unpacker.network(0)
        return versions()

    def do(self, content: bytes) -> bytes:
        """Compute a job and return its :class:`Outcome`, as bytes; no error of the job's is raised."""
        return pickle.dumps(self._compute(content), PROTOCOL)

    def _compute(self, content: bytes) -> Outcome:
        outcome = Outcome([], [], [])
        try:
            parcel = self._unpacker.job(content)
            places = {_mark(item): place for place, item in enumerate(parcel.wanted)}

            def fail(item: Wanted, reason: str) -> None:
                place = places[_mark(item)]
                asked = parcel.wanted[place]
                fields = ("recipe", "asked", "attempt")
                changed = {name: getattr(item, name) for name in fields}
                changed = {name: one for name, one in changed.items() if one != getattr(asked, name)}
                outcome.failures.append((place, changed, reason))

            pictures = local(
                parcel.wanted,
                self._unpacker.network(0),
                parcel.weights,
                say=outcome.said.append,
                failed=fail if parcel.goes_on else None,
            )
            for picture in pictures:
                picture.encode()
                outcome.pictures.append(picture)
        except Exception as error:
            return outcome._replace(error=_as_sent(error))
        return outcome


def versions() -> dict[str, str]:
    """Return the versions that two processes must share to make the same pictures."""
    return {
        "featvis": __version__,
        "torch": torch.__version__.partition("+")[0],
        "Python": ".".join(platform.python_version_tuple()[:2]),
    }


def with_changes(item: Wanted, changed: dict[str, Any]) -> Wanted:
    """Return what was wanted as a worker tells of it."""
    return replace(item, **changed)


def _mark(item: Wanted) -> tuple[str, int, int | None]:
    return item.name, item.seed, item.candidate


def _as_sent(error: Exception) -> Exception:
    """Return an error that can be sent: itself, or one that says the same."""
    try:
        again = pickle.loads(pickle.dumps(error))
        if type(again) is type(error) and str(again) == str(error):
            return error
    except Exception:
        pass
    line = f"{type(error).__name__}: {error}"
    return FeatvisError(line) if isinstance(error, FeatvisError) else RuntimeError(line)
