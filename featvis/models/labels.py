"""Names of classes, from a list or a file. No torch in here."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from featvis.errors import ModelError, OutputError
from featvis.read import TOML_BYTES, parse_json, read_file

Labels = Sequence[str] | Mapping[Any, Any] | str | Path


def read_labels(labels: Labels) -> tuple[str, ...]:
    """Return the names of the classes in the order of the network's output.

    Args:
        labels: the names; names by index, or indices by name; or a file: one name a line, or JSON of these.

    >>> read_labels({1: "dog", 0: "cat"}), read_labels({"cat": 0, "dog": 1})
    (('cat', 'dog'), ('cat', 'dog'))
    """
    if isinstance(labels, str | Path):
        return _of_file(Path(labels))
    return _in_order(labels, "labels")


def _of_file(path: Path) -> tuple[str, ...]:
    try:
        text = read_file(path, 16 * TOML_BYTES, "file of labels").decode("utf-8-sig")
    except OutputError as error:
        raise ModelError(str(error)) from None
    except UnicodeDecodeError as error:
        raise ModelError(f"{path} is no text file with labels: {error}") from None
    if text.lstrip()[:1] in ("{", "["):
        try:
            told = parse_json(text, str(path))
        except ValueError:
            try:
                told = ast.literal_eval(text.strip())  # as Python writes a dict; literals run nothing
            except (ValueError, SyntaxError, MemoryError, RecursionError):
                raise ModelError(f"{path} begins as JSON but does not read as that") from None
        if isinstance(told, dict) and isinstance(inner := told.get("id2label"), dict):
            told = inner  # a config of transformers
        return _in_order(told, str(path))
    lines = [line.strip() for line in text.splitlines()]
    while lines and not lines[-1]:
        lines.pop()
    if not lines:
        raise ModelError(f"{path} holds no labels")
    return tuple(lines)


def _in_order(told: Any, where: str) -> tuple[str, ...]:
    if isinstance(told, Mapping):
        values = list(told.values())
        if values and all(isinstance(value, int) and not isinstance(value, bool) for value in values):
            told = {place: name for name, place in told.items()}
        try:
            by_place = {int(place): name for place, name in told.items()}
        except (TypeError, ValueError):
            raise ModelError(f"{where}: names by index, or indices by name") from None
        if sorted(by_place) != list(range(len(by_place))):
            missing = next(place for place in range(len(by_place) + 1) if place not in by_place)
            raise ModelError(f"{where}: no name for class {missing}")
        told = [by_place[place] for place in range(len(by_place))]
    if isinstance(told, str | bytes) or not hasattr(told, "__iter__"):
        raise ModelError(f"{where}: a list of names, one for each class; got {type(told).__name__}")
    # ImageNet's index has [synset, name] for each class.
    names = [name[-1] if isinstance(name, list | tuple) and name else name for name in told]
    if odd := [name for name in names if not isinstance(name, str)]:
        raise ModelError(f"{where}: a name of a class is a text, got {odd[0]!r}")
    return tuple(names)
