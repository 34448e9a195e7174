"""What handing jobs of a second to workers costs, in processor time, beside two processes that need no hands.

    python -m tests.run.executors.overhead [--pairs 3] [--pictures 24] [--seconds 1]

Each pair is two processes that render half of the pictures each, then four Ray workers (of half a core each)
that render all. Where all cores are busy, the pictures a minute are as 1 to the processor time of a picture.
That, of all processes together, is compared pair by pair: other work on the machine changes it little.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


def processor_times() -> dict[int, float]:
    """Return the seconds that this process and each below it, if it is there still, have computed."""
    parents, spent = {}, {}
    for place in Path("/proc").glob("[0-9]*"):
        try:
            told = (place / "stat").read_text("utf-8", "replace").rpartition(")")[2].split()
        except OSError:
            continue
        parents[int(place.name)] = int(told[1])
        spent[int(place.name)] = sum(map(int, told[11:13])) / TICKS
    ours, added = {os.getpid()}, True
    while added:
        added = {one for one, parent in parents.items() if parent in ours} - ours
        ours |= added
    return {one: spent[one] for one in ours if one in spent}


def time_since(before: dict[int, float]) -> float:
    """Return the processor time since; of a process that ended meanwhile, an idle one of Ray's, none."""
    return sum(max(0.0, spent - before.get(one, 0.0)) for one, spent in processor_times().items())


def render(name: str, options: dict[str, float], first: int, count: int, steps: int) -> None:
    """Render some pictures and print what each took, once all workers are at work."""
    import torch

    from featvis.models.load import load_model
    from featvis.plan.make import make_plan
    from featvis.run.executors.register import choose_executor

    torch.manual_seed(0)
    layers = [torch.nn.Conv2d(3, 32, 3), torch.nn.ReLU(), torch.nn.Conv2d(32, 64, 3), torch.nn.ReLU()]
    network = torch.nn.Sequential(*layers)
    model = load_model(network, mean=(0.5,) * 3, std=(0.5,) * 3, input_size=96)
    targets = [f"2:{unit}" for unit in range(first, first + count)]
    plan = make_plan(model, targets, size=96, steps=steps, lanes=1)
    run = choose_executor(name, options).find()
    given = choose_executor(name, options).options
    skipped, made = max(1, count // 4), 0
    before, began, cpu, wall = dict[int, float](), 0.0, 0.0, 0.0
    for picture in run(plan.wanted, plan.model, plan.weights, **given):
        assert picture.status == "ok"
        made += 1
        if made == skipped:
            before, began = processor_times(), time.monotonic()
        elif made == count:  # while all workers are there
            cpu, wall = time_since(before), time.monotonic() - began
    print(json.dumps({"cpu": cpu / (made - skipped), "rate": (made - skipped) / wall}))


def start(name: str, options: dict[str, float], first: int, count: int, steps: int) -> subprocess.Popen[str]:
    told = json.dumps([name, options, first, count, steps])
    command = [sys.executable, "-m", "tests.run.executors.overhead", "--render", told]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


def end(*processes: subprocess.Popen[str]) -> list[dict[str, float]]:
    said = [process.communicate()[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * len(processes)
    return [json.loads(text.splitlines()[-1]) for text in said]


def steps_of(seconds: float) -> int:
    """Return how many steps take a worker so much processor time."""
    (told,) = end(start("local", {}, 0, 4, 40))
    return max(1, round(40 * seconds / told["cpu"]))


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.run.executors.overhead", description=__doc__)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--pictures", type=int, default=24)
    parser.add_argument("--seconds", type=float, default=1.0, help="of processor time that a picture takes")
    parser.add_argument("--render", type=json.loads, help=argparse.SUPPRESS)
    asked = parser.parse_args(words)
    if asked.render:
        render(*asked.render)
        return 0
    steps, half, shares = steps_of(asked.seconds), asked.pictures // 2, []
    for _ in range(asked.pairs):
        alone = end(*(start("local", {}, first, half, steps) for first in (0, half)))
        (shared,) = end(start("ray", {"workers": 4, "num_cpus": 0.5}, 0, 2 * half, steps))
        cpu = statistics.mean(one["cpu"] for one in alone)
        shares.append(cpu / shared["cpu"])
        rates = sum(one["rate"] for one in alone), shared["rate"]
        print(
            f"{cpu:.3f} s of a core for a picture alone, {shared['cpu']:.3f} s by Ray: {shares[-1]:.1%}; "
            f"by the clock {60 * rates[0]:.1f} and {60 * rates[1]:.1f} pictures a minute",
            flush=True,
        )
    print(f"four workers do {statistics.median(shares):.1%} of what two processes do (median)")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
