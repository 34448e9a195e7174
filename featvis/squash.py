"""The sigmoid that ends every image space and background, the same for every picture of a batch."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

VECTOR = 64
"""Values that the CPU's widest loop takes at once, or a divisor of them."""
GRAIN = 32768
"""Values that torch gives to one thread at least (``at::internal::GRAIN_SIZE``)."""


def squash(raw: Tensor) -> Tensor:
    """Return the sigmoid of a batch ``(B, …)``, in (0, 1).

    On the CPU torch computes full vectors by one formula and what is left over at the end, of the tensor or
    of a thread's share of it, by another with other last bits. A picture would depend on its place in the
    batch, so the batch is filled up to full vectors.
    """
    if raw.device.type != "cpu":
        return torch.sigmoid(raw)
    count = _filled(raw.numel())
    if count == raw.numel():
        return torch.sigmoid(raw.contiguous())
    flat = functional.pad(raw.flatten(), (0, count - raw.numel()))
    return torch.sigmoid(flat)[: raw.numel()].view(raw.shape)


def _filled(count: int) -> int:
    shares = min(torch.get_num_threads(), -(-count // GRAIN))
    filled = -(-count // (VECTOR * shares)) * VECTOR * shares if shares else count
    return filled if min(torch.get_num_threads(), -(-filled // GRAIN)) == shares else _filled(filled)
