"""An array of jobs by submitit, on a Slurm cluster or in processes here: submit, look, cancel. No torch."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import logging
import math
import os
import re
import shutil
import signal
import subprocess
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from featvis.errors import FeatvisWarning, OutputError, RecipeError, unknown
from featvis.files import write_whole
from featvis.read import is_whole_number, read_json
from featvis.results.elsewhere import this_host
from featvis.results.fields import is_count, is_number, is_text
from featvis.results.lock import PRIVATE

CLUSTERS = ("slurm", "local")
ARRAY = "array.json"
JOBS = "jobs"
"""Of the jobs' logs, in the folder of what several writers keep for themselves."""
_TOOLS = ("sbatch", "srun", "squeue", "scancel")
_LONGEST = 7 * 24 * 60
"""Minutes that a job may take where nobody says how long."""
_MOMENT = 5.0
"""Seconds after which what was submitted is listed."""
_SHOWN = 8
"""How many processes are told by their numbers."""
_OFTEN = 1000
"""How often a job that reaches its time limit, or is preempted, begins again."""
_BEFORE = 90
"""Seconds before its time limit at which a job is told to begin again; a quarter of a limit that is short."""


@dataclass(frozen=True)
class Settings:
    """Where and how an array of jobs runs."""

    workers: int
    cluster: str = "slurm"
    detach: bool = False
    """Whether to leave once the jobs are submitted."""
    every: float = 10.0
    """Seconds between two questions to the cluster."""
    sbatch: dict[str, str] = field(default_factory=dict)
    """Options of ``sbatch``, as they are."""


def read_settings(options: Mapping[str, Any]) -> Settings:
    """Read an executor's options: some are ours, the others go to ``sbatch`` as they are.

    Raises:
        RecipeError: one is missing or no right value, or this machine cannot submit jobs.

    >>> read_settings({"workers": 4, "cluster": "local", "gpus_per_node": 2}).sbatch
    {'gpus-per-node': '2'}
    """
    given = {str(name).replace("_", "-"): value for name, value in options.items() if value is not None}
    workers = given.pop("workers", None)
    if type(workers) is not int or not 1 <= workers <= 100_000:
        what = "executor 'slurm' needs the number of its jobs"
        got = "" if workers is None else f"; got {workers!r}"
        raise RecipeError(
            f"{what}: executor_options={{'workers': 8}}{got}", typed=f"{what}: --workers 8{got}"
        )
    cluster = str(given.pop("cluster", "slurm"))
    if cluster not in CLUSTERS:
        raise RecipeError(unknown("cluster", cluster, CLUSTERS, "clusters: " + ", ".join(CLUSTERS)))
    detach = given.pop("detach", False)
    if not isinstance(detach, bool):
        raise RecipeError(f"detach is True or False, got {detach!r}")
    try:
        every = float(given.pop("every", 10.0))
    except (TypeError, ValueError):
        every = math.nan
    if not 0 < every < 3600:
        raise RecipeError("every is the number of seconds between two looks at the cluster")
    for name, value in given.items():
        text = str(value)
        if not name or not name.replace("-", "").isalnum() or not name.isascii() or not text.isprintable():
            raise RecipeError(f"no option of sbatch: {name}={text!r}")
        if name in _OURS:
            raise RecipeError(f"{name} is featvis' own option of sbatch")
    sbatch = {name: "" if value is True or value == "true" else str(value) for name, value in given.items()}
    settings = Settings(workers, cluster, detach, float(every), sbatch)
    _minutes(settings)
    if cluster == "local":
        _warn_of_unread(sbatch)
    _check_here(settings)
    return settings


_OURS = ("array", "job-name", "output", "error", "open-mode", "signal", "nodes", "ntasks", "ntasks-per-node")


_READ_HERE = ("time", "gpus-per-node")
"""Options of ``sbatch`` that jobs in processes here have, too."""


