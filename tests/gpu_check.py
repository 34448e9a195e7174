"""The first quarter of an hour on a GPU: what never ran there is run, in order, within twelve minutes.

    python -m tests.gpu_check --out DIR [--minutes 12] [--device cuda]

Writes ``DIR/checks.jsonl``, a line for each finding as soon as it is there; exit code 0 if nothing failed.
On a machine without a GPU it runs on the CPU, small, with stand-ins for what records.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import featvis as fv
from featvis import devices
from featvis.engine import record, replay
from featvis.engine.record import CudaRecorder
from featvis.models.handle import ModelHandle
from featvis.run.bench import bench
from featvis.spec import register
from tests.contract.test_transforms import OPTIONS
from tests.engine.test_recorded_steps import NOT_REPLAYED, samples
from tests.networks import small
from tests.standin import StandIn, standing_in

Block = Callable[["Checks"], None]
BLOCKS: list[tuple[str, float, Block]] = []
"""Name, share of the time in seconds of twelve minutes, and what is done."""


def block(seconds: float) -> Callable[[Block], Block]:
    def enter(function: Block) -> Block:
        BLOCKS.append((function.__name__, seconds, function))
        return function

    return enter


class TimeIsUpError(Exception):
    """A block's share of the time is over."""


class Checks:
    """Where the findings go, and what is checked on what."""

    def __init__(self, out: Path, device: torch.device) -> None:
        self.out, self.device = out, device
        self.on_gpu = devices.is_gpu(device)
        self.failed: list[str] = []
        self.found: list[dict[str, Any]] = []
        self._block = ""

    def tell(self, what: str, *, ok: bool | None = None, **found: Any) -> None:
        """Write a finding; ``ok`` False counts as a failure."""
        line = {"block": self._block, "what": what, "ok": ok, **found}
        self.found.append(line)
        if ok is False:
            self.failed.append(f"{self._block}: {what}")
        with (self.out / "checks.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(line, default=str) + "\n")

    def run(self, name: str, seconds: float, function: Block) -> None:
        """Run a block within its share of the time; whatever happens the next one runs."""
        self._block = name
        began = time.perf_counter()
        try:
            with _clock(seconds), warnings.catch_warnings():
                warnings.simplefilter("default")
                function(self)
        except TimeIsUpError:
            self.tell("its share of the time was over", limit=seconds)
        except Exception as error:
            self.tell(
                "it raised",
                ok=False,
                error=f"{type(error).__name__}: {error}"[:400],
                trace=traceback.format_exc()[-1500:],
            )
        replay.forget_refusals()
        self.tell("done", seconds=round(time.perf_counter() - began, 2))

    def each(self, things: dict[str, Callable[[], dict[str, Any]]]) -> None:
        """Try each thing by itself; one that raises does not keep the others from being tried."""
        for name, thing in things.items():
            began = time.perf_counter()
            try:
                found = thing()
            except TimeIsUpError:
                raise
            except Exception as error:
                self.tell(
                    name,
                    ok=False,
                    error=f"{type(error).__name__}: {error}"[:400],
                    trace=traceback.format_exc()[-900:],
                )
                continue
            self.tell(name, **found, seconds=round(time.perf_counter() - began, 2))

    def lite(self) -> ModelHandle:
        """The embedded network on the device."""
        return fv.load_model(device=self.device)

    def tiny(self) -> ModelHandle:
        """The tests' own network on the device."""
        return small().copy(device=self.device)


def _told(error: Exception) -> dict[str, str]:
    return {"error": f"{type(error).__name__}: {error}"[:400], "trace": traceback.format_exc()[-1500:]}


@contextlib.contextmanager
def _clock(seconds: float) -> Iterator[None]:
    def over(*_: Any) -> None:
        raise TimeIsUpError

    before = signal.signal(signal.SIGALRM, over)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextlib.contextmanager
def plainly() -> Iterator[None]:
    """Have no step recorded."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("featvis.engine.lanes.recorder_for", lambda device: None)
        yield


def climb(model: ModelHandle, objective: Any, space: Any, **options: Any) -> dict[str, Any]:
    """Take steps twice, replayed and computed: how far apart they end, and what was refused."""
    replay.forget_refusals()

    def run() -> tuple[torch.Tensor, torch.Tensor, int]:
        steps = list(fv.ascend(model, objective, space, **options))
        scores = torch.stack([step.scores for step in steps]).double().cpu()
        return scores, steps[-1].images.double().cpu(), sum(step.replayed for step in steps)

    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        scores, images, replayed = run()
    with plainly():
        plain_scores, plain_images, _ = run()
    largest = float(plain_scores.abs().max().clamp(min=1e-12))
    return {
        "replayed": replayed,
        "of": len(scores),
        "score_difference": float((scores - plain_scores).abs().max()) / largest,
        "image_difference": float((images - plain_images).abs().max()),
        "refused": [str(one.message)[:200] for one in told],
        "finite": bool(scores.isfinite().all() and images.isfinite().all()),
    }


def sound(found: dict[str, Any], *, replays: bool = True, near: float = 1e-2) -> dict[str, Any]:
    """Say of what :func:`climb` found whether it is as it should be."""
    right = found["finite"] and found["score_difference"] <= near and (found["replayed"] > 0) == replays
    return {"ok": bool(right and (not found["refused"] or not replays)), **found}


SIZE = (48, 64)
SMALL = (17, 24)
SHORT: dict[str, Any] = {"steps": 12, "lanes": 2, "redirect_steps": 0}


@block(10)
def device(check: Checks) -> None:
    """What this is."""
    if check.on_gpu:
        smi = subprocess.run(["nvidia-smi"], capture_output=True, text=True, check=False, timeout=8)
        check.tell("nvidia-smi", text=smi.stdout[:3000])
    check.tell(
        "versions",
        torch=torch.__version__,
        device=devices.name_of(check.device),
        count=torch.cuda.device_count(),
        cudnn=torch.backends.cudnn.version(),
        python=sys.version.split()[0],
    )


@block(60)
def plain_against_replayed(check: Checks) -> None:
    """One run of the embedded network, and what the allocator keeps of its plain steps."""
    model = check.lite()
    options = {
        "steps": 24,
        "lanes": 4,
        "redirect_steps": 4,
        "transforms": [fv.Warp(scale=(0.5, 1.1), degrees=10, shift=0.1), fv.Noise(sd=(0.3, 0.02))],
    }
    space = fv.FourierImage(size=(64, 80))
    found = climb(model, fv.channel("blocks.2", 3), space, **options)
    check.tell("blocks.2", **sound(found))
    if check.on_gpu:
        reserved = [
            torch.cuda.memory_reserved(check.device)
            for _ in fv.ascend(model, fv.channel("blocks.2", 3), space, **{**options, "redirect_steps": 24})
        ]
        check.tell("reserved after each plain step", ok=reserved[-1] <= 1.5 * reserved[2], bytes=reserved)


@block(120)
def tests_marked_gpu(check: Checks) -> None:
    """The suite's own tests of a GPU."""
    if not check.on_gpu:
        check.tell("left out without a GPU")
        return
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-m",
        "gpu",
        "tests/test_gpu.py",
        f"--junitxml={check.out}/junit.xml",
    ]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=115)
    check.tell("pytest", ok=ran.returncode == 0, tail=ran.stdout[-3000:])


