"""Many processes and a Slurm cluster make, byte for byte, what one build makes, whoever is killed."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
import warnings
from dataclasses import replace

import pytest
from PIL import Image

import featvis as fv
from featvis.cli import main
from featvis.errors import FeatvisWarning, OutputError, RecipeError
from featvis.galleries import arrays, cluster
from featvis.galleries import build as building
from featvis.galleries.arrays import Array, Settings, read_array, read_settings, write_array
from featvis.galleries.status import read_status
from featvis.results.elsewhere import this_host
from featvis.results.lock import members
from featvis.run.executors.register import choose_executor
from tests.galleries.one_node import Cluster, lacks
from tests.galleries.planted import RECIPE, pngs, section, strays, write_config
from tests.galleries.test_config import REPOSITORY
from tests.galleries.test_shards import but_for_times, same

SLOW = RECIPE.replace("steps = 3", "steps = 40")
UNITS = section(["conv1:6:22"], title="One") + section(["conv2:0:12"], variants=["picture", "negative"])
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
PATIENCE = 600.0


def test_options_of_an_array(monkeypatch):
    monkeypatch.setattr(arrays, "_check_here", lambda settings: None)
    given = {"workers": 8, "partition": "gpu", "cpus_per_task": 1, "exclusive": True, "time": "1-2"}
    told = read_settings(given)
    assert told.sbatch == {"partition": "gpu", "cpus-per-task": "1", "exclusive": "", "time": "1-2"}
    assert (told.workers, told.cluster, told.detach) == (8, "slurm", False)


@pytest.mark.parametrize(
    ("text", "minutes"),
    [
        ("90", 90),
        ("1:30", 2),
        ("2:00:00", 120),
        ("1-0", 1440),
        ("1-2:30", 1590),
        ("0:10", 1),
        ("1-0:0:1", 1441),
    ],
)
def test_a_time_limit_is_read_as_slurm_does(text, minutes):
    assert arrays._minutes(Settings(1, sbatch={"time": text})) == minutes


WRONG = [
    ({}, "needs the number of its jobs"),
    ({"workers": 0}, "got 0"),
    ({"workers": True}, "got True"),
    ({"workers": "some"}, "workers"),
    ({"workers": 4, "cluster": "slrum"}, "did you mean 'slurm'"),
    ({"workers": 4, "time": "soon"}, "got 'soon'"),
    ({"workers": 4, "time": "1:2:3:4"}, "got '1:2:3:4'"),
    ({"workers": 4, "time": "-5"}, "got '-5'"),
    ({"workers": 4, "array": "0-3"}, "featvis' own option"),
    ({"workers": 4, "comment": "a\nb"}, "no option of sbatch"),
    ({"workers": 4, "a b": "c"}, "no option of sbatch"),
    ({"workers": 4, "detach": "perhaps"}, "detach"),
    ({"workers": 4, "every": -1}, "seconds between two looks"),
]


@pytest.mark.parametrize(("options", "said"), WRONG)
def test_a_wrong_option_of_an_array_is_told_before_anything_is_submitted(
    options, said, monkeypatch, tmp_path
):
    monkeypatch.setattr(arrays, "_check_here", lambda settings: None)
    with pytest.raises(RecipeError, match=said):
        read_settings(options)
    config = write_config(tmp_path, UNITS)
    with pytest.raises(RecipeError, match=said):
        fv.build_gallery(config, out=tmp_path / "out", executor="slurm", executor_options=options)
    assert not (tmp_path / "out").exists()


def test_options_behind_a_colon_are_read_as_those_of_a_table(monkeypatch):
    monkeypatch.setattr(arrays, "_check_here", lambda settings: None)
    text = choose_executor("slurm:workers=2,cluster=slurm,every=0.5,partition=gpu", galleries=True)
    table = choose_executor(
        {"name": "slurm", "workers": 2, "cluster": "slurm", "every": 0.5, "partition": "gpu"}, galleries=True
    )
    assert read_settings(text.options) == read_settings(table.options)
    assert read_settings(text.options) == Settings(2, "slurm", every=0.5, sbatch={"partition": "gpu"})


def test_options_that_do_nothing_in_processes_here_are_told(monkeypatch):
    monkeypatch.setattr(arrays, "_check_here", lambda settings: None)
    given = {"workers": 2, "cluster": "local", "time": 90, "nope": 1, "partition": "gpu"}
    with pytest.warns(FeatvisWarning, match=r"^cluster 'local' does nothing with nope, partition; "):
        read_settings(given)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_settings({**given, "cluster": "slurm"})
        read_settings({"workers": 2, "cluster": "local", "time": 90, "gpus_per_node": 1})
    with pytest.raises(RecipeError, match="gpus-per-node is a whole number"):
        read_settings({"workers": 2, "cluster": "local", "gpus_per_node": "a100:1"})


@pytest.mark.parametrize(
    ("of", "count", "jobs", "said"),
    [
        ("local", 1, ["7"], "process 7 is"),
        ("local", 2, ["7", "8"], "processes 7, 8 are"),
        ("local", 9, list("123456789"), "processes 1, 2, 3, 4, 5, 6, 7, 8 … are"),
        ("local", 2, [], "processes of array 0a1b2c3d are"),
        ("slurm", 1, ["7_0"], "job 7 is"),
        ("slurm", 2, ["7_0", "7_1"], "job 7 is"),
        ("slurm", 2, [], "job featvis-0a1b2c3d is"),
    ],
)
def test_one_job_and_several_are_told_in_words_that_fit(of, count, jobs, said):
    assert Array("0a1b2c3d", of, count, 0.0, jobs=jobs).said == said


def test_a_process_is_known_by_its_folder_and_not_by_its_number(tmp_path, monkeypatch):
    """Numbers are given again, and are those of one machine."""
    logs, other = tmp_path / "jobs", tmp_path / "other"
    for place in (logs, other):
        place.mkdir()
    nap = [sys.executable, "-c", "import time; time.sleep(60)", "submitit.local._local"]
    processes = [subprocess.Popen([*nap, place]) for place in (logs, other)]
    jobs = [str(one.pid) for one in processes] + [str(os.getpid())]
    array = Array("0a1b2c3d", "local", 3, 0.0, jobs=jobs, host=this_host(), logs=logs)
    try:
        end = time.monotonic() + 10
        while array.seen() != 1 and time.monotonic() < end:
            time.sleep(0.01)  # it is a copy of this process for a moment
        assert (array.seen(), array.at_work()) == (1, (1, 0))
        assert replace(array, host="another").seen() is None
        assert replace(array, host="another").at_work() is None
        array.cancel()
        processes[0].wait(10)
        assert (array.seen(), array.at_work(), array.cancelled) == (0, None, True)
        assert processes[1].poll() is None
        assert replace(array, host="another").seen() == 0, "it was cancelled"
    finally:
        for one in processes:
            one.kill()
            one.wait()


def test_processes_here_say_nothing_on_the_terminal(tmp_path, capfd):
    """And its Ctrl-C does not reach them, which would end them twice."""
    local = pytest.importorskip("submitit.local.local", reason="submitit is not installed")
    code = "import os, sys; print(os.getsid(0) == os.getpid()); sys.exit('KeyboardInterrupt')"
    with arrays._apart(tmp_path / "jobs"):
        local.subprocess.Popen([sys.executable, "-c", code]).wait()
    assert local.subprocess is subprocess
    assert capfd.readouterr() == ("", "")
    assert (tmp_path / "jobs" / "processes.err").read_text().split() == ["True", "KeyboardInterrupt"]


def test_processes_that_are_begun_end_with_a_ctrl_c_while_others_are(tmp_path):
    local = pytest.importorskip("submitit.local.local", reason="submitit is not installed")
    begun = []

    def begin():
        with arrays._apart(tmp_path / "jobs"):
            begun.append(local.subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        begin()
    assert begun[0].wait(10) != 0
    assert local.subprocess is subprocess


ONE_LINE = [
    (["--executor", "slurm"], "--workers 8"),
    (["--executor", "slurm", "--workers", "2"], "no sbatch on this machine"),
    (["--executor", "slurm", "--workers", "2", "--shard", "1/2"], "give --shard or --executor slurm"),
    (["--workers", "2"], "--workers is an option of --executor slurm"),
    (["--slurm-partition", "gpu"], "--partition is an option of --executor slurm"),
    (["--detach"], "--detach is an option of --executor slurm"),
    (["--executor", "slurm", "--workers", "2", "--slurm-cluster", "moon"], "unknown cluster 'moon'"),
]


@pytest.mark.parametrize(("typed", "said"), ONE_LINE)
def test_what_cannot_be_submitted_is_one_line(typed, said, monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    config = write_config(tmp_path, UNITS)
    assert main(["gallery", "build", str(config), "--out", str(tmp_path / "out"), *typed]) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("featvis:")]
    assert len(lines) == 1
    assert said in lines[0]
    assert not (tmp_path / "out").exists()


def test_a_cluster_that_does_not_answer_is_one_line(monkeypatch, tmp_path):
    for tool in ("sbatch", "srun", "squeue", "scancel"):
        (tmp_path / tool).write_text(
            "#!/bin/sh\necho 'error: Unable to contact\nslurm controller' >&2; exit 1\n"
        )
        (tmp_path / tool).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(OutputError, match=r"^squeue: error: Unable to contact slurm controller$"):
        read_settings({"workers": 2})


def test_a_folder_of_other_shards_is_refused_before_anything_is_submitted(tmp_path, monkeypatch):
    config = write_config(tmp_path, section(["conv1:0:4"]), RECIPE.replace("steps = 3", "steps = 1"))
    fv.build_gallery(config, out=tmp_path / "out", shard=(1, 2))
    write_config(tmp_path, section(["conv1:0:3"]), RECIPE.replace("steps = 3", "steps = 1"))
    monkeypatch.setattr(cluster, "submit", lambda *_: pytest.fail("it was submitted"))
    options = {"workers": 2, "cluster": "local"}
    with pytest.raises(OutputError, match=r"shards of another config or network; .*fv\.merge_gallery"):
        fv.build_gallery(config, out=tmp_path / "out", executor="slurm", executor_options=options)


def test_why_jobs_make_nothing_is_told(tmp_path, monkeypatch):
    """They run here, in this process, with another torch than that of who submitted them."""
    config = write_config(tmp_path, section(["conv1:0:4"]))

    def run(array, tasks, settings, logs):
        logs.mkdir()
        array.jobs = ["1"] * len(tasks)
        place = os.getcwd()
        for task in tasks:
            replace(task, torch="1.0")()
        os.chdir(place)

    monkeypatch.setattr(cluster, "submit", run)
    options = {"workers": 2, "cluster": "local", "every": 0.01}
    with pytest.raises(OutputError, match=r"4 pictures cannot be made: the job.s environment has torch"):
        fv.build_gallery(config, out=tmp_path / "out", executor="slurm", executor_options=options)


def test_single_pictures_are_not_submitted(tmp_path, capsys):
    assert main(["render", "classifier:1", "--executor", "slurm", "--out", str(tmp_path / "out")]) == 2
    assert "'slurm' renders whole galleries: featvis gallery build CONFIG" in capsys.readouterr().err
    with pytest.raises(RecipeError, match=r"fv\.build_gallery\(…, executor='slurm'\)"):
        fv.render("efficientnet_lite0", "classifier:1", executor="slurm")


def test_without_submitit_the_line_says_what_to_install(monkeypatch):
    monkeypatch.setattr(arrays.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(RecipeError, match=r"pip install 'featvis\[slurm\]'"):
        read_settings({"workers": 2, "cluster": "local"})


FEW = section(["conv1:3:8"], title="One") + section(["odd:2"])  # of which one is dead, and one fails
BRIEF = RECIPE.replace("steps = 3", "steps = 1")


@pytest.fixture
def submitted(monkeypatch):
    """The tasks of each array, which nobody runs."""
    arrays_of_tasks = []

    def keep(array, tasks, *_):
        array.jobs = [f"7_{place}" for place in range(len(tasks))]
        arrays_of_tasks.append(list(tasks))

    monkeypatch.setattr(cluster, "submit", keep)
    monkeypatch.setattr(cluster.Array, "at_work", lambda self: None)
    return arrays_of_tasks


def detached(config, out, workers=2, **told):
    options = {"workers": workers, "cluster": "local", "detach": True}
    return fv.build_gallery(config, out=out, executor="slurm", executor_options=options, **told)


def same_but_for_logs(out, whole):
    """Whether a folder is as another; the logs of jobs that nobody waited for may lie in it."""
    logs = out / ".featvis" / "jobs"
    assert {path.name for path in (out / ".featvis").glob("*")} <= {"jobs"}
    for path in logs.glob("*"):
        path.unlink()
    if logs.parent.exists():
        logs.rmdir()
        logs.parent.rmdir()
    return same(out, whole)


@pytest.mark.slow
def test_the_last_task_of_an_array_makes_the_pages(tmp_path, submitted, monkeypatch):
    """With what was asked when it was submitted: photographs, and that old pictures go."""
    photographs = tmp_path / "photographs"
    photographs.mkdir()
    Image.effect_noise((40, 30), 90).convert("RGB").save(photographs / "noise.png")
    config, out, whole = (
        write_config(tmp_path, section(["fc:1"]), BRIEF),
        tmp_path / "out",
        tmp_path / "whole",
    )
    fv.build_gallery(config, out=whole)
    fv.build_gallery(config, out=out)
    write_config(tmp_path, FEW, BRIEF)
    told = detached(config, out, workers=3, prune=True, examples=photographs)
    assert (told.submitted, told.missing, told.rendered) == ("processes 7_0, 7_1, 7_2", 6, 0)
    (tasks,) = submitted
    monkeypatch.chdir(tmp_path.parent)  # where a job begins is not where it was submitted
    assert tasks[2]() == tasks[0]() == ""
    assert not (out / "conv1" / "grid.png").exists()
    assert read_array(out).ended == [3, 1]
    assert (out / "fc" / "0001.png").exists()
    assert tasks[1]() == ""
    assert read_array(out) is None
    assert not (out / "fc" / "0001.png").exists()
    fv.build_gallery(config, out=whole, examples=photographs, prune=True)
    assert same_but_for_logs(out, whole)
    assert tasks[1]() == "", "once more changes nothing"
    assert pngs(out) == pngs(whole)


def test_who_submitted_them_makes_the_pages_where_all_have_ended(tmp_path, submitted, monkeypatch):
    config, out, whole = write_config(tmp_path, FEW, BRIEF), tmp_path / "out", tmp_path / "whole"

    def at_once(array, tasks, *_):
        assert [task() for task in tasks] == [""] * 2
        assert not (out / "index.html").exists(), "who submits is there still"
        array.jobs = ["1", "2"]

    monkeypatch.setattr(cluster, "submit", at_once)
    told = detached(config, out)
    assert (told.submitted, told.missing, told.rendered, list(told.failed)) == ("", 0, 4, ["odd:2"])
    fv.build_gallery(config, out=whole)
    assert same_but_for_logs(out, whole)


@pytest.mark.slow
def test_tasks_make_no_pages_where_one_was_lost_or_somebody_waits(tmp_path, submitted):
    config, out, whole = write_config(tmp_path, FEW, BRIEF), tmp_path / "out", tmp_path / "whole"
    detached(config, out, workers=3)
    assert [task() for task in submitted[0][:2]] == ["", ""]
    assert not (out / "index.html").exists()
    detached(
        config, out, workers=3
    )  # as many as there is work for: of a lost task's lanes, or what has failed
    again = submitted[1]
    assert [task() for task in again[:-1]] == [""] * (len(again) - 1)
    with cluster.hold_driver(out):
        assert again[-1]() == ""
    assert not (out / "index.html").exists(), "who waits makes them"
    assert read_array(out).ended == list(range(1, len(again) + 1))
    assert submitted[0][2]() == "", "one of an earlier array"
    assert not (out / "index.html").exists()
    assert again[0]() == "", "a job that begins again, since it was ended before it had made the pages"
    fv.build_gallery(config, out=whole)
    assert same_but_for_logs(out, whole)


@pytest.mark.slow
def test_a_task_that_never_finishes_a_picture_ends(tmp_path, submitted, monkeypatch):
    """Else a time limit that is too short for one lets it begin a thousand times."""
    config, out = write_config(tmp_path, section(["conv1:6:8"]), BRIEF), tmp_path / "out"
    detached(config, out, workers=1)
    ((task,),) = submitted
    monkeypatch.setattr(cluster, "_TRIES", 3)

    def stop(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(building, "compute", stop)
        for _ in range(3):
            with pytest.raises(KeyboardInterrupt):
                task()
    said = task()
    assert said == (
        "a job has begun 3 times without finishing a picture; give the jobs more time: --slurm time=4:00:00"
    )
    assert pngs(out) == {}
    # One that finishes a picture now and then may begin as often as it likes.
    detached(config, out, workers=1)
    task = submitted[1][0]
    real = building.compute

    def stop_after_one(wanted, *args, **told):
        yield next(real(wanted, *args, **told))
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        for compute in [stop] * 2 + [stop_after_one] + [stop] * 2:
            patched.setattr(building, "compute", compute)
            with pytest.raises(KeyboardInterrupt):
                task()
    assert task() == ""
    assert len(pngs(out)) == 2


@pytest.mark.slow
def test_a_task_that_cannot_begin_has_ended_too(tmp_path, submitted):
    config, out = write_config(tmp_path, FEW, BRIEF), tmp_path / "out"
    detached(config, out)
    first, second = submitted[0]
    assert first() == ""
    assert "it was submitted with 0.0.0" in replace(second, featvis="0.0.0")()
    merged = json.loads((out / "manifest.json").read_text())
    assert 0 < len(merged["pictures"]) < 6, "the pages of what there is"
    assert (out / "index.html").exists()
    (told,) = (out / ".featvis" / "jobs").glob("*.txt")
    assert "it was submitted with 0.0.0" in told.read_text()
    detached(config, tmp_path / "other")
    first, second = submitted[1]
    assert first() == ""
    write_config(tmp_path, FEW, BRIEF.replace("steps = 1", "steps = 2"))
    assert "was changed after the jobs were submitted" in second()
    assert not (tmp_path / "other" / "index.html").exists()


def test_what_was_under_way_is_not_told_as_made(tmp_path, submitted, capsys):
    config, out = write_config(tmp_path, section(["conv1:6:9"]), BRIEF), tmp_path / "out"
    detached(config, out, workers=1)
    with cluster.hold_driver(out):
        assert submitted[0][0]() == ""
    (journal,) = (out / ".featvis").glob("task-*.jsonl")
    *before, last = journal.read_text().splitlines(keepends=True)
    assert '"status": "ok"' in last
    journal.write_text("".join([*before, last.replace('"status": "ok"', '"status": "stopped"')]))
    told = read_status(out)
    assert (told.done, told.missing, [one.done for one in told.shards]) == (2, 1, [2])
    assert (told.jobs, told.jobs_at_work) == ("1 job (process 7_0)", 0)
    assert main(["gallery", "status", str(out)]) == 0
    said = capsys.readouterr().out
    assert "submitted: 1 job (process 7_0); none is at work any more" in said
    assert "ended, 2 made of 3 pictures" in said
    (out / json.loads(last)["entry"]["file"]).unlink()
    detached(config, out, workers=1)
    write_array(out, replace(read_array(out), host="another"))
    assert main(["gallery", "status", str(out)]) == 0
    assert "submitted: 1 job (process 7_0); none has begun\n" in capsys.readouterr().out, "of these jobs"


@pytest.mark.parametrize("where", ["_left", "_wait", "_problems"])
def test_ctrl_c_at_any_moment_cancels_the_jobs(tmp_path, submitted, monkeypatch, where):
    config, out = write_config(tmp_path, section(["conv1:6:9"]), BRIEF), tmp_path / "out"
    cancelled = []
    monkeypatch.setattr(cluster.Array, "at_work", lambda self: None if cancelled else (1, 0))
    monkeypatch.setattr(cluster.Array, "cancel", lambda self: cancelled.append(self.name))

    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(cluster._Driver, "_wait", lambda *_: None)
    monkeypatch.setattr(cluster._Driver, where, stop)
    options = {"workers": 1, "cluster": "local", "every": 0.01}
    with pytest.raises(KeyboardInterrupt):
        fv.build_gallery(config, out=out, executor="slurm", executor_options=options)
    assert cancelled == [read_array(out).name]


def test_what_failed_before_is_waited_for(tmp_path, submitted, monkeypatch):
    """Else it is submitted a second time before the job has begun."""
    config, out = write_config(tmp_path, FEW, BRIEF), tmp_path / "out"
    detached(config, out, workers=1)
    with cluster.hold_driver(out):
        assert submitted[0][0]() == ""
    (journal,) = (out / ".featvis").glob("task-*.jsonl")
    journal.write_text(re.sub(r'"at": [\d.]+', '"at": 1.0', journal.read_text()))
    looks = iter([(0, 1), (0, 1), (0, 1)])

    def at_work(self):
        state = next(looks, None)
        if state is None and not self.ended:
            self.ended = [1]
            submitted[-1][0]()
        return state

    monkeypatch.setattr(cluster.Array, "at_work", at_work)
    options = {"workers": 1, "cluster": "local", "every": 0.01}
    told = fv.build_gallery(config, out=out, executor="slurm", executor_options=options)
    assert len(submitted) == 2
    assert list(told.failed) == ["odd:2"]


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    return write_config(tmp_path_factory.mktemp("cluster"), UNITS, SLOW)


@pytest.fixture(scope="module")
def whole(config):
    fv.build_gallery(config, out=config.parent / "whole")
    return config.parent / "whole"


@pytest.mark.cluster
def test_eight_shards_at_once_of_which_some_are_killed(tmp_path):
    write_config(tmp_path, UNITS, SLOW)
    told = subprocess.run(
        [sys.executable, "-m", "tests.galleries.sharded", str(tmp_path), "8", "12", "1"],
        cwd=REPOSITORY,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode == 0, told.stderr
    seen = json.loads(told.stdout)
    assert (seen["killed"], seen["ended"], seen["last"]) == (12, [0] * 8, 0)
    assert set(seen["merged"]) <= {0, 2}, "2: nothing was there yet"
    assert same(tmp_path / "shards", tmp_path / "whole")
    assert strays(tmp_path / "shards") == []


class Driver:
    """The command that submits and waits, as a process."""

    def __init__(self, config, out, *typed, environment=ENVIRONMENT):
        self.out, self.log = out, config.parent / f"{out.name}-{time.monotonic_ns()}.log"
        command = [sys.executable, "-m", "featvis", "gallery", "build", str(config), "--out", str(out)]
        command += ["--executor", "slurm", "--slurm-every", "1", *typed]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)

    def said(self):
        return self.log.read_text("utf-8")

    def until(self, is_so):
        """Wait for something; what the command says is in the error if it does not come."""
        end = time.monotonic() + PATIENCE
        while not is_so():
            assert time.monotonic() < end, self.said()
            assert self.process.poll() is None, self.said()
            time.sleep(0.05)
        return self

    def until_some_are_made(self, tasks=2):
        """Wait until so many tasks are at work and have made something."""
        return self.until(lambda: sum(made(one) > 0 for one in held(self.out)) >= tasks)

    def end(self, code=0):
        try:
            assert self.process.wait(PATIENCE) == code, self.said()
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise AssertionError(self.said()) from None
        return self.said()

    def kill(self, signal_number=signal.SIGKILL):
        self.process.send_signal(signal_number)
        return self.process.wait(PATIENCE)


def held(out):
    return [one for one in members(out) if one.name.startswith("task-") and one.is_held()]


def made(member):
    journal = member.path.with_suffix(".jsonl")
    return journal.read_bytes().count(b'"entry"') if journal.exists() else 0


def signaled(member, number):
    os.kill(int(member.path.read_text().split()[0]), number)


@pytest.mark.cluster
def test_jobs_on_this_machine(config, whole, tmp_path):
    """Interrupted, gone on with; a job killed, then its driver; gone on with: nothing is lost."""
    pytest.importorskip("submitit", reason="submitit is not installed")
    out, local = tmp_path / "out", ("--workers", "3", "--slurm-cluster", "local")
    first = Driver(config, out, *local).until_some_are_made()
    assert first.kill(signal.SIGINT) == 130
    assert "are cancelled" in first.said()
    assert "Traceback" not in first.said()
    assert read_status(out).jobs_at_work == 0
    assert "the same command goes on from there" in first.said()
    # Those that were under way lie there as they stood, and are made whole.
    before = {name: png for name, png in pngs(out).items() if fv.load_picture(out / name).status == "ok"}
    assert before
    second = Driver(config, out, *local).until_some_are_made()
    assert read_array(out).count == 3
    one, other = held(out)[:2]
    signaled(other, signal.SIGSTOP)  # so that it is at work still when the driver comes again
    signaled(one, signal.SIGKILL)
    second.kill()
    third = Driver(config, out, *local)
    third.until(lambda: "at work in this folder already; nothing more is submitted" in third.said())
    signaled(other, signal.SIGCONT)
    assert " pictures in " in third.end(), "what the one that was killed left is submitted again"
    assert same(out, whole)
    assert {name: pngs(out)[name] for name in before} == before


@pytest.mark.cluster
def test_jobs_that_nobody_waits_for(config, whole, tmp_path):
    """The last of them makes the pages; logs are kept, as nobody has seen them."""
    pytest.importorskip("submitit", reason="submitit is not installed")
    out = tmp_path / "out"
    said = Driver(config, out, "--workers", "3", "--slurm-cluster", "local", "--detach").end()
    assert "the last to end makes the pages" in said
    assert not (out / "index.html").exists()

    def logs(kind):
        return "".join(path.read_text() for path in out.glob(f".featvis/jobs/*.{kind}"))

    end = time.monotonic() + PATIENCE
    while "the pages of 40 pictures are made" not in logs("out"):
        assert time.monotonic() < end, logs("err")
        time.sleep(0.2)
    assert logs("out").count("are made") == 1
    assert read_array(out) is None
    assert same_but_for_logs(out, whole)


@pytest.mark.cluster
def test_a_job_at_its_time_limit_begins_again_by_itself(config, whole, tmp_path):
    """The signal that Slurm sends before the end of a job's time, and before it preempts one."""
    pytest.importorskip("submitit", reason="submitit is not installed")
    out = tmp_path / "out"
    driver = Driver(config, out, "--workers", "2", "--slurm-cluster", "local").until_some_are_made(1)
    one = next(member for member in held(out) if made(member))
    process, before = one.path.read_text(), pngs(out)
    signaled(one, signal.SIGUSR2)
    driver.until(lambda: one.is_held() and one.path.read_text() not in ("", process))
    assert "submitted again" not in driver.end()
    assert same(out, whole)
    whole_before = [name for name, png in before.items() if png == pngs(whole).get(name)]
    assert whole_before
    assert [pngs(out)[name] for name in whole_before] == [before[name] for name in whole_before]


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    pytest.importorskip("submitit", reason="submitit is not installed")
    if why := lacks():
        pytest.skip(why)
    try:
        cluster = Cluster(tmp_path_factory.mktemp("slurm")).__enter__()
    except (RuntimeError, OSError) as error:
        pytest.skip(f"no Slurm cluster starts here: {error}")
    yield cluster
    cluster.__exit__()