def _warn_of_unread(sbatch: Mapping[str, str]) -> None:
    """Say which options do nothing in processes here; a cluster's own it checks itself."""
    if unread := [name for name in sbatch if name not in _READ_HERE]:
        it = "it" if len(unread) == 1 else "them"
        warnings.warn(
            f"cluster 'local' does nothing with {', '.join(unread)}; of sbatch's options it reads "
            f"{' and '.join(_READ_HERE)}, only a cluster checks {it}",
            FeatvisWarning,
            stacklevel=3,
        )
    gpus = sbatch.get("gpus-per-node", "0")
    if not is_whole_number(gpus):
        raise RecipeError(f"gpus-per-node is a whole number where cluster is 'local', got {gpus!r}")


def _check_here(settings: Settings) -> None:
    if importlib.util.find_spec("submitit") is None:
        raise RecipeError(
            "executor 'slurm' needs submitit, which is not installed: pip install 'featvis[slurm]'"
        )
    missing = [tool for tool in _TOOLS if shutil.which(tool) is None]
    if settings.cluster == "slurm" and missing:
        here = f"no {missing[0]} on this machine: submit from a machine of the cluster"
        raise RecipeError(
            f"{here}; {{'cluster': 'local'}} runs the same jobs in processes here",
            typed=f"{here}; --slurm-cluster local runs the same jobs in processes here",
        )
    if settings.cluster == "slurm":
        _ask(["squeue", "--noheader", "--name", "featvis"])  # whether anybody answers


