"""What tells a network's weights from all others: part of every picture's key."""

from __future__ import annotations

import hashlib
from collections.abc import Collection

import torch
from torch import Tensor, nn


def fingerprint_of(
    module: nn.Module, mean: tuple[float, ...], std: tuple[float, ...], missing: Collection[str]
) -> str:
    """Return the SHA-256 of a network's weights (not those ``missing``), its class and its preprocessing."""
    digest = hashlib.sha256()
    digest.update(type(module).__qualname__.encode())
    digest.update(repr((mean, std)).encode())
    for name, value in sorted(module.state_dict().items()):
        if name in missing or not isinstance(value, Tensor):
            continue
        digest.update(f"{name}{tuple(value.shape)}{value.dtype}".encode())
        plain = value.detach().cpu().contiguous()
        digest.update(
            plain.view(torch.uint8).numpy().tobytes() if plain.dim() else repr(plain.item()).encode()
        )
    return digest.hexdigest()