@block(150)
def every_part(check: Checks) -> None:
    """Twelve steps of each part: refused or not, and replayed as computed."""
    model = check.tiny()
    CudaRecorder.check_input_liveness = True  # whatever is freed too early raises
    try:
        unit = fv.channel("conv2", 1)
        things: dict[str, Callable[[], dict[str, Any]]] = {}
        for name in register.names("images"):
            space = register.make("images", {"name": name}, size=SMALL, channels=3)
            things[f"space {name}"] = lambda space=space: sound(climb(model, unit, space, **SHORT))
        for name in register.names("transforms"):
            transform = register.make("transforms", {"name": name, **OPTIONS.get(name, {})})
            options = {**SHORT, "transforms": [transform]}
            things[f"transform {name}"] = lambda name=name, options=options: sound(
                climb(model, unit, fv.FourierImage(size=SMALL), **options), replays=name not in NOT_REPLAYED
            )
        for name in register.names("objectives"):
            penalty = register.make("objectives", {"name": name}).beside(("fc",))
            space = fv.AlphaImage(size=SMALL) if name == "alpha" else fv.FourierImage(size=SMALL)
            things[f"penalty {name}"] = lambda penalty=penalty, space=space: sound(
                climb(model, fv.logit(1) - 0.3 * penalty, space, **SHORT)
            )
        for name, make in samples().items():
            things[f"objective {name}"] = lambda make=make: sound(
                climb(model, make(), fv.FourierImage(size=SMALL), transforms=[fv.Warp(jitter=2)], **SHORT)
            )
        for change in ({"optimizer": "nadam"}, {"precision": "bfloat16"}):
            things[f"option {change}"] = lambda change=change: sound(
                climb(model, unit, fv.FourierImage(size=SMALL), **SHORT, **change), near=5e-2
            )
        check.each(things)
    finally:
        CudaRecorder.check_input_liveness = False


