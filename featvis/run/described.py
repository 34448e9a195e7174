"""From the description of what a photograph's picture climbs back to the objective, with the photograph."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from torch import Tensor

from featvis.errors import FeatvisError, OutputError, TargetError
from featvis.models.handle import ModelHandle
from featvis.objectives.accentuation import accentuation
from featvis.objectives.base import Objective, copy_with
from featvis.objectives.caricature import caricature
from featvis.objectives.dictionary import read_tensors
from featvis.objectives.layer import layer
from featvis.objectives.match import match
from featvis.objectives.style import style
from featvis.objectives.unit import of_target
from featvis.objectives.vectors import read_vectors
from featvis.results.picture import load_image
from featvis.run.redraw import lay_photograph
from featvis.spec.target import Target, VectorRequest, parse_request

_COMPARED = re.compile(r"(match|style|caricature)\((.+), [0-9a-f]{12}(?:, power=([^,()]+))?\)")
_ACCENTUATION = re.compile(r"accentuation\((.+), [0-9a-f]{12}, ([^,()]+?)(?:, layer=(.+))?\)")
_DIRECTION = re.compile(r"(.+)@([^@]+?\.(?:safetensors|pth?)(?::(.+))?:(\d+))#[0-9a-f]{12}(?:, \w+)?")
_TERM = re.compile(r"(-?[\d.]+(?:e[-+]?\d+)?)\*(.+)")
_OF_FILES = re.compile(r"[,#] ?[0-9a-f]{12}\b")
VECTORS = (".safetensors", ".pt", ".pth")
"""How files end that hold directions, or units of a dictionary."""


def needs_files(described: str) -> bool:
    """Whether an objective is of photographs or of directions, whose files must be given.

    >>> needs_files("match(conv1, 5d89f0568650)"), needs_files("layer(conv1)")
    (True, False)
    """
    return _OF_FILES.search(described) is not None


def lay_out(model: ModelHandle, files: Sequence[Path], size: tuple[int, int]) -> list[Tensor]:
    """Return photographs on a canvas in each way in which a command lays them there.

    Raises:
        OutputError: a file is there that is no photograph, or none is there.
    """
    laid = []
    for file in files:
        if file.suffix not in VECTORS:
            laid += [lay_photograph(model, file, size), load_image(file, model.channels, size)]
            whole = lay_photograph(model, file)
            laid += [whole] if tuple(whole.shape[1:]) == size else []
        elif not file.is_file():
            raise OutputError(f"no file {str(file)!r}")
    return laid


def restore(described: str, photographs: Sequence[Tensor], vectors: Sequence[Path] = ()) -> Objective | None:
    """Return the objective that describes itself so; None if it is of another kind or of other files.

    Args:
        described: what :meth:`Objective.describe` gave: a layer's energy, what ``invert``, ``caricature``,
            ``accentuate`` and ``style`` climb, a direction of a file, or sums of these and of units.
        photographs: ``(C, H, W)`` in [0, 1], those that it may be of.
        vectors: the files of directions that it may be of.

    >>> restore("1*layer(conv1) + 0.5*blocks.4:3@2,5", [])
    1*layer(conv1) + 0.5*blocks.4:3@2,5
    >>> restore("brightest()", []) is None
    True
    """
    for candidate in _candidates(described, photographs, vectors):
        if candidate.describe() == described:
            return candidate
    return None


def _candidates(
    described: str, photographs: Sequence[Tensor], vectors: Sequence[Path]
) -> Iterator[Objective]:
    """Yield objectives that may be meant; whoever asks compares their descriptions."""
    if len(parts := _split(described)) > 1 or _TERM.fullmatch(described):
        terms = []
        for part in parts:
            found = _TERM.fullmatch(part)
            inner = None if found is None else restore(found[2], photographs, vectors)
            if found is None or inner is None:
                return
            terms.append(float(found[1]) * inner)
        yield sum(terms[1:], terms[0])
    if found := re.fullmatch(r"layer\((.+)\)", described):
        yield layer(found[1])
    if found := _COMPARED.fullmatch(described):
        kind, names, power = found[1], found[2].split(", "), float(found[3] or 0)
        for photograph in photographs:
            if kind == "caricature":
                yield caricature(names, photograph, power)
            else:
                yield (match if kind == "match" else style)(names, photograph)
    if found := _ACCENTUATION.fullmatch(described):
        inner = restore(found[1], photographs, vectors)
        for photograph in photographs if inner is not None else ():
            assert inner is not None
            yield accentuation(inner, photograph, weight=float(found[2]), layer=found[3])
    if found := _DIRECTION.fullmatch(described):
        for file in vectors:
            request = VectorRequest((found[1],), str(file), found[3] or "", found[4])
            # How a tensor lies may depend on how many units the layer has, which is not known here.
            for width in (None, *_sides(file)):
                with suppress(FeatvisError):
                    (row,) = read_vectors(request, width)
                    yield copy_with(row, name=found[2])
    with suppress(TargetError, ValueError):
        name, _, address = described.rpartition(":")
        position = parse_request(f"x:{address}").position
        yield of_target(Target(name, int(address.partition("@")[0]), position))


def _sides(file: Path) -> set[int]:
    """Return how many units a layer may have that a file's matrices are of."""
    with suppress(FeatvisError):
        return {side for one in read_tensors(file)[0].values() if one.dim() == 2 for side in one.shape}
    return set()


def _split(described: str) -> list[str]:
    """Return a sum's terms: what stands between the pluses that are in no parentheses."""
    parts, depth = [""], 0
    for piece in re.split(r"( \+ |[()])", described):
        depth += (piece == "(") - (piece == ")")
        if piece == " + " and not depth:
            parts.append("")
        else:
            parts[-1] += piece
    return parts
