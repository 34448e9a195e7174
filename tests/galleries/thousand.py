"""What a build costs the machine that hands it out, with a thousand workers that only pretend to compute.

    python -m tests.galleries.thousand [--pictures 100000] [--workers 1000] [--size 128] [--seconds 30]

Everything that this machine does is real: it plans, packs jobs, unpacks pictures, writes their files and the
manifest. The workers are one object on a clock of its own; the processor time that it takes is not counted.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import heapq
import io
import json
import os
import pickle
import random
import resource
import sys
import tempfile
import time
from collections import deque
from pathlib import Path
from unittest import mock

import cloudpickle
import numpy as np

import featvis as fv
from featvis.galleries import build as building
from featvis.results.picture import Picture
from featvis.run.candidates import keep_best
from featvis.run.executors.crew import Done, Ready, make_shares, share_out
from featvis.run.executors.parcels import Packer, Unpacker
from featvis.run.executors.worker import Outcome, versions

LAYER = 1000
"""Units of each layer."""
NET = f"""
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, layers):
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(2)
        self.layers = nn.ModuleList(nn.Conv2d(3, {LAYER}, 1) for _ in range(layers))

    def forward(self, images):
        small = self.pool(images)
        return torch.stack([layer(small).mean((2, 3)) for layer in self.layers]).sum(0)


def make(layers):
    return lambda: (Net(layers), {{"input_size": (64, 64)}})
"""


def write_config(place: Path, pictures: int, size: int) -> Path:
    """Write a config of so many pictures, one of each unit."""
    layers = -(-pictures // LAYER)
    targets = [f"layers.{layer}:0:{min(LAYER, pictures - layer * LAYER)}" for layer in range(layers)]
    (place / "net.py").write_text(NET + f"\n\nwide = make({layers})\n", "utf-8")
    config = place / "wide.toml"
    config.write_text(
        'model = "file:net.py:wide"\nmean = [0.5, 0.5, 0.5]\nstd = [0.5, 0.5, 0.5]\n'
        f"recipe = {{size = {size}, steps = 512, lanes = 1}}\n"
        f'sections = [{{title = "Units", targets = {json.dumps(targets)}}}]\n',
        "utf-8",
    )
    return config


def resident() -> int:
    """Return the bytes of memory that this process holds."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * resource.getpagesize()


