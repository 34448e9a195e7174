"""A gallery by an array of jobs, each a share of what the folder lacks; who submits them waits and merges."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from featvis.errors import FeatvisError, OutputError, RecipeError, count_of
from featvis.files import write_whole
from featvis.galleries.arrays import (
    JOBS,
    Array,
    Settings,
    clear_array,
    read_array,
    submit,
    write_array,
)
from featvis.galleries.build import (
    BuildResult,
    check_agreed,
    describe_gallery,
    finish_build,
    join_shards,
    load_network,
    render_part,
    what_shards_share,
)
from featvis.galleries.folder import GalleryFolder, find_missing
from featvis.galleries.plan import GalleryItem, GalleryPlan, plan_gallery
from featvis.galleries.request import BuildRequest, make_request
from featvis.models.borrow.loan import with_gradients
from featvis.plan.wanted import bundles
from featvis.results.elsewhere import this_host
from featvis.results.journal import JOURNAL, Journals, Told, read_agreed
from featvis.results.lock import (
    DRIVER,
    PRIVATE,
    FolderLock,
    Member,
    clear_unfinished,
    hold,
    hold_beside,
    members,
)
from featvis.results.manifest import Inside
from featvis.results.store import check_writable, remove_empty
from featvis.version import __version__

_TASK = re.compile(r"task-\d+-of-\d+-([0-9a-f]{8})")
_PATIENCE = 180.0
"""Seconds that a task waits for its share, which the machine may still hold where it began before."""
_TRIES = 10
"""How often a task may begin without finishing a picture in between, preempted or at its time limit."""
_LEAVE = 10.0
"""Seconds that processes have to end which were told to."""
_SAY = 15.0
"""Seconds between two lines of progress."""


@dataclass(frozen=True)
class Task:
    """What a job does: a part of a gallery; it is pickled, and the same when it begins again."""

    config: str
    out: str
    place: str
    """The folder that the paths are relative to."""
    weights: str | None
    text: bytes
    """The config as it was submitted."""
    number: int
    count: int
    array: str
    pictures: tuple[str, ...]
    featvis: str
    torch: str
    device: str
    allow_unlike: bool
    examples: str | None
    prune: bool

    @property
    def name(self) -> str:
        """What its lock and journal are called."""
        return f"task-{self.number}-of-{self.count}-{self.array}"

    def excludes(self, name: str) -> bool:
        """Whether another writer, by its name, may not be at work at the same time."""
        found = _TASK.fullmatch(name)
        return name != DRIVER and (found is None or found[1] != self.array)

    def checkpoint(self) -> Any:
        """Return what begins again after a time limit or a preemption: the same."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)

    def __call__(self) -> str:
        """Render what is not there of the pictures; return why it could not, or nothing.

        The last task of an array makes the manifest and pages, where nobody waits for it.
        """
        problem, is_last = "", False
        try:
            is_last = self._run()
        except FeatvisError as error:
            problem = self._tell(error)
            with contextlib.suppress(FeatvisError):
                is_last = note_end(self._folder, self.array, self.number)
        if is_last:
            try:
                self._merge()
            except FeatvisError as error:
                problem = self._tell(error)
        return problem

    @property
    def _folder(self) -> Path:
        return Path(self.place) / self.out

    def _tell(self, error: FeatvisError) -> str:
        write_whole(_problem_file(self._folder, self.name), error.typed.encode())
        return error.typed

    def _request(self) -> BuildRequest:
        request = make_request(self.config, self.out, weights=self.weights, examples=self.examples)
        if request.text != self.text:
            raise RecipeError(f"{self.config} was changed after the jobs were submitted")
        return request

    @with_gradients
    def _run(self) -> bool:
        """Render; say whether this was the last task of all."""
        os.chdir(self.place)
        for what, asked, own in (
            ("featvis", self.featvis, __version__),
            ("torch", self.torch, torch.__version__),
        ):
            if asked != own:
                raise OutputError(f"the job's environment has {what} {own}, it was submitted with {asked}")
        request = self._request()
        with hold_beside(request.folder, self.name, self.excludes, patience=_PATIENCE) as lock:
            model = load_network(request, self.device)
            plan = join_shards(request, model, _log, allow_unlike=self.allow_unlike)
            items = [plan.pictures[name] for name in self.pictures if name in plan.pictures]
            self._check_progress()
            render_part(request, lock, plan, self.name, items, allow_unlike=self.allow_unlike, say=_log)
            return note_end(request.folder, self.array, self.number)  # seen by who waits until nobody writes

    def _check_progress(self) -> None:
        """Raise an OutputError if it began again and again and finished nothing: it would for ever."""
        told = Told(self._folder / PRIVATE / f"{self.name}{JOURNAL}", self.name)
        told.update(Inside(self._folder))
        if told.in_vain >= _TRIES:
            problem = (
                f"a job has begun {told.in_vain} times without finishing a picture; give the jobs more time"
            )
            raise OutputError(
                f"{problem}: executor_options={{'time': '4:00:00'}}", typed=f"{problem}: --slurm time=4:00:00"
            )

    def _merge(self) -> None:
        """Make the manifest and pages of what there is, unless another has."""
        request = self._request()
        with FolderLock(request.folder, beside=True):
            array = read_array(request.folder)
            if array is None or array.name != self.array:
                return
            if not any(member.is_held() for member in members(request.folder)):
                clear_unfinished(request.folder)
            agreed, model = read_agreed(request.folder), load_network(request, "cpu")  # as who waits does
            threads = None if agreed is None else agreed.threads
            plan = plan_gallery(request.gallery, model, request.folder, threads)
            folder = GalleryFolder(request.folder, plan, describe_gallery(request, plan))
            missing = folder.find_missing(_log)
            result = BuildResult(request.folder, total=len(folder.items), missing=len(missing))
            finish_build(request, folder, set(), result, prune=self.prune, say=_log, logs=True)
            _log(f"the pages of {count_of(result.total - result.missing, 'picture')} are made")


