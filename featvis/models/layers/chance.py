"""The global random numbers, left as they are by whatever a network draws while it is measured."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

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


def chance_now() -> tuple[object, ...]:
    """Return the state of torch's, Python's and NumPy's global generators, which any draw changes."""
    on_cards = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []  # type: ignore[no-untyped-call]
    numpy: dict[str, Any] = np.random.get_state(legacy=False)
    state = numpy["state"]
    return (
        *(one.numpy().tobytes() for one in (torch.get_rng_state(), *on_cards)),
        random.getstate(),
        state["key"].tobytes(),
        state["pos"],
    )
