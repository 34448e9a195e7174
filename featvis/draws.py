"""A picture's own chance, drawn up front: nothing in the loop draws, nothing is shared by a batch."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor


def stream(seed: int, target: str, attempt: int, purpose: str) -> torch.Generator:
    """Return a CPU generator that depends on these four alone, and touches no global one.

    Args:
        seed: the picture's seed.
        target: the target's address or the objective's description.
        attempt: 0, or the number of the retry of a dead unit.
        purpose: what is drawn from it, so that one more draw here moves nothing there.
    """
    text = f"{seed}\n{target}\n{attempt}\n{purpose}"
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    generator = torch.Generator(device="cpu")
    generator.manual_seed(int.from_bytes(digest, "little") >> 1)
    return generator


def uniform(generator: torch.Generator, steps: int, numbers: int) -> Tensor:
    """Draw ``(steps, numbers)`` uniform on [0, 1); a longer run begins with a shorter one's numbers."""
    return torch.rand((steps, numbers), generator=generator)