@block(90)
def the_same_bytes_twice(check: Checks) -> None:
    """The same call twice: how many bytes of the pictures differ."""
    steps = 24 if check.on_gpu else 4
    size = 64

    def twice(model: ModelHandle, target: Any, **options: Any) -> dict[str, Any]:
        settings: dict[str, Any] = {"steps": steps, "lanes": 2, "size": size, **options}
        one, two = (fv.render(model, target, **settings) for _ in range(2))
        differing = sum(int((a.levels != b.levels).sum()) for a, b in zip(one, two, strict=True))
        return {"ok": differing == 0, "bytes_that_differ": differing, "of": sum(a.levels.size for a in one)}

    def of(name: str) -> ModelHandle:
        return fv.load_model(name, weights="none", device=check.device)

    things: dict[str, Callable[[], dict[str, Any]]] = {
        "lite0": lambda: twice(check.lite(), "blocks.3:0:2"),
        "lite0 averaged (canvas 128, seen 64)": lambda: twice(
            check.lite(), "blocks.3:0:2", size=128, input_size=64
        ),
        "lite0 bfloat16": lambda: twice(check.lite(), "blocks.3:0:2", precision="bfloat16"),
        "cppn": lambda: twice(check.lite(), "blocks.2:0:2", space="cppn"),
        "phase": lambda: twice(check.lite(), "blocks.2:0:2", space="phase"),
        "resnet18": lambda: twice(of("torchvision:resnet18"), "layer2:0:2"),
        "vgg16 at 96 (its pool is not 7x7)": lambda: twice(
            of("torchvision:vgg16"), "classifier.6:0:2", size=96
        ),
    }
    if check.on_gpu:
        things |= {
            "vit float32": lambda: twice(of("timm:vit_tiny_patch16_224"), "blocks.5:0:2", size=224),
            "vit bfloat16": lambda: twice(
                of("timm:vit_tiny_patch16_224"), "blocks.5:0:2", size=224, precision="bfloat16"
            ),
        }
    check.each(things)


@block(20)
def a_failed_capture(check: Checks) -> None:
    """A step that cannot be recorded, and what works afterwards."""
    model = check.tiny()

    @fv.objective(layers=["norm"])
    def waits(activations: Any) -> torch.Tensor:
        read = activations["norm"]
        return read.mean((1, 2, 3)) * (1 + 0 * float(read.detach().max()))

    found = climb(model, waits, fv.FourierImage(size=SMALL), **SHORT)
    check.tell("one that waits is refused before it is recorded", **sound(found, replays=False))
    with pytest.MonkeyPatch.context() as patch:
        # Nobody looks beforehand: the capture itself fails.
        patch.setattr(record.Watched, "_problem", lambda *_: None)
        found = climb(model, waits, fv.FourierImage(size=SMALL), **SHORT)
    check.tell("one that fails in the capture goes on plainly", **sound(found, replays=not check.on_gpu))
    torch.rand(8, device=check.device)
    devices.free(check.device)
    found = climb(model, fv.channel("conv2", 1), fv.FourierImage(size=SMALL), **SHORT)
    check.tell("random numbers, free memory and another recording after it", **sound(found))