@pytest.mark.cluster
def test_an_array_on_slurm(config, whole, tmp_path, slurm):
    """Of four jobs one is killed and one preempted; the driver is killed and started again."""
    out = tmp_path / "out"
    environment = {**slurm.environment, **ENVIRONMENT, "PATH": slurm.environment["PATH"]}
    first = Driver(config, out, "--workers", "4", environment=environment).until_some_are_made()
    array = read_array(out)
    assert len(array.jobs) == 4
    one, other = held(out)[:2]
    signaled(one, signal.SIGKILL)
    first.kill()
    number = int(other.name.split("-")[1]) - 1
    slurm.ask("scontrol", "requeue", array.jobs[number])  # it waits a while before it begins again
    second = Driver(config, out, "--workers", "4", environment=environment)
    said = second.end()
    assert f"job {array.jobs[0].split('_')[0]} is at work in this folder already" in said
    assert " pictures in " in said, "what the one that was killed left is submitted again"
    log = slurm.place / "slurmctld.log"
    assert "Requeuing JobId" in log.read_text(errors="replace")
    assert same(out, whole)


@pytest.mark.cluster
def test_a_time_limit_on_slurm_where_nobody_waits(tmp_path, slurm):
    """Jobs of a minute, for work of two: each begins again by itself, and the last one makes the pages."""
    place, out = tmp_path / "napping", tmp_path / "napping" / "out"
    config = write_config(place, section(["conv1:6:14"]), RECIPE.replace("steps = 3", "steps = 20"))
    network, nap = place / "net.py", "        time.sleep(float(os.environ.get('NAP', 0)))\n"
    text = network.read_text().replace("import torch\n", "import os\nimport time\n\nimport torch\n", 1)
    network.write_text(text.replace("        maps = self.conv2", f"{nap}        maps = self.conv2"))
    fv.build_gallery(config, out=place / "whole")
    environment = {**slurm.environment, **ENVIRONMENT, "PATH": slurm.environment["PATH"], "NAP": "0.4"}
    typed = ("--workers", "1", "--slurm", "time=1", "--detach")
    Driver(config, out, *typed, environment=environment).end()

    def logs(kind):
        return "".join(path.read_text() for path in out.glob(f".featvis/jobs/*.{kind}"))

    end = time.monotonic() + PATIENCE
    while "the pages of 8 pictures are made" not in logs("out"):
        assert time.monotonic() < end, logs("out") + logs("err") + slurm.ask("squeue") + str(pngs(out).keys())
        if not slurm.ask("squeue", "-h").strip() and "the pages of" not in logs("out"):
            # On a busy machine the signal came before the job had begun, which ends it.
            Driver(config, out, *typed, environment=environment).end()
        time.sleep(0.5)
    assert "Caught signal SIGUSR2" in logs("err")
    assert same_but_for_logs(out, place / "whole")


