"""On a Ray cluster of three machines, processes here: the same bytes, whatever is taken away meanwhile."""

from __future__ import annotations

import json
import os
import random
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
import tomllib
import warnings
from collections import Counter
from pathlib import Path

import pytest

import featvis as fv
from featvis.plan.make import make_plan
from featvis.run.candidates import compute
from featvis.run.executors.register import choose_executor
from tests.documents import GUIDES, blocks, commands
from tests.networks import small

pytestmark = pytest.mark.cluster
REPOSITORY = Path(__file__).resolve().parents[3]
NETWORK = '''
import os, time, torch
from torch import nn


class Net(nn.Module):
    """It notes where it is told to, in each process that it is sent to, which jobs are begun there."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(3)
        self.conv, self.norm = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.last = nn.Conv2d(8, 200, 3)
        self.notes, self.pause = os.environ.get("NOTES"), float(os.environ.get("PAUSE", 0))

    def forward(self, images):
        time.sleep(self.pause)
        return self.last(torch.relu(self.norm(self.conv(images))))

    def __setstate__(self, state):
        super().__setstate__(state)
        from featvis.run.executors import local
        if self.notes is None or hasattr(local, "noted"):
            return
        import ray
        compute, node = local.run_job, ray.get_runtime_context().get_node_id()
        local.noted = True

        def noted(job, *rest):
            with open(self.notes, "a") as notes:
                notes.write(f"{os.getpid()} {node} {' '.join(item.name for item in job.wanted)}\\n")
            return compute(job, *rest)

        local.run_job = noted


def make():
    return Net(), {"mean": (0.5,) * 3, "std": (0.5,) * 3, "input_size": (16, 16)}
'''
CONFIG = """
model = "file:net.py:make"
recipe = {size = 16, steps = 3, lanes = 4, threads = 1}
sections = [{title = "Last", targets = ["last:UNITS"]}]
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """Three machines, one of them with the driver."""
    ray = pytest.importorskip("ray", reason="no Ray on this machine: pip install 'featvis[ray]'")
    from ray.cluster_utils import Cluster

    # jsonschema reads a grammar at its import, if it is there, which takes each of Ray's processes seconds.
    left_out = tmp_path_factory.mktemp("left-out")
    (left_out / "rfc3987_syntax.py").write_text("raise ImportError('left out')\n")
    places = [str(left_out), str(REPOSITORY), os.environ.get("PYTHONPATH", "")]
    before = dict(os.environ)
    os.environ |= {"PYTHONPATH": os.pathsep.join(filter(None, places)), "RAY_USAGE_STATS_ENABLED": "0"}
    made = None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for left in (2, 1, 0):  # on a busy machine Ray's processes wait too short for each other
            try:
                made = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, **QUIET})
                break
            except Exception:
                ray.shutdown()
                if not left:
                    raise
        for _ in range(2):
            add_node(made)
        yield made
        ray.shutdown()
        made.shutdown()
    os.environ.clear()
    os.environ |= before


QUIET = {"no_monitor": True, "include_log_monitor": False, "include_dashboard": False}


def add_node(cluster):
    for left in (2, 1, 0):
        try:
            cluster.add_node(num_cpus=2, include_log_monitor=False)
            return
        except Exception:
            if not left:
                raise


@pytest.fixture
def config(tmp_path):
    (tmp_path / "net.py").write_text(NETWORK)

    def write(units):
        path = tmp_path / "gallery.toml"
        path.write_text(CONFIG.replace("UNITS", units))
        return path

    return write


def pictures_of(folder):
    files = {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*.png")}
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["created"], manifest["gallery"]["command"]
    for entry in manifest["pictures"]:
        del entry["seconds"]
    return files, manifest


class Takes:
    """Kills workers and takes a machine away, at random moments, while pictures are made.

    Only of jobs that are begun for the first time: one that is hit twice would be taken for the reason.
    """

    def __init__(self, cluster, notes, kills):
        self.cluster, self.notes, self.kills = cluster, notes, kills
        self.killed, self.nodes_taken, self.chance = 0, 0, random.Random(4)
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.over = threading.Event()

    def begun(self):
        lines = self.notes.read_text().splitlines() if self.notes.exists() else []
        return [(int(pid), node, names) for pid, node, *names in map(str.split, lines)]

    def run(self):
        gone = set()
        while not self.over.is_set() and (self.killed < self.kills or not self.nodes_taken):
            time.sleep(self.chance.uniform(0.02, 0.6))
            begun = self.begun()
            counts = Counter(names[0] for _, _, names in begun)
            last = {pid: (node, names) for pid, node, names in begun if pid not in gone}
            may = [pid for pid, (_, names) in last.items() if counts[names[0]] == 1 and is_alive(pid)]
            if not may:
                continue
            pid = self.chance.choice(may)
            node = self.node(last[pid][0])
            if not self.nodes_taken and self.killed >= self.kills // 2 and node is not None:
                gone |= {other for other, (where, _) in last.items() if where == last[pid][0]}
                self.cluster.remove_node(node, allow_graceful=False)
                self.nodes_taken += 1
            elif self.killed < self.kills:
                gone.add(pid)
                os.kill(pid, signal.SIGKILL)
                self.killed += 1

    def node(self, name):
        return next((node for node in self.cluster.worker_nodes if node.node_id == name), None)


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True


def test_workers_and_a_machine_are_lost_and_the_folder_is_the_same(
    cluster, config, tmp_path, monkeypatch, capfd
):
    config = config("all")
    expected = fv.build_gallery(config, out=tmp_path / "here", executor="local", progress=False)
    assert expected.rendered == 200
    monkeypatch.setenv("NOTES", str(tmp_path / "notes"))
    monkeypatch.setenv("PAUSE", "0.05")
    takes = Takes(cluster, tmp_path / "notes", kills=10)
    takes.thread.start()
    try:
        result = fv.build_gallery(
            config,
            out=tmp_path / "there",
            executor="ray",
            executor_options={"workers": 3, "num_cpus": 2, "address": cluster.address},
            progress=True,
        )
    finally:
        takes.over.set()
        takes.thread.join()
    assert (takes.killed, takes.nodes_taken) == (10, 1)
    assert (result.rendered, result.failed) == (200, {})
    begun = Counter(name for _, _, names in takes.begun() for name in names)
    assert set(begun.values()) == {1, 2}, "nothing is rendered more than twice"
    assert pictures_of(tmp_path / "there") == pictures_of(tmp_path / "here")
    said = capfd.readouterr().err
    assert said.count("a worker was lost") >= 11
    assert "3 workers of a Ray cluster of 3 machines" in said


def test_a_job_that_always_takes_its_worker_with_it_has_failed_and_the_rest_is_done(cluster):
    @fv.objective(layers=["norm"])
    def deadly(activations):
        os.kill(os.getpid(), signal.SIGKILL)

    plan, told, said = make_plan(small(), ["norm:0:3", deadly], size=(17, 24), steps=2, threads=1), [], []
    made = compute(
        plan.wanted,
        plan.model,
        plan.weights,
        executor=f"ray:address={cluster.address},workers=1",
        say=said.append,
        failed=lambda one, why: told.append((one.name, why)),
    )
    here = compute(plan.wanted[:3], plan.model, plan.weights, executor="local")
    assert sorted(picture.png() for picture in made) == sorted(picture.png() for picture in here)
    ((name, why),) = told
    assert (name, "2 workers were lost with it: " in why) == ("deadly(norm)", True)
    assert sum(line.startswith("a worker was lost with 1 picture under way") for line in said) == 2


SCRIPT = """
import torch
from torch import nn
import featvis as fv