@block(40)
def ways_of_a_run(check: Checks) -> None:
    """Whatever begins or ends a recording, or reads what it keeps."""
    model = check.tiny()
    space = fv.FourierImage(size=(40, 36))
    unit = fv.channel("conv2", 1)
    changes: dict[str, dict[str, Any]] = {
        "redirect_steps": {"redirect_steps": 4},
        "stages": {"stages": [[[20, 18], 0.5]], "steps": 24},
        "copies": {"copies": 2},
        "average": {"average": 0.9},
        "hold": {"hold": 3},
        "gradient_clip": {"gradient_clip": 0.1},
        "pool_gradients": {"pool_gradients": "l2"},
        "residual_gradients": {"residual_gradients": 0.5},
    }
    things: dict[str, Callable[[], dict[str, Any]]] = {
        name: (lambda change=change: sound(climb(model, unit, space, **{**SHORT, **change})))
        for name, change in changes.items()
    }

    def rendered(**options: Any) -> dict[str, Any]:
        settings: dict[str, Any] = {"size": SMALL, "steps": 16, "lanes": 2, "redirect_steps": 0, **options}
        replay.forget_refusals()
        pictures = fv.render(model, "norm:0:2", **settings)
        with plainly():
            plain = fv.render(model, "norm:0:2", **settings)
        apart = max(
            int(abs(a.levels.astype(int) - b.levels.astype(int)).max())
            for a, b in zip(pictures, plain, strict=True)
        )
        opaque = 0
        if options.get("transparency"):
            opaque = int(abs(pictures[0].transparency.astype(int) - plain[0].transparency.astype(int)).max())
        return {"ok": apart <= 3 and opaque <= 3, "levels_apart": apart, "opacity_apart": opaque}

    things |= {
        "transparency": lambda: rendered(transparency=True),
        "snapshots": lambda: rendered(snapshots=[4, 12]),
        "patience": lambda: rendered(patience=8),
    }
    check.each(things)


@block(30)
def two_threads(check: Checks) -> None:
    """Two workers on one device, each with a network of its own."""
    from featvis.plan.make import make_plan
    from featvis.run.executors.devices import spread
    from featvis.run.executors.local import local

    model = check.tiny()
    plan = make_plan(model, "norm:all", size=SMALL, steps=16, lanes=2, redirect_steps=0)
    alone = {one.target: one.png() for one in local(plan.wanted, model, plan.weights)}
    for turn in range(3):
        replay.forget_refusals()
        pair = [model, model.copy(device=check.device)]
        together = {one.target: one.png() for one in spread(plan.wanted, pair, plan.weights)}
        check.tell(
            f"turn {turn}", ok=together == alone, differing=sum(together[n] != alone[n] for n in alone)
        )


@block(120)
def times(check: Checks) -> None:
    """Milliseconds for a picture and step: computed, replayed, and the bare pass, itself recorded."""
    names = ["efficientnet_lite0", "torchvision:vgg16"] if check.on_gpu else ["efficientnet_lite0"]
    layers = {"efficientnet_lite0": "blocks.4", "torchvision:vgg16": "features.17"}
    size, rounds = (224, 12) if check.on_gpu else (48, 2)
    things: dict[str, Callable[[], dict[str, Any]]] = {}

    def timed(model: ModelHandle, layer: str, lanes: int, precision: str) -> dict[str, Any]:
        options: dict[str, Any] = {"rounds": rounds, "size": size, "lanes": lanes, "precision": precision}
        replayed = bench(model, layer, **options)
        with plainly():
            computed = bench(model, layer, **options)
        bare = _recorded_bare_pass(check, model, layer, lanes, size, precision)
        return {
            "replayed_ms": replayed.step_ms,
            "computed_ms": computed.step_ms,
            "bare_ms": replayed.bare_ms,
            "recorded_bare_ms": bare,
            "efficiency": None if bare is None else bare / replayed.step_ms,
            "peak_mb": replayed.peak_mb,
            "breakdown": replayed.breakdown,
        }

    for name in names:
        model = fv.load_model(name, weights=None if "lite" in name else "none", device=check.device)
        for precision in ("float32", "bfloat16") if check.on_gpu else ("float32",):
            for lanes in (1, 8, 64) if check.on_gpu else (1,):
                things[f"{name} {layers[name]} {lanes} lanes {precision}"] = (
                    lambda model=model, layer=layers[name], lanes=lanes, precision=precision: timed(
                        model, layer, lanes, precision
                    )
                )
    check.each(things)


