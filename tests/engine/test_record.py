"""How a step is recorded on a GPU: the device, the stream and the mode that are asked of PyTorch."""

from __future__ import annotations

import gc
import threading
from contextlib import contextmanager

import pytest
import torch

from featvis.engine import record
from featvis.engine.record import CudaRecorder, recorder_for

DEVICE = torch.device("cuda", 1)


class Stream:
    def __init__(self, device=None):
        self.device, self.waited = device if device is not None else Card.current, []

    def wait_stream(self, other):
        self.waited.append(other)


class Graph:
    was_reset = False

    def replay(self):
        """Stand in for a replay."""

    def reset(self):
        self.was_reset = True


class Card:
    """A stand-in for `torch.cuda`: which device and stream are current, what is captured and how."""

    current = torch.device("cuda", 0)


@pytest.fixture
def card(monkeypatch):
    streams = {torch.device("cuda", index): [Stream(index)] for index in (0, 1)}
    captured = []

    @contextmanager
    def device(which):
        before, Card.current = Card.current, which
        yield
        Card.current = before

    @contextmanager
    def stream(which):
        streams[Card.current].append(which)
        yield
        streams[Card.current].pop()

    @contextmanager
    def graph(made, **options):
        captured.append((Card.current, gc.isenabled(), record._CAPTURE.locked(), options))
        yield

    for name, stand_in in {"device": device, "stream": stream, "graph": graph, "Stream": Stream}.items():
        monkeypatch.setattr(torch.cuda, name, stand_in)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: streams[Card.current][-1])
    return captured


def test_a_step_is_taken_on_the_networks_device_and_one_stream(card):
    recorder = CudaRecorder(DEVICE)
    outer, used = [], []
    for _ in range(3):
        with torch.cuda.device(DEVICE):
            outer.append(torch.cuda.current_stream())
        with recorder.aside():
            used.append((Card.current, torch.cuda.current_stream()))
        assert Card.current == torch.device("cuda", 0), "the caller's device is back"
    assert used == [(DEVICE, recorder._stream)] * 3
    assert recorder._stream.device == DEVICE
    # Each waits for the other, at both ends.
    assert recorder._stream.waited == outer
    assert outer[0].waited == [recorder._stream] * 3


def test_it_is_captured_there_by_one_thread_at_a_time_without_the_collector(card):
    recorder = CudaRecorder(DEVICE)
    with recorder.aside():
        recorder.record(lambda: None)
    ((device, collects, locked, options),) = card
    assert device == DEVICE
    assert options == {"stream": recorder._stream, "capture_error_mode": "thread_local"}
    assert not collects
    assert locked
    assert gc.isenabled()
    assert not record._CAPTURE.locked()


def test_inputs_that_are_freed_can_be_looked_for(card):
    recorder = CudaRecorder(DEVICE)
    recorder.check_input_liveness = True
    recorder.record(lambda: None)
    assert card[0][3]["check_input_liveness"] is True


def test_a_capture_that_fails_leaves_nothing(card, monkeypatch):
    made = []
    monkeypatch.setattr(torch.cuda, "CUDAGraph", lambda: made.append(Graph()) or made[-1])

    def fails():
        raise RuntimeError("operation not permitted")

    with pytest.raises(RuntimeError, match="not permitted"):
        CudaRecorder(DEVICE).record(fails)
    assert made[0].was_reset
    assert gc.isenabled()
    assert not record._CAPTURE.locked()


def test_captures_of_two_workers_wait_for_each_other(card):
    within, most = [], []

    def take():
        within.append(1)
        most.append(len(within))
        threading.Event().wait(0.02)
        within.pop()

    workers = [threading.Thread(target=CudaRecorder(DEVICE).record, args=(take,)) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert most == [1] * 4


def test_a_cpu_records_nothing():
    assert recorder_for(torch.device("cpu")) is None
    assert recorder_for(torch.device("mps")) is None