def _log(line: str) -> None:
    sys.stdout.write(f"{line}\n")  # the log of the job
    sys.stdout.flush()


def note_end(folder: Path, name: str, number: int | None = None) -> bool:
    """Note that a task of an array has ended; say whether all have, and nobody waits for them.

    Args:
        folder: the pictures'.
        name: of the array.
        number: of the task; None for who submitted them and leaves.
    """
    with FolderLock(folder, beside=True):
        array = read_array(folder)
        if array is None or array.name != name:
            return False
        if number is not None and number not in array.ended:
            array.ended = [*array.ended, number]
            write_array(folder, array)
        return len(array.ended) == array.count and not Member(folder, DRIVER).is_held()


def hold_driver(folder: Path) -> AbstractContextManager[FolderLock]:
    """Hold what only one who submits a folder's jobs may have."""
    return hold_beside(folder, DRIVER, lambda name: _TASK.fullmatch(name) is None)


def submit_gallery(
    request: BuildRequest,
    settings: Settings,
    *,
    device: str = "auto",
    limit: int | None = None,
    prune: bool = False,
    allow_unlike: bool = False,
    say: Callable[[str], None] | None = None,
) -> BuildResult:
    """Build a gallery by an array of jobs, or wait for the one that is at work.

    Args:
        request: what is asked.
        settings: where the jobs run.
        device: of the jobs.
        limit: how many pictures to render at most.
        prune: remove pictures that the config no longer asks for.
        allow_unlike: whether jobs may run on unlike machines.
        say: called with a line whenever something is worth one.

    Raises:
        UserError: anything wrong in what was asked, before anything is submitted; or jobs that make nothing.
        KeyboardInterrupt: at Ctrl-C; the jobs are cancelled, what is finished is in the folder.
    """
    say = say or (lambda line: None)
    folder = request.folder
    made = [place for place in (folder, *folder.parents) if not place.exists()]
    check_writable(folder)
    try:
        with hold_driver(folder):
            driver = _Driver(request, settings, device, limit, prune, allow_unlike, say)
            result = driver.run()
        if result.submitted and not driver.is_last():
            return result
        with hold(folder):
            return driver.finish(result)
    finally:
        with contextlib.suppress(OSError):
            (folder / PRIVATE).rmdir()
        remove_empty(made)