class Mine(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.first, self.conv = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3)

    def forward(self, images):
        return self.conv(self.first(images))


@fv.part("darker")
class Darker(fv.Transform):
    numbers = 0
    factor: float = 0.5

    def prepare(self, uniform, progress, canvas, shown_size):
        return uniform

    def apply(self, images, values, field, shown_size):
        return images * self.factor


power = 2.0


@fv.objective(layers=["conv"])
def brightest(activations):
    return activations["conv"].amax((1, 2, 3)) ** power


if __name__ == "__main__":
    model = fv.load_model(Mine(), mean=(0.5,) * 3, std=(0.5,) * 3, input_size=16)
    same = {"size": 16, "steps": 3, "threads": 1, "transforms": [Darker(factor=0.7)], "best_of": 2}
    there = fv.render(model, [brightest, "conv:all"], executor="ray:address=ADDRESS,workers=2", **same)
    here = fv.render(model, [brightest, "conv:all"], executor="local", **same)
    assert len(there) == 5
    assert [one.png() for one in there] == [one.png() for one in here]

    # Files by paths that are no workers' own, and a module that no recipe can hold.
    photographs = [torch.rand(3, 16, 24) for _ in range(4)]
    fv.image_statistics(photographs, size=16, out="colours.safetensors")
    fv.activation_statistics(model, photographs, out="layers.safetensors")
    made = fv.generator_image(nn.Sequential(nn.ConvTranspose2d(4, 3, 16), nn.Sigmoid()), (4, 1, 1))
    recipes = [
        {
            "space": {"name": "clipped", "inner": {"name": "fourier", "statistics": "colours.safetensors"}},
            "penalties": [{"name": "batchnorm", "weight": 1.0, "statistics": "layers.safetensors"}],
        },
        {"space": made},
    ]
    for fields in recipes:
        told = {"size": 16, "steps": 2, "threads": 1, "transforms": [], **fields}
        there = fv.render(model, "conv:0", executor="ray:address=ADDRESS,workers=1", **told)
        here = fv.render(model, "conv:0", executor="local", **told)
        assert there[0].png() == here[0].png()
    print("the same")