class Pretended:
    """Workers that take a while and send a picture that looks like any other; each on the same clock."""

    def __init__(self, packer: Packer, size: int, seconds: float) -> None:
        self._packer, self._seconds = packer, seconds
        self._chance = random.Random(3)
        self._given: list[deque[bytes]] = []
        self._next: list[tuple[float, int]] = []
        self._clock = 0.0
        self._unpacker: Unpacker | None = None
        self._shown = [self._stub(size, seed) for seed in range(4)]
        self.spent = 0.0
        """Processor time that went into pretending."""

    @staticmethod
    def _stub(size: int, seed: int) -> tuple[np.ndarray, bytes]:
        coarse = np.random.default_rng(seed).normal(128, 60, (3, size // 4, size // 4))
        fine = np.random.default_rng(seed + 9).normal(0, 6, (3, size, size))
        levels = np.clip(coarse.repeat(4, 1).repeat(4, 2) + fine, 0, 255).astype(np.uint8)
        one = Picture(levels, "", 0, 0.0, 0.0, {}, "")
        one.encode()
        return one.encoded

    def start(self) -> int:
        worker = len(self._given)
        self._given.append(deque())
        heapq.heappush(self._next, (0.0, worker))
        return worker

    def give(self, worker: int, content: bytes) -> None:
        self._given[worker].append(content)
        if len(self._given[worker]) == 1:
            heapq.heappush(self._next, (self._clock + self._pause(), worker))

    def _pause(self) -> float:
        return self._seconds * self._chance.uniform(0.8, 1.2)

    def wait(self, seconds: float) -> list[Done | Ready]:
        began = time.process_time()
        self._clock, worker = heapq.heappop(self._next)
        if not self._given[worker]:
            event = Ready(worker, versions())
        else:
            event = Done(worker, self._compute(self._given[worker].popleft()))
            if self._given[worker]:
                heapq.heappush(self._next, (self._clock + self._pause(), worker))
        self.spent += time.process_time() - began
        return [event]

    def _compute(self, content: bytes) -> bytes:
        if self._unpacker is None:
            self._unpacker = Unpacker(self._packer.network, self._packer.networks[0].device)
        parcel, made = self._unpacker.job(content), []
        for item in parcel.wanted:
            encoded = self._chance.choice(self._shown)
            trace = [float(f"{self._chance.uniform(0, 9):.4g}") for _ in range(64)]
            told = {"layer": item.layer, "unit": item.unit, "label": item.label, "trace": trace}
            told |= {"seconds": self._pause(), "model": "wide", "weights": parcel.weights}
            key = item.key(parcel.weights)
            one = Picture(
                encoded[0], item.name, item.seed, trace[-1], trace[0], item.recipe.to_json(), key, **told
            )
            one.encoded = encoded
            made.append(one)
        return pickle.dumps(Outcome(made, [], []), 5)

    def stop(self) -> None:
        self._given.clear()


def simulate(place: Path, *, pictures: int, workers: int, size: int, seconds: float) -> dict[str, object]:
    """Build a gallery in ``place`` with workers that pretend; return what that took here."""
    config = write_config(place, pictures, size)
    told: dict[str, object] = {"pictures": pictures, "workers": workers, "MB": {}}
    memory: dict[int, float] = told["MB"]
    writing = [0.0, 0]

    def compute(wanted, model, weights, *, say=None, failed=None, crew=None, **_):
        if "ms" in told and not wanted:
            return
        packer = Packer(model, cloudpickle)
        cluster = Pretended(packer, size, seconds)
        began = time.process_time()
        pack = lambda job: packer.job(job, weights, goes_on=True)  # noqa: E731
        made = share_out(make_shares(wanted), cluster, pack, workers, say=say, failed=failed, crew=crew)
        looked = 0.0
        for number, picture in enumerate(keep_best(made)):
            if number % max(1, pictures // 10) == 0:
                look = time.process_time()
                memory[number] = round(resident() / 1e6, 1)
                looked += time.process_time() - look
            yield picture
        told["ms"] = 1e3 * (time.process_time() - began - cluster.spent - looked - writing[0]) / pictures
        memory[pictures] = round(resident() / 1e6, 1)

    real = building.GalleryFolder.write_manifest

    def write_manifest(self):
        began = time.process_time()
        path = real(self)
        told["manifest"] = time.process_time() - began
        if "begun" in told:
            writing[0] += time.process_time() - began
            writing[1] += 1
        told["begun"] = True
        return path

    def finish_build(request, folder, changed, result, **_):
        folder.write_manifest()
        return result

    with (
        mock.patch.object(building, "compute", compute),
        mock.patch.object(building.GalleryFolder, "write_manifest", write_manifest),
        mock.patch.object(building, "finish_build", finish_build),
        open(os.devnull, "w") as nowhere,
        contextlib.redirect_stderr(nowhere),
    ):
        began = time.perf_counter()
        result = fv.build_gallery(config, out=place / "out", progress=True)
        told["wall"] = time.perf_counter() - began
        again = time.process_time()
        told["again"] = fv.build_gallery(config, out=place / "out", progress=True).rendered
        told["start"] = time.process_time() - again
    told["rendered"] = result.rendered
    return told


def summary(told: dict[str, object], seconds: float) -> str:
    """Say what share of a core the driver takes, and with how many workers it would end."""
    # The manifest is written every 2 s, or after 20 times of what that takes.
    writes = min(told["manifest"] / (2 + told["manifest"]), 1 / 21)
    rate = told["workers"] / seconds
    share = rate * told["ms"] / 1e3 + writes
    end = (1 - writes) / (told["ms"] / 1e3)
    out = io.StringIO()
    first, *_, last = memory = list(told["MB"].items())
    grown = 1e3 * (last[1] - memory[1][1]) / max(1, last[0] - memory[1][0])
    print(f"{told['rendered']} pictures by {told['workers']} workers in {told['wall']:.0f} s", file=out)
    print(f"{told['ms']:.2f} ms of a core for each, {told['manifest']:.2f} s for the manifest", file=out)
    print(f"at {rate:.1f} pictures/s (one in {seconds:g} s each): {share:.1%} of a core", file=out)
    print(f"a whole core: {end:.0f} pictures/s, {end * seconds:.0f} workers", file=out)
    print(f"memory {first[1]:.0f} to {last[1]:.0f} MB, {grown:.2f} kB a picture: {told['MB']}", file=out)
    print(f"the next start: {told['start']:.1f} s of a core, {told['again']} made again", file=out)
    return out.getvalue()


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.galleries.thousand", description=__doc__)
    parser.add_argument("--pictures", type=int, default=100_000)
    parser.add_argument("--workers", type=int, default=1000)
    parser.add_argument("--size", type=int, default=128, help="of the pictures, in pixels")
    parser.add_argument("--seconds", type=float, default=30.0, help="that a worker takes for a picture")
    asked = vars(parser.parse_args(words))
    with tempfile.TemporaryDirectory(prefix="thousand-") as place:
        told = simulate(Path(place), **asked)
    sys.stdout.write(summary(told, asked["seconds"]))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
