"""The global random numbers, left as they are by whatever a network draws while it is measured."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def kept_chance(device: torch.device) -> Iterator[None]:
    """Give back the state of torch's, Python's and NumPy's global generators as it was."""
    python, numpy = random.getstate(), np.random.get_state()
    devices = [device] if device.type == "cuda" else []
    try:
        with torch.random.fork_rng(devices=devices):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