"""


def test_what_a_script_has_and_the_workers_have_not(cluster, tmp_path):
    """In a folder that the workers neither run in nor can import from."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.replace("ADDRESS", cluster.address))
    ran = subprocess.run([sys.executable, script], capture_output=True, text=True, cwd=tmp_path, timeout=300)
    assert ran.stdout.splitlines()[-1:] == ["the same"], ran.stderr


def test_ctrl_c_keeps_what_is_done_and_frees_the_workers(cluster, config, tmp_path):
    import ray

    environment = {**os.environ, "PAUSE": "0.3"}
    command = [sys.executable, "-m", "featvis", "gallery", "build", str(config("0:40")), "--out", "there"]
    command += ["--executor", f"ray:address={cluster.address},workers=2,num_cpus=2"]
    run = subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True)
    folder = tmp_path / "there"
    until = time.monotonic() + 120
    while not list(folder.glob("last/*.png")) and time.monotonic() < until:
        time.sleep(0.1)
    run.send_signal(signal.SIGINT)
    said = run.communicate(timeout=60)[1]
    assert run.returncode == 130, said
    assert "of 40 pictures are finished in there" in said
    done = len(list(folder.glob("last/*.png")))
    assert 0 < done < 40
    if not ray.is_initialized():
        ray.init(address=cluster.address, log_to_driver=False)
    until = time.monotonic() + 60
    while ray.available_resources().get("CPU") != ray.cluster_resources()["CPU"]:
        assert time.monotonic() < until, "the workers are not freed"
        time.sleep(0.2)
    try:
        again = fv.build_gallery(config("0:40"), out=folder, executor="ray:workers=2", progress=False)
    finally:
        ray.shutdown()
    assert (again.existing, again.rendered) == (done, 40 - done), "by the cluster that the process is in"
    fv.build_gallery(config("0:40"), out=tmp_path / "here", executor="local", progress=False)
    assert pictures_of(folder) == pictures_of(tmp_path / "here")


def test_the_commands_of_the_guide(cluster, config, tmp_path, monkeypatch):
    """Those on this machine as they are; the others on a cluster that has another name, and no GPU."""
    written = config("0:8")
    fv.build_gallery(written, out=tmp_path / "here", executor="local", progress=False)
    written.rename(tmp_path / "units.toml")
    monkeypatch.chdir(tmp_path)
    shown = [line for line in commands(GUIDES / "cluster.md") if "--executor ray" in line]
    builds = [shlex.split(line, comments=True)[1:] for line in shown if "gallery build" in line]
    assert len(builds) == 2
    for words in builds:
        words[-1] = words[-1].replace("=auto", f"={cluster.address}").replace("num_gpus=1", "num_cpus=1")
        command = [sys.executable, "-m", "featvis", *words]
        ran = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        assert ran.returncode == 0, ran.stderr
        out = ran.stdout
        assert out.startswith("8 pictures rendered in units"), "nothing else is said there"
        assert pictures_of(tmp_path / "units") == pictures_of(tmp_path / "here")
        shutil.rmtree("units")
    (table,) = [text for text in blocks(GUIDES / "cluster.md", "toml") if "ray" in text]
    chosen = choose_executor(tomllib.loads(table)["executor"])
    assert (chosen.name, dict(chosen.options)) == ("ray", {"address": "auto", "num_gpus": 1.0})
    told = (GUIDES / "cluster.md").read_text("utf-8")
    assert all(f"| `{option}` |" in told for option in chosen.entry.own)


def test_what_cannot_be_is_refused_in_one_line(cluster):
    cases = {
        "num_cpus=64": "no machine of the cluster has room for a worker with 64 CPUs and 0 GPUs",
        "num_gpus=1": "no machine of the cluster has room for a worker with 1 CPUs and 1 GPUs",
    }
    for option, why in cases.items():
        with pytest.raises(fv.RecipeError, match=why):
            fv.render(
                small(), "norm:0", executor=f"ray:address={cluster.address},{option}", size=17, threads=1
            )
