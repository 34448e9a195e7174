"""What every test has: one thread, nothing from the network, the same chance each time."""

from __future__ import annotations

import gc
import os
import signal
import socket
import sys
import threading
from functools import cache
from pathlib import Path

import pytest

# Before torch and huggingface_hub are imported, also by the processes that a test starts.
os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"
# Python compiles featvis once for all of them, whatever the shell says.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
# A shell that starts us in the background lets Ctrl-C be ignored, by all that we start as well.
if (
    threading.current_thread() is threading.main_thread()
    and signal.getsignal(signal.SIGINT) == signal.SIG_IGN
):
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser):
    # See tests/part.py.
    parser.addoption("--every", action="store_true", help="all of the inputs of which a version takes a part")


def pytest_collection_finish():
    # What is there by now, torch and thousands of tests, stays: the collector need not look at it again.
    gc.collect()
    gc.freeze()


SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    import torch

    torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="session")
def no_network():
    connect = socket.socket.connect

    def refuse(self, address):
        if self.family == socket.AF_UNIX or str(address[0]) in ("127.0.0.1", "localhost", "::1"):
            return connect(self, address)
        raise AssertionError(f"a test tried to reach {address}")

    patch = pytest.MonkeyPatch()
    patch.setattr(socket.socket, "connect", refuse)
    yield
    patch.undo()


@pytest.fixture
def chance():
    import torch

    return torch.Generator().manual_seed(20240229)


@pytest.fixture(scope="session")
def lite0():
    import featvis as fv

    return fv.load_model("efficientnet_lite0")


@cache
def _embedded():
    """The embedded network, and what is measured of any network before it is climbed."""
    import featvis as fv

    model = fv.load_model()
    assert model.layers
    assert not model.takes_one_size
    assert model._trusted_pairs()
    return model


@pytest.fixture
def embedded_once(monkeypatch):
    """Have commands that ask for the embedded network as it is take a copy of one that is loaded once."""
    from featvis.models import load

    loaded, real = _embedded(), load.load_model

    def load_model(source=load.DEFAULT_MODEL, **options):
        told = {name: value for name, value in options.items() if value is not None}
        if source == load.DEFAULT_MODEL and told in ({}, {"device": "auto"}):
            return loaded.copy()
        return real(source, **options)

    monkeypatch.setattr(load, "load_model", load_model)


@pytest.fixture(scope="session")
def vgg16_weights():
    path = SHARED / "models" / "vgg16_features.safetensors"
    if not path.is_file():
        pytest.skip(f"no {path.name} beside the repository")
    return path