def _minutes(settings: Settings) -> int | None:
    """Return a time limit as minutes, rounded up; None where none is given.

    It is written as Slurm takes it: minutes, minutes:seconds, hours:minutes:seconds, days-hours.
    """
    text = settings.sbatch.get("time")
    if text is None:
        return None
    days, dash, rest = text.rpartition("-")
    parts = rest.split(":")
    try:
        numbers = [int(part) for part in parts]
        whole = int(days) if dash else 0
        if len(parts) > 3 or min(whole, *numbers) < 0:
            raise ValueError
    except ValueError:
        raise RecipeError(f"time is as Slurm takes it, for instance 90 or 2:00:00; got {text!r}") from None
    if dash:
        hours, minutes, seconds = [*numbers, 0, 0][:3]
    elif len(numbers) == 3:
        hours, minutes, seconds = numbers
    else:
        hours, minutes, seconds = 0, *[*numbers, 0][:2]
    return max(1, -(-seconds // 60) + minutes + 60 * (hours + 24 * whole))


def _partition_minutes(partition: str | None) -> int:
    """Return how long a job may take where nobody says: what the partition gives, or a week."""
    command = ["sinfo", "--noheader", "--format", "%P|%L|%l"]
    command += [] if partition is None else ["--partition", partition]
    for line in _ask(command).splitlines():
        name, usual, most = [*line.split("|"), "", "", ""][:3]
        if partition is None and not name.endswith("*"):
            continue
        for text in (usual, most):
            with contextlib.suppress(RecipeError):
                found = _minutes(Settings(1, sbatch={"time": text.strip()}))
                if found is not None:
                    return min(found, _LONGEST)
    return _LONGEST


def _ask(command: Sequence[str]) -> str:
    try:
        told = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise OutputError(f"{command[0]} does not answer: {error}") from None
    if told.returncode:
        reason = " ".join((told.stderr or told.stdout).split())[-300:]
        raise OutputError(f"{command[0]}: {reason or 'it failed'}")
    return told.stdout


@dataclass
class Array:
    """Jobs that were submitted together."""

    name: str
    cluster: str
    count: int
    submitted: float
    """When, in seconds since 1970."""
    jobs: list[str] = field(default_factory=list)
    """Their numbers; empty for a moment while they are submitted."""
    ended: list[int] = field(default_factory=list)
    """Which of its tasks have ended by themselves, counted from 1."""
    host: str = ""
    """Where processes run that are no cluster's jobs; they have numbers there only."""
    cancelled: bool = False
    """Whether who submitted them told them to end."""
    logs: Path | None = field(default=None, repr=False)
    """The folder of theirs, by which a process is known from another one that has its number since."""
    _own: list[Any] = field(default_factory=list, repr=False)
    """Those that this process submitted, as submitit knows them."""

    def plain(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {name: getattr(self, name) for name in (*_KINDS, *_LATER)}

    @property
    def told(self) -> str:
        """What a person calls it."""
        if self.cluster == "slurm":
            return f"job {self.jobs[0].partition('_')[0] if self.jobs else f'featvis-{self.name}'}"
        kind = "processes" if self._are else "process"
        if not self.jobs:  # killed while they were submitted
            return f"{kind} of array {self.name}"
        return f"{kind} {', '.join(self.jobs[:_SHOWN])}" + (" …" if len(self.jobs) > _SHOWN else "")

    @property
    def said(self) -> str:
        """The same with its verb: what follows are words such as "cancelled"."""
        return f"{self.told} {'are' if self._are else 'is'}"

    @property
    def _are(self) -> bool:
        return self.cluster == "local" and self.count > 1

    def at_work(self) -> tuple[int, int] | None:
        """Return how many of its jobs run and how many wait; None if all have ended."""
        if self.cluster == "local":
            running = len(self._alive())
            return (running, 0) if running else None
        command = ["squeue", "--noheader", "--array", "--name", f"featvis-{self.name}", "--format", "%T"]
        states = _ask(command).split()
        if not states:
            # What was submitted just now may not be listed yet.
            return (0, self.count) if time.time() - self.submitted < _MOMENT else None
        running = sum(state in ("RUNNING", "COMPLETING") for state in states)
        return running, len(states) - running

    def seen(self) -> int | None:
        """Return how many of its jobs are at work; None if that is not seen without asking a cluster."""
        if self.cluster == "local" and self.host == this_host():
            begins = not self.jobs and time.time() - self.submitted < _MOMENT
            return None if begins else len(self._alive())
        return 0 if self.cancelled or len(self.ended) >= self.count else None

    def _alive(self) -> list[int]:
        """Return which of its processes are at work, by their places."""
        return [place for place in range(len(self.jobs)) if self._is_alive(place)]

    def _is_alive(self, place: int) -> bool:
        if self._own:
            return not self._own[place].done()
        if self.host != this_host():
            return False
        job = self.jobs[place]
        if Path("/proc/self/stat").exists():
            with contextlib.suppress(OSError):
                words = Path(f"/proc/{job}/cmdline").read_bytes().split(b"\0")  # none of one that has ended
                return b"submitit.local._local" in words and any(map(self._is_its_folder, words))
            return False
        with contextlib.suppress(OSError, ValueError):
            os.kill(int(job), 0)
            return True
        return False

    def _is_its_folder(self, word: bytes) -> bool:
        try:
            return self.logs is not None and os.path.samefile(os.fsdecode(word), self.logs)
        except OSError:
            return False

    def cancel(self) -> None:
        """End its jobs."""
        self.cancelled = True
        if self.cluster == "slurm":
            with contextlib.suppress(OutputError):
                _ask(["scancel", "--name", f"featvis-{self.name}"])
            return
        for place in self._alive():
            with contextlib.suppress(OSError, ValueError):
                os.kill(int(self.jobs[place]), signal.SIGINT)


def submit(array: Array, tasks: Sequence[Callable[[], Any]], settings: Settings, logs: Path) -> None:
    """Submit a job for each of the tasks; their numbers are noted in the array.

    Args:
        array: what they are called.
        tasks: functions that can be pickled.
        settings: where and how.
        logs: the folder of what submitit writes.

    Raises:
        OutputError: the cluster refuses them.
    """
    import submitit

    logging.getLogger("submitit").setLevel(logging.WARNING)
    runner: Any
    minutes = _minutes(settings)
    if settings.cluster == "local":
        runner = submitit.LocalExecutor(folder=logs)
        gpus = int(settings.sbatch.get("gpus-per-node", "0"))
        runner.update_parameters(timeout_min=minutes or _LONGEST, gpus_per_node=gpus)
    else:
        runner = submitit.SlurmExecutor(folder=logs, max_num_timeout=_OFTEN)
        rest = {name: value or True for name, value in settings.sbatch.items() if name != "time"}
        rest.setdefault("requeue", True)
        minutes = minutes or _partition_minutes(settings.sbatch.get("partition"))
        runner.update_parameters(
            time=minutes,
            signal_delay_s=min(_BEFORE, _BEFORE // 6 * minutes),
            job_name=f"featvis-{array.name}",
            array_parallelism=len(tasks),
            additional_parameters=rest,
        )
    try:
        with _apart(logs) if settings.cluster == "local" else contextlib.nullcontext(), runner.batch():
            submitted = [runner.submit(task) for task in tasks]
    except subprocess.CalledProcessError as error:
        reason = " ".join(str(error.stderr or error.output or error).split())[-300:]
        raise OutputError(f"sbatch refuses the jobs: {reason}") from None
    except submitit.core.utils.FailedJobError as error:
        raise OutputError(f"sbatch refuses the jobs: {' '.join(str(error).split())[-300:]}") from None
    except (submitit.core.utils.FailedSubmissionError, OSError) as error:
        raise OutputError(f"the jobs cannot be submitted: {' '.join(str(error).split())[-300:]}") from None
    array._own = submitted if settings.cluster == "local" else []
    array.jobs = [str(job.job_id) for job in submitted]


@contextlib.contextmanager
def _apart(logs: Path) -> Iterator[None]:
    """Let submitit begin processes that a terminal's Ctrl-C does not reach, and that say nothing on it.

    Who submitted them tells them to end; what they say is in their logs. And nothing that reads what the
    command says waits for them.
    """
    from submitit.local import local

    logs.mkdir(parents=True, exist_ok=True)
    begun: list[subprocess.Popen[bytes]] = []
    with (logs / "processes.err").open("ab") as log:

        def begin(command: Any, **told: Any) -> subprocess.Popen[bytes]:
            begun.append(
                subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, **told
                )
            )
            return begun[-1]

        before = local.subprocess  # submitit itself has no option for it
        local.subprocess = SimpleNamespace(Popen=begin)
        try:
            yield
        except KeyboardInterrupt:  # nobody else knows of them yet
            for process in begun:
                process.send_signal(signal.SIGINT)
            raise
        finally:
            local.subprocess = before


_KINDS: Mapping[str, Callable[[Any], bool]] = {
    "name": lambda value: is_text(value) and re.fullmatch("[0-9a-f]{8}", value) is not None,
    "cluster": lambda value: value in CLUSTERS,
    "count": is_count,
    "submitted": is_number,
    "jobs": lambda value: isinstance(value, list) and all(map(is_text, value)),
    "ended": lambda value: isinstance(value, list) and all(map(is_count, value)),
}
_LATER: Mapping[str, Callable[[Any], bool]] = {
    "host": is_text,
    "cancelled": lambda value: isinstance(value, bool),
}
"""What those that were submitted by an earlier version do not tell."""


def read_array(folder: Path) -> Array | None:
    """Return the jobs that a folder tells of; None if there are none."""
    try:
        told = read_json(folder / PRIVATE / ARRAY)
    except (ValueError, OSError, OutputError):
        return None
    if not isinstance(told, dict) or not all(is_right(told.get(name)) for name, is_right in _KINDS.items()):
        return None
    later = {name: told[name] for name, is_right in _LATER.items() if is_right(told.get(name))}
    return Array(**{name: told[name] for name in _KINDS}, **later, logs=folder / PRIVATE / JOBS)


def write_array(folder: Path, array: Array) -> None:
    """Note in a folder which jobs are its."""
    write_whole(folder / PRIVATE / ARRAY, json.dumps(array.plain()).encode())


def clear_array(folder: Path, *, logs: bool = True) -> None:
    """Remove what is there of jobs that have ended, their logs too if nobody needs them."""
    place = folder / PRIVATE / JOBS
    if logs:
        for path in place.glob("*"):
            path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            place.rmdir()
    (folder / PRIVATE / ARRAY).unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        place.parent.rmdir()