class _Driver:
    """Who submits the jobs of a folder and waits for them."""

    def __init__(
        self,
        request: BuildRequest,
        settings: Settings,
        device: str,
        limit: int | None,
        prune: bool,
        allow_unlike: bool,
        say: Callable[[str], None],
    ) -> None:
        self.request, self.folder, self.settings = request, request.folder, settings
        self.device, self.limit, self.prune = device, limit, prune
        self.allow_unlike, self.say = allow_unlike, say
        self.journals = Journals(self.folder)
        self.array = read_array(self.folder)
        self.plan = self._plan()
        self.began = time.time()

    def _plan(self) -> GalleryPlan:
        """Load the network and plan everything, so that whatever is wrong is found before it is submitted."""
        self.model = load_network(self.request, "cpu")
        for line in self.model.notes:
            self.say(line)
        agreed = read_agreed(self.folder)
        plan = plan_gallery(
            self.request.gallery, self.model, self.folder, None if agreed is None else agreed.threads
        )
        for line in plan.notes:
            self.say(line)
        if agreed is not None:  # as its jobs will be
            check_agreed(self.folder, agreed, what_shards_share(self.request, plan, agreed.machine))
        return plan

    def run(self) -> BuildResult:
        """Submit what is missing and wait, until nothing is missing that has not failed; Ctrl-C cancels."""
        try:
            return self._run()
        except KeyboardInterrupt:
            with contextlib.suppress(OutputError):
                if self._at_work() is not None:
                    self._cancel()
            raise

    def _run(self) -> BuildResult:
        missing = self._missing()
        total = len(self.plan.pictures)
        self.asked = {item.name for item in missing}
        result = BuildResult(self.folder, total=total, existing=total - len(missing))
        if self.array is not None and self._at_work() is not None:
            self.say(f"{self.array.said} at work in this folder already; nothing more is submitted")
            if self.settings.detach:
                result.missing, result.submitted = len(missing), self.array.told
                return result
            self._wait(missing)
            missing = self._left(missing)
        left = missing[: self.limit]
        result.missing = len(missing) - len(left)
        idle = 0
        while left:
            before = len(left)
            self._submit(left)
            if self.settings.detach and self.array is not None:
                result.missing, result.submitted = len(missing), self.array.told
                return result
            self._wait(left)
            left = self._left(left)
            said = self._problems()
            idle = idle + 1 if len(left) == before else 0
            if idle == 2 or (idle and said):
                raise OutputError(f"{count_of(before, 'picture')} cannot be made: {self._reason()}")
            for line in said:
                self.say(line)
            if left:
                self.say(f"the jobs have ended, {count_of(len(left), 'picture')} left: submitted again")
        return result

    def is_last(self) -> bool:
        """Whether all jobs have ended before this leaves them alone: then the pages are its to make."""
        if self.array is None or not note_end(self.folder, self.array.name):
            return False
        until = time.monotonic() + _PATIENCE
        while self._writing() and time.monotonic() < until:  # one that is just leaving
            time.sleep(0.1)
        for line in self._problems():
            self.say(line)
        return True

    def finish(self, result: BuildResult) -> BuildResult:
        """Make the manifest and pages of what there is."""
        self.plan = self._replanned()
        folder = GalleryFolder(self.folder, self.plan, describe_gallery(self.request, self.plan))
        missing = folder.find_missing(self.say)
        failed = {
            item.target: str(folder.entries[item.name].get("reason", ""))
            for item in missing
            if folder.entries.get(item.name, {}).get("status") == "failed"
        }
        result.failed = failed
        lacking = {item.name for item in missing}
        result.rendered = sum(
            folder.entries[name].get("status") == "ok"
            for name in self.asked - lacking
            if name in folder.entries
        )
        if result.submitted:
            result.submitted, result.missing = "", len(missing) - len(failed)
        return finish_build(self.request, folder, set(), result, prune=self.prune, say=self.say)

    def _missing(self) -> list[GalleryItem]:
        return find_missing(self.folder, self.plan)

    def _replanned(self) -> GalleryPlan:
        """Return the plan with what the jobs agreed on."""
        agreed = read_agreed(self.folder)
        if agreed is None or agreed.threads == self.plan.threads:
            return self.plan
        return plan_gallery(self.request.gallery, self.model, self.folder, agreed.threads)

    def _left(self, items: list[GalleryItem]) -> list[GalleryItem]:
        """Return those that are not there and did not fail since this began."""
        self.plan = self._replanned()
        failed = {
            name
            for told in self.journals.update().told.values()
            for name, noted in told.noted.items()
            if noted.failed and noted.at >= self.began - 1
        }
        asked = {item.name for item in items} - failed
        return [item for item in self._missing() if item.name in asked]

    def _submit(self, items: list[GalleryItem]) -> None:
        parts = bundles([item.wanted for item in items])
        count = min(self.settings.workers, len(parts))
        place = self.folder / PRIVATE / JOBS
        array = Array(
            secrets.token_hex(4), self.settings.cluster, count, time.time(), host=this_host(), logs=place
        )
        tasks = [
            Task(
                config=self.request.named,
                out=str(self.folder),
                place=os.getcwd(),
                weights=self.request.asked_weights,
                text=self.request.text,
                number=number,
                count=count,
                array=array.name,
                pictures=tuple(items[place].name for part in parts[number - 1 :: count] for place in part),
                featvis=__version__,
                torch=torch.__version__,
                device=self.device,
                allow_unlike=self.allow_unlike,
                examples=self.request.asked_examples,
                prune=self.prune,
            )
            for number in range(1, count + 1)
        ]
        for path in (self.folder / PRIVATE / JOBS).glob("*.txt"):
            path.unlink(missing_ok=True)
        write_array(self.folder, array)  # before, so that a kill in between leaves no jobs unknown
        self.array = array
        try:
            submit(array, tasks, self.settings, self.folder / PRIVATE / JOBS)
        except OutputError:
            clear_array(self.folder)
            raise
        with FolderLock(self.folder, beside=True):
            known = read_array(self.folder)
            if known is not None and known.name == array.name:
                array.ended = known.ended  # those that were as fast as that
            write_array(self.folder, array)
        pictures = count_of(len(items), "picture")
        self.say(f"{pictures} in {count_of(count, 'job')} ({array.told}), to {self.folder}")

    def _at_work(self) -> tuple[int, int] | None:
        """Return how many jobs run and wait; None if all have ended."""
        if self.array is None:
            return None
        known = self.array.at_work()
        if known is None and self._writing():
            return self._writing(), 0  # the cluster has forgotten them before they have ended
        return known

    def _writing(self) -> int:
        name = "" if self.array is None else self.array.name
        return sum(member.name.endswith(f"-{name}") and member.is_held() for member in members(self.folder))

    def _wait(self, items: list[GalleryItem]) -> None:
        """Wait until the jobs have ended."""
        assert self.array is not None
        lacking = {item.name for item in items}
        own = f"-{self.array.name}"  # others tell of what was under way or failed before
        lacking -= set[str]().union(
            *(told.ended for name, told in self.journals.update().told.items() if name.endswith(own))
        )
        began = said = time.monotonic()
        looked = 0.0
        state: tuple[int, int] | None = (0, self.array.count)
        while True:
            if time.monotonic() - looked >= self.settings.every:
                state, looked = self._at_work(), time.monotonic()
            if state is None:
                return
            lacking -= self.journals.update().fresh
            if not lacking and not self._writing():
                return
            if time.monotonic() - said >= _SAY:
                said = time.monotonic()
                done = len(items) - len(lacking)
                self.say(self._progress(done, len(items), state, said - began))
            time.sleep(min(2.0, self.settings.every))

    def _cancel(self) -> None:
        """End the jobs, and wait a moment until those in processes here have kept what is under way."""
        array = self.array
        assert array is not None
        array.cancel()
        with contextlib.suppress(OutputError), FolderLock(self.folder, beside=True):
            known = read_array(self.folder)
            if known is not None and known.name == array.name:
                array.ended = known.ended
                write_array(self.folder, array)
        until = time.monotonic() + _LEAVE
        while array.cluster == "local" and self._at_work() is not None:
            if time.monotonic() > until:
                self.say(f"{array.said} told to end, and at work still")
                return
            time.sleep(0.05)
        self.say(f"{array.said} cancelled")

    def _progress(self, done: int, wanted: int, state: tuple[int, int], seconds: float) -> str:
        from featvis.run.progress import duration

        running, waiting = state
        jobs = f"{count_of(running, 'job')} at work" + (f", {waiting} waiting" if waiting else "")
        line = f"{done} of {count_of(wanted, 'picture')}, {jobs}"
        if done:
            left = duration(seconds / done * (wanted - done))
            line += f", {60 * done / seconds:.3g} pictures a minute, about {left} left"
        return line

    def _problems(self) -> list[str]:
        """Return what jobs said that could not begin, each once."""
        found = dict[str, None]()
        for path in sorted((self.folder / PRIVATE / JOBS).glob("*.txt")):
            with contextlib.suppress(OSError, UnicodeDecodeError):
                found.setdefault(path.read_text("utf-8"))
        return list(found)

    def _reason(self) -> str:
        """Return why jobs made nothing: what they say themselves, or where their logs are."""
        place = self.folder / PRIVATE / JOBS
        if said := self._problems():
            return said[0]
        logs = sorted(place.glob("*.err"), key=lambda path: path.stat().st_mtime)
        for path in reversed(logs):
            with contextlib.suppress(OSError):
                lines = path.read_text("utf-8", "replace").strip().splitlines()
                if lines:
                    return f"a job says {lines[-1][-200:]!r}; the logs are in {place}"
        return f"the jobs ended without a word; their logs are in {place}"


def _problem_file(folder: Path, name: str) -> Path:
    return folder / PRIVATE / JOBS / f"{name}.txt"