def _recorded_bare_pass(
    check: Checks, model: ModelHandle, layer: str, lanes: int, size: int, precision: str
) -> float | None:
    if not check.on_gpu:
        return None
    images = torch.rand((lanes, model.channels, size, size), device=check.device)
    other = model.copy(device=check.device)
    with other.tap([layer], size=(size, size), precision=precision) as activations:
        shown = activations.prepare(images)
        leaf = shown.detach().requires_grad_()

        def take() -> None:
            (gradient,) = torch.autograd.grad(activations.read(leaf)[layer].float().sum(), leaf)
            kept[:] = [gradient]

        kept: list[torch.Tensor] = []
        recorder = CudaRecorder(check.device)
        with recorder.aside():
            for _ in range(3):
                take()
            graph = recorder.record(take)
            graph.replay()
            devices.wait(check.device)
            began = time.perf_counter()
            for _ in range(10):
                graph.replay()
            devices.wait(check.device)
        return (time.perf_counter() - began) * 100 / lanes


@block(40)
def folding(check: Checks) -> None:
    """Whether BatchNorms are folded, and how far outputs are apart in whole float32 and as they are."""
    size = (64, 80)

    def folded(name: str) -> dict[str, Any]:
        model = fv.load_model(name, weights=None if "lite" in name else "none", device=check.device)
        pairs = len(model._trusted_pairs())
        images = torch.rand((2, 3, *size), generator=torch.Generator().manual_seed(0)).to(check.device)
        layer = model.at(size).output_layer
        with torch.no_grad(), model.tap([layer], size=size) as activations:
            plain = activations(images)[layer]
            with devices.full_precision(check.device):
                whole = activations(images)[layer]
        apart = float((plain - whole).abs().max() / whole.abs().max().clamp(min=1e-12))
        return {"ok": pairs > 0, "pairs": pairs, "tf32_apart": apart}

    check.each(
        {name: (lambda name=name: folded(name)) for name in ("efficientnet_lite0", "torchvision:resnet18")}
    )


@block(40)
def no_wait(check: Checks) -> None:
    """Twenty replays under PyTorch's own watch for waits, and a trace of them."""
    model = check.lite()
    steps = fv.ascend(
        model,
        fv.channel("blocks.2", 3),
        fv.FourierImage(size=(64, 80)),
        transforms=[fv.Warp(scale=(0.5, 1.1), degrees=10, shift=0.1), fv.Noise(sd=(0.3, 0.02))],
        steps=40,
        lanes=4,
        redirect_steps=0,
    )
    for _ in range(6):
        next(steps)
    if not check.on_gpu:
        check.tell("replays", ok=all(next(steps).replayed for _ in range(20)))
        steps.close()
        return
    try:
        torch.cuda.set_sync_debug_mode("error")
        taken = [next(steps).replayed for _ in range(20)]
    finally:
        torch.cuda.set_sync_debug_mode("default")
    check.tell("replays", ok=all(taken))
    with torch.profiler.profile() as profile:
        next(steps)
        devices.wait(check.device)
    profile.export_chrome_trace(str(check.out / "replay.json"))
    check.tell("trace", file="replay.json", kernels=len(profile.events()))
    steps.close()


def main(arguments: list[str] | None = None) -> int:
    """Run the blocks in their order; return 1 if something failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.gpu_check", description=__doc__)
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--minutes", type=float, default=12.0)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--only", nargs="*", help="names of blocks")
    asked = parser.parse_args(arguments)
    asked.out.mkdir(parents=True, exist_ok=True)
    # A kernel that hangs lets no signal through: whatever happens, this ends.
    watchdog = threading.Timer(asked.minutes * 60, lambda: os._exit(3))
    watchdog.daemon = True
    watchdog.start()
    check = Checks(asked.out, torch.device(asked.device))
    whole = sum(seconds for _, seconds, _ in BLOCKS)
    stand_ins = contextlib.nullcontext() if check.on_gpu else standing_in(pytest.MonkeyPatch(), StandIn)
    with stand_ins:
        for name, seconds, function in BLOCKS:
            if not asked.only or name in asked.only:
                check.run(name, seconds * (asked.minutes * 60 - 5) / whole, function)
    watchdog.cancel()
    print(f"{len(check.found)} findings in {asked.out / 'checks.jsonl'}; {len(check.failed)} failed")
    for line in check.failed:
        print(f"  {line}")
    return 1 if check.failed else 0


if __name__ == "__main__":
    sys.exit(main())
