"""Builds a gallery again and again in processes that are killed at random moments; says what it saw as JSON.

Run as a process of its own: torch is imported once, then each build is a fork of it, before torch has
started any thread.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

from PIL import Image

from featvis.cli import main
from featvis.galleries import build as building
from featvis.galleries.folder import GalleryFolder
from featvis.run.executors import local


def run_child(config, out, log):
    """Build, and write down what is begun and what is finished."""
    os.setsid()
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)
    run, add = local.run_job, GalleryFolder.add

    def noted_run(job, *rest, **told):
        os.write(handle, "".join(f"start {one.name}\n" for one in job.wanted).encode())
        return run(job, *rest, **told)

    def noted_add(self, picture):
        path = add(self, picture)
        os.write(handle, f"finish {picture.target}\n".encode())
        return path

    local.run_job, GalleryFolder.add = noted_run, noted_add
    os._exit(main(["gallery", "build", str(config), "--out", str(out)]))


def start(config, out, log):
    child = os.fork()
    if child == 0:
        try:
            run_child(config, out, log)
        finally:
            os._exit(70)
    return child


def wait(child, seconds, enough=lambda: False):
    """Wait at most so long, or until there is enough; None if it has not ended."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and not enough():
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.0005)
    return None


def finished(log):
    """How many pictures a log says were finished."""
    return log.read_bytes().count(b"finish ") if log.exists() else 0


def inodes(out):
    return {path.as_posix(): path.stat().st_ino for path in out.glob("*/0*.png")}


def run_all(place, kills, seed):
    config, out = place / "planted.toml", place / "killed"
    assert building is not None
    Image.init()
    began = time.monotonic()
    first = start(config, place / "whole", place / "whole.log")
    log = place / "whole.log"
    while not log.exists() or not log.stat().st_size:  # until the first job is begun
        time.sleep(0.001)
    before = time.monotonic() - began
    code = wait(first, 120)
    rest = time.monotonic() - began - before
    chance = random.Random(seed)
    told = {
        "before": before,
        "rest": rest,
        "code": code,
        "ended": [],
        "killed_at": [],
        "replaced": [],
        "pictures": [],
    }
    known = {}
    while len(told["killed_at"]) < kills:
        # Some while the network is loaded, most once a few more pictures are made (told by their number, for
        # how fast they come differs by machine), the later ones while pages are.
        log = place / "killed.log"
        early, few = chance.random() < 0.2, finished(log) + chance.randint(1, 3)
        delay = chance.uniform(0, before) if early else before + chance.uniform(0.2, 1) * rest
        child = start(config, out, log)
        began = time.monotonic()
        ended = wait(child, delay, lambda few=few, log=log: finished(log) >= few)
        if ended is None and not early:
            ended = wait(child, chance.uniform(0, rest / 40))
        delay = time.monotonic() - began
        if ended is None:
            os.kill(child, signal.SIGKILL)
            ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if ended == -signal.SIGKILL:
            told["killed_at"].append(delay)
        else:
            told["ended"].append(ended)
            if len(told["ended"]) > 200:
                break
        now = inodes(out)
        told["replaced"] += [path for path in known if now.get(path) != known[path]]
        known = {**known, **now}
        told["pictures"].append(len(now))
    told["last"] = wait(start(config, out, log), 120)
    now = inodes(out)
    told["replaced"] += [path for path in known if now.get(path) != known[path]]
    print(json.dumps(told))


if __name__ == "__main__":
    run_all(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
