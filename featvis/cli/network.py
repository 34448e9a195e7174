"""The options by which every command names a network, and how it is loaded from them."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from featvis.errors import ModelError
from featvis.models.sources.register import forms, split_name

if TYPE_CHECKING:
    from featvis.models.handle import ModelHandle

Model = Annotated[
    str,
    typer.Option(
        "--model",
        "-m",
        help=f"{forms()} (file: runs that code).",
    ),
]
Weights = Annotated[
    str | None,
    typer.Option("--weights", help="A weights file (safetensors or checkpoint), or 'none' for random ones."),
]
Mean = Annotated[str | None, typer.Option("--mean", help="Preprocessing: the mean, as 0.485,0.456,0.406.")]
Std = Annotated[str | None, typer.Option("--std", help="Preprocessing: the deviation, as 0.229,0.224,0.225.")]
UnitAxis = Annotated[
    int | None,
    typer.Option(
        "--unit-axis", help="The axis of a layer's units, where its output does not tell (1 or -1)."
    ),
]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:1 or mps.")]

_EMBEDDED = re.compile(r"[\w.-]+")


def check_network(model: str, mean: str | None, std: str | None) -> dict[str, Any]:
    """Check the network's options without loading anything; return those given as numbers.

    Raises:
        ModelError: a name that no source can have, or numbers that are none.
    """
    prefix, name = split_name(model)
    if not name or not (prefix or _EMBEDDED.fullmatch(name)):
        raise ModelError(f"--model {model!r} is no network's name; write {forms()}")
    return {"mean": _numbers("--mean", mean), "std": _numbers("--std", std)}


def load_network(
    model: str, weights: str | None, numbers: dict[str, Any], unit_axis: int | None, device: str
) -> ModelHandle:
    """Load a network and say its notes."""
    if model.startswith("file:"):
        note(f"running the code of {model.removeprefix('file:').rpartition(':')[0]}")
    from featvis.models.load import load_model

    handle = load_model(model, weights=weights, unit_axis=unit_axis, device=device, **numbers)
    for line in handle.notes:
        note(line)
    return handle


def note(line: str) -> None:
    """Print a line to stderr."""
    print(line, file=sys.stderr, flush=True)


def _numbers(option: str, text: str | None) -> tuple[float, ...] | None:
    if text is None:
        return None
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise ModelError(f"{option}: numbers separated by commas are expected, got {text!r}") from None
