"""Directions from a safetensors file: rows of an SAE's decoder, probes, components of PCA or NMF."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from featvis.errors import OutputError, TargetError, UserError, unknown
from featvis.objectives.base import digest_of
from featvis.objectives.direction import Direction
from featvis.read import check_file, reason_of
from featvis.spec.target import Request, VectorRequest, expand, parse_request, parse_vectors


class NamedDirection(Direction):
    """A direction that says which row of which tensor it is; told apart by the content, not the path."""

    def __init__(self, layer: str, vector: torch.Tensor, name: str, power: float = 0.0) -> None:
        super().__init__(layer, vector[None], power)
        self.name = name

    def describe(self) -> str:  # noqa: D102
        return f"{self.layers[0]}@{self.name}#{digest_of(self.vectors.cpu().double())}"


def read_vectors(request: VectorRequest) -> list[Direction]:
    """Return a direction for each row asked for of a tensor ``(rows, units)`` or ``(units,)``, by layer."""
    try:
        check_file(Path(request.file))
        with safe_open(str(request.file), framework="pt") as opened:
            keys = list(opened.keys())
            if request.key not in keys:
                raise TargetError(unknown(f"key of {request.file}", request.key, keys))
            tensor = opened.get_tensor(request.key)
    except TargetError:
        raise
    except (
        *(OutputError, SafetensorError, OSError),
        *(LookupError, TypeError, ValueError, AttributeError),
    ) as error:
        raise UserError(f"{request.file} cannot be read: {reason_of(error)}") from None
    rows = tensor[None] if tensor.dim() == 1 else tensor
    if rows.dim() != 2 or not rows.is_floating_point():
        raise TargetError(
            f"{request.file}:{request.key} holds no directions (rows, units): {tuple(tensor.shape)}, "
            f"{tensor.dtype}"
        )
    where = f"{Path(request.file).name}:{request.key}"
    parse_request(f"x:{request.rows}")  # its complaints come first
    chosen = [target.unit for target in expand(Request(where, request.rows), len(rows))]
    picked = {row: rows[row].float() for row in chosen}
    for row, vector in picked.items():
        if not bool(vector.isfinite().all()) or not bool(vector.any()):
            raise TargetError(f"{where}:{row}: a direction is finite and not zero")
    return [
        NamedDirection(layer, vector.clone(), f"{where}:{row}")
        for layer in request.layers
        for row, vector in picked.items()
    ]


def vectors(address: str) -> list[Direction]:
    """Read directions by their address, one for each row, layer by layer.

    Args:
        address: ``LAYER@FILE.safetensors:KEY:ROWS``, for instance ``blocks.3@sae.safetensors:decoder:0:8``.

    Raises:
        TargetError: no such address, key or row.
        UserError: the file cannot be read.

    >>> import featvis as fv, tempfile, torch
    >>> from safetensors.torch import save_file
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_file({"decoder": torch.eye(4)}, f"{folder}/sae.safetensors")
    ...     [one.name for one in fv.vectors(f"conv@{folder}/sae.safetensors:decoder:0:2")]
    ['sae.safetensors:decoder:0', 'sae.safetensors:decoder:1']
    """
    request = parse_vectors(address)
    if request is None:
        raise TargetError(f"{address!r}: directions of a file are LAYER@FILE.safetensors:KEY:ROWS")
    return read_vectors(request)
