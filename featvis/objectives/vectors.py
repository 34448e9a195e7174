"""Directions from a safetensors file: rows of an SAE's decoder, probes, components of PCA or NMF."""

from __future__ import annotations

from pathlib import Path

import torch

from featvis.errors import TargetError, unknown
from featvis.objectives.base import Objective, digest_of
from featvis.objectives.dictionary import load_dictionary, read_tensors, unit_of
from featvis.objectives.direction import Direction
from featvis.spec.target import Request, VectorRequest, expand, parse_request, parse_vectors

DECODER = "dec"
"""Stands where the name of a tensor would for the directions of a dictionary's decoder."""


class NamedDirection(Direction):
    """A direction that says which row of which tensor it is; told apart by the content, not the path."""

    def __init__(self, layer: str, vector: torch.Tensor, name: str, power: float = 0.0) -> None:
        super().__init__(layer, vector[None], power)
        self.name = name

    def describe(self) -> str:  # noqa: D102
        return f"{self.layers[0]}@{self.name}#{digest_of(self.vectors.cpu().double())}"


def read_vectors(request: VectorRequest, width: int | None = None) -> list[Objective]:
    """Return an objective for each unit of a dictionary, or row of a tensor, that is asked for, by layer.

    Args:
        request: without a key the dictionary's units, by their encoder where there is one; with ``dec`` their
            directions; else the rows of the tensor of that name, ``(rows, units)`` or ``(units,)``.
        width: how many units the layer has, where that is known: a tensor that lies the other way is turned.

    Raises:
        TargetError: no such key or row, or units of another layer.
        UserError: the file cannot be read.
    """
    path = Path(request.file)
    keys, dictionary = [], None
    if request.key in ("", DECODER):
        keys = list(read_tensors(path)[0])
    if request.key == "" or (request.key == DECODER and DECODER not in keys):
        dictionary = load_dictionary(path)
        dictionary = dictionary if width is None else dictionary.turned(width)
        rows = dictionary.decoder
    else:
        rows = _rows_of(path, request.key, width)
    name = path.name if not request.key else f"{path.name}:{request.key}"
    parse_request(f"x:{request.rows}")  # its complaints come first
    chosen = [target.unit for target in expand(Request(name, request.rows), len(rows))]
    if dictionary is not None and dictionary.encoder is not None and not request.key:
        return [
            unit_of(dictionary, layer, row, f"{name}:{row}") for layer in request.layers for row in chosen
        ]
    picked = {row: rows[row].float() for row in chosen}
    for row, vector in picked.items():
        if not bool(vector.isfinite().all()) or not bool(vector.any()):
            raise TargetError(f"{name}:{row}: a direction is finite and not zero")
    return [
        NamedDirection(layer, vector.clone(), f"{name}:{row}")
        for layer in request.layers
        for row, vector in picked.items()
    ]


def _rows_of(path: Path, key: str, width: int | None) -> torch.Tensor:
    tensors, _ = read_tensors(path, key)
    if key not in tensors:
        raise TargetError(unknown(f"key of {path}", key, tensors))
    tensor = tensors[key]
    rows = tensor[None] if tensor.dim() == 1 else tensor
    if rows.dim() != 2 or not rows.is_floating_point():
        raise TargetError(
            f"{path}:{key} holds no directions (rows, units): {tuple(tensor.shape)}, {tensor.dtype}"
        )
    return rows.T if width is not None and rows.shape[1] != width and rows.shape[0] == width else rows


def vectors(address: str) -> list[Objective]:
    """Read units of a dictionary, or directions, by their address, one for each row, layer by layer.

    Args:
        address: ``LAYER@FILE.safetensors:ROWS`` for units of a sparse autoencoder or of components
            (``blocks.3@sae.safetensors:0:8``; see :func:`featvis.load_dictionary`),
            ``LAYER@FILE.safetensors:dec:ROWS`` for their decoder's directions,
            ``LAYER@FILE.safetensors:KEY:ROWS`` for rows of any tensor.

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