def guide(title):
    """The commands of a section of the guide, in their order."""
    text = (REPOSITORY / "gallery" / "guides" / "cluster.md").read_text("utf-8")
    (section_of,) = re.findall(rf"^## {title}\n(.*?)(?=^## |\Z)", text, re.M | re.S)
    shown = re.findall(r"^```sh\n(.*?)^```", section_of, re.M | re.S)
    lines = [line for text in shown for line in text.splitlines()]
    assert all(line.startswith("featvis ") for line in lines)
    return [shlex.split(line, comments=True)[1:] for line in lines]


def test_the_guide_s_commands_for_shards(tmp_path, monkeypatch, capsys):
    write_config(tmp_path, section(["conv1:0:5"]), RECIPE.replace("steps = 3", "steps = 1")).rename(
        tmp_path / "units.toml"
    )
    monkeypatch.chdir(tmp_path)
    assert [main(words) for words in guide("Shards")] == [0] * 5
    fv.build_gallery("units.toml", out="whole")
    assert same(tmp_path / "units", tmp_path / "whole")
    assert capsys.readouterr().out.count("this was shard") == 3


@pytest.mark.cluster
def test_the_guide_s_commands_for_slurm(tmp_path, slurm):
    write_config(tmp_path, section(["conv1:6:12"]), RECIPE).rename(tmp_path / "units.toml")
    environment = {**slurm.environment, **ENVIRONMENT, "PATH": slurm.environment["PATH"]}

    def run(words):
        command = [sys.executable, "-m", "featvis", *words]
        return subprocess.run(
            command,
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE,
        )

    first, second, third, fourth = map(run, guide("Slurm"))
    assert [one.returncode for one in (first, second, third, fourth)] == [0] * 4, (
        f"{first}{second}{third}{fourth}"
    )
    assert "6 pictures of 6 by job " in first.stdout
    assert "featvis gallery status units" in first.stdout
    assert "submitted: 3 jobs (job " in second.stdout
    assert "3 jobs (job" not in third.stderr, "those that were submitted are waited for"
    assert pngs(tmp_path / "units") == pngs(tmp_path / "tried")
    assert but_for_times(tmp_path / "units") == but_for_times(tmp_path / "tried")
    assert strays(tmp_path / "units") == []
    # The cluster says no, and why: the partition is none of its.
    elsewhere = ["other" if word == "units" else word for word in guide("Slurm")[0]]
    refused = run([*elsewhere, "--slurm", "partition=moon"])
    assert refused.returncode == 2
    assert "partition" in refused.stderr.splitlines()[-1].lower()
