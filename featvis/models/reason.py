"""What to say of an exception that a network's own code raised."""

from __future__ import annotations

from pathlib import Path

import torch


def reason_of(error: BaseException) -> str:
    """Return an exception of a network in one line: its class, its words, and where it was raised."""
    words = " ".join(str(error).split())
    said = f"{type(error).__name__}: {words[:300]}" if words else type(error).__name__
    where, step = "", error.__traceback__
    while step is not None:
        path = step.tb_frame.f_code.co_filename
        if "site-packages" not in path and "/featvis/" not in path.replace("\\", "/") and "<" not in path:
            where = f" ({Path(path).name}, line {step.tb_lineno})"
        step = step.tb_next
    return said + where


def is_resource(error: BaseException) -> bool:
    """Whether an error is of the machine rather than of the network: its memory, or its device."""
    words = str(error)
    return (
        isinstance(error, MemoryError | torch.OutOfMemoryError)
        or "memory" in words
        or "CUDA" in words
        or "cuda" in words
    )
