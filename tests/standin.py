"""What stands in for a GPU where there is none: recordings that compute, devices that hold no numbers."""

from __future__ import annotations

import importlib
import traceback
from contextlib import contextmanager, nullcontext

import torch

from featvis import devices
from featvis.engine import lanes, replay
from featvis.engine.record import Watched
from featvis.engine.replay import Replaying


class Played:
    """Replays by computing the recorded step again, which reads its number where a device would."""

    def __init__(self, take, recorder):
        self._take, self._recorder = take, recorder
        self.was_reset = False

    def replay(self):
        self._recorder.replayed += 1
        self._take()

    def reset(self):
        self.was_reset = True


class Seen(Watched):
    """Does not mind that the optimizer reads its numbers: only a GPU's keeps them on the device."""

    def _problem(self, func, tensors, options):
        found = super()._problem(func, tensors, options)
        asked = (frame.filename for frame in traceback.extract_stack()) if found else ()
        return None if any(name.endswith("engine/move.py") for name in asked) else found


class StandIn:
    """Records on the CPU; a capture takes no step, and neither does this one."""

    recorded = replayed = 0
    graph = Played

    def __init__(self, device=None):
        self.graphs = []

    def aside(self):
        return nullcontext()

    def watch(self):
        return Seen("cpu")

    def record(self, take):
        type(self).recorded += 1
        self.graphs.append(self.graph(take, type(self)))
        return self.graphs[-1]


@contextmanager
def standing_in(monkeypatch, kind=StandIn):
    """Have every run record by a stand-in of this kind; nothing refused before is remembered."""
    kind.recorded = kind.replayed = 0
    replay.forget_refusals()
    with monkeypatch.context() as patch:
        patch.setattr(lanes, "recorder_for", kind)
        for module in ("featvis.run.estimate", "featvis.run.tuning"):
            patch.setattr(f"{module}.recorder_for", kind)
        yield kind
    replay.forget_refusals()


class Traced(StandIn):
    """Records nothing but that it was asked to, and never replays: its device holds no numbers."""

    def watch(self):
        return Watched("meta")

    class graph(Played):
        def replay(self):
            self._recorder.replayed += 1


@contextmanager
def tracing(monkeypatch):
    """Have ``meta`` tensors stand in for a GPU's: every wait and every copy from the host is refused."""
    within = []

    def made(name, make):
        def call(*args, **options):
            if within and torch.device(options.get("device") or "cpu").type == "meta":
                raise AssertionError(f"torch.{name} copies from the host")
            return make(*args, **options)

        return call

    def watch(self, step):
        within.append(step)
        try:
            self._scores = watched(self, step)
        finally:
            within.pop()
        return self._scores

    def picked(self, index):
        if within and self.device.type == "meta":
            parts = index if isinstance(index, tuple) else (index,)
            assert not any(isinstance(part, list) for part in parts), (
                f"a list {index} is copied to the device"
            )
        return pick(self, index)

    pick = torch.Tensor.__getitem__

    def check(self, graph):
        return self._replay(graph)  # of no numbers: there is nothing to be compared

    watched = Replaying._watch
    with standing_in(monkeypatch, Traced), monkeypatch.context() as patch:
        patch.setattr(devices, "_GPUS", ("cuda", "meta"))
        patch.setattr(lanes, "WARM_UP", 2)  # the optimizer's memory is made in the first step
        patch.setattr(Replaying, "_watch", watch)
        patch.setattr(Replaying, "_check", check)
        for name in ("tensor", "as_tensor"):
            patch.setattr(torch, name, made(name, getattr(torch, name)))
        # PyTorch asks for a device that has the kernels; `meta` has their shapes.
        adam, nadam = (importlib.import_module(f"torch.optim.{name}") for name in ("adam", "nadam"))
        patch.setattr(adam, "_device_dtype_check_for_fused", lambda *_, **__: None)
        patch.setattr("featvis.models.borrow.fold.tells_its_inputs", lambda norm: True)
        patch.setattr(torch.Tensor, "__getitem__", picked)
        patch.setattr(torch, "_fused_adam_", lambda *_, **__: None)
        patch.setattr(nadam, "_get_capturable_supported_devices", lambda *_, **__: ["meta"])
        yield Traced


def on_meta(model, *sizes, windows=()):
    """A copy of a network whose tensors hold no numbers; what must be measured is taken from the network."""
    model._trusted_pairs()
    for layer, position, size in windows:
        model.window(layer, position, size)
    other = model.copy()
    other.module.to("meta")
    other.check_gradient = lambda *_: None  # which only numbers can tell
    for size in sizes:
        network = model.at(size)

        def read(layers, images, network=network):
            return {name: value.to("meta") for name, value in network.read(layers, images).items()}

        other._networks[size] = network.of(other.module, read, model.fingerprint)
    return other
