"""Builds a gallery's shards in processes, some of them killed at random moments; says what it saw as JSON.

Run as a process of its own: torch is imported once, then each shard is a fork of it, before torch has
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
from featvis.galleries import merge as merging


def start(*command):
    child = os.fork()
    if child == 0:
        try:
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, 1)
            os.dup2(null, 2)
            os._exit(main(["gallery", *map(str, command)]))
        finally:
            os._exit(70)
    return child


def run_all(place, count, kills, seed):
    config, out = place / "planted.toml", place / "shards"
    assert building is not None
    assert merging is not None
    Image.init()
    chance = random.Random(seed)
    os.waitpid(start("build", config, "--out", place / "whole"), 0)

    def begin(number):
        return start("build", config, "--out", out, "--shard", f"{number}/{count}")

    alive = {begin(number): number for number in range(1, count + 1)}
    told = {"killed": 0, "ended": [], "merged": []}
    while alive:
        time.sleep(chance.uniform(0.05, 0.4))
        while alive:
            child, status = os.waitpid(-1, os.WNOHANG)
            if not child:
                break
            number, code = alive.pop(child), os.waitstatus_to_exitcode(status)
            if code == -signal.SIGKILL:
                alive[begin(number)] = number
            else:
                told["ended"].append(code)
        if alive and told["killed"] < kills:
            os.kill(chance.choice(sorted(alive)), signal.SIGKILL)
            told["killed"] += 1
            if told["killed"] % 5 == 0:  # what is there, while shards are at work
                status = os.waitpid(start("merge", out), 0)[1]
                told["merged"].append(os.waitstatus_to_exitcode(status))
    told["last"] = os.waitstatus_to_exitcode(os.waitpid(start("merge", out), 0)[1])
    print(json.dumps(told))


if __name__ == "__main__":
    run_all(Path(sys.argv[1]), *map(int, sys.argv[2:5]))
