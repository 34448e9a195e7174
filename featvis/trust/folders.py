"""Folders of plain images of classes, by whoever made them: which file is of which class."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch
from torch import Tensor

from featvis.errors import TargetError, UserError
from featvis.models.handle import ModelHandle
from featvis.photographs.photos import list_files, quiet_decoders, read_photo
from featvis.read import read_file
from featvis.results.manifest import read_manifest
from featvis.spec.target import expand, parse_request
from featvis.trust.judging import class_layer
from featvis.trust.subjects import read_contents
from featvis.trust.transfer import classes_of

_MARKED = re.compile(r"class[ _-]?(\d+)", re.IGNORECASE)
_SEED = re.compile(r"-?seed[ _-]?\d+", re.IGNORECASE)
_NUMBER = re.compile(r"\d+")
_LONGEST = 2**25


@dataclass(frozen=True)
class Claimed:
    """An image, and the class that it is said to be of."""

    name: str
    """The file, as the folder names it."""
    image: Tensor
    """``(C, H, W)`` in [0, 1]."""
    label: str
    """The class, as a number or a name."""


def read_claimed(folder: str | Path, classes: str | Path | None = None, channels: int = 3) -> list[Claimed]:
    """Read a folder of images of classes.

    What featvis wrote says itself of which class each picture is; pictures of other units are left out, and
    so are those that drive a class down. Of other images ``classes`` says it: a CSV file with a line for
    each, the file's name and the class' number or name. By default their own names say it: the folder that
    each lies in, where that is a number or all lie in several (``263/a.png``, ``tabby/a.png``), a number
    behind ``class`` (``12_class0263.png``), else the one number in the name (``dog_263.jpg``; that behind
    ``seed`` does not count), or a name without any (``tabby.png``).

    Raises:
        UserError: no folder, no image, or an image whose class is not told.
    """
    place = Path(folder)
    manifest = read_manifest(place) if place.is_dir() else None
    if manifest is not None and manifest["pictures"]:
        return _of_ours(place, manifest, channels)
    told = {} if classes is None else read_classes(classes)
    names = [name for name in list_files(place).names if PurePosixPath(name).suffix.lower() != ".csv"]
    found = []
    with quiet_decoders():
        for name in names:
            photo = read_photo(place / name, channels)
            if photo is None:
                continue  # no image
            levels = torch.from_numpy(np.array(photo)).view(photo.height, photo.width, -1)
            found.append((name, levels.permute(2, 0, 1).float() / 255))
    if not found:
        raise UserError(f"{place} holds no image that can be read")
    within = {str(PurePosixPath(name).parent) for name, _ in found}
    return [Claimed(name, image, _claim(name, told, within, place)) for name, image in found]


def _of_ours(folder: Path, manifest: dict[str, Any], channels: int) -> list[Claimed]:
    subjects = read_contents(folder, manifest, channels).subjects
    found = [
        Claimed(str(one.entry["file"]), one.image, one.label)
        for one in subjects
        if one.label and one.sign > 0
    ]
    if not found:
        raise UserError(f"{folder} holds no pictures of classes with names")
    return found


def read_classes(file: str | Path) -> dict[str, str]:
    """Read which file is of which class: CSV, the file's name and the class on each line.

    A first line ``file,class`` is none of them, and columns may stand in any order under it.
    """
    text = read_file(Path(file), _LONGEST, "table of classes").decode("utf-8-sig", "replace")
    try:
        rows = [row for row in csv.reader(text.splitlines(), skipinitialspace=True) if row]
    except csv.Error as error:
        raise UserError(f"{file} is no CSV file: {error}") from None
    first, second = 0, 1
    head = [cell.strip().lower() for cell in rows[0]] if rows else []
    if {"file", "class"} <= set(head):
        first, second = head.index("file"), head.index("class")
        rows = rows[1:]
    if not rows or any(len(row) <= max(first, second) for row in rows):
        raise UserError(f"{file}: each line is FILE,CLASS: the file's name, and its class' number or name")
    return {row[first].strip(): row[second].strip() for row in rows}


def _claim(name: str, told: Mapping[str, str], within: set[str], folder: Path) -> str:
    path = PurePosixPath(name)
    for key in (name, path.name, path.stem):
        if key in told:
            return told[key]
    above = path.parent.name
    if above.isdigit() or (len(within) > 1 and "." not in within):
        return above
    if marked := _MARKED.search(path.stem):
        return marked[1]
    plain = _SEED.sub("", path.stem)
    numbers = _NUMBER.findall(plain)
    if len(numbers) == 1:
        return str(numbers[0])
    if not numbers:
        return plain.replace("_", " ").strip()
    problem = f"{folder / name}: which of {', '.join(numbers)} is its class is not told; "
    problem += "give a CSV file of lines FILE,CLASS"
    raise UserError(f"{problem}: classes=FILE", typed=f"{problem} (--classes)")


def weights_of(folder: str | Path) -> set[str]:
    """Return the fingerprint of the network that made a folder's pictures, if featvis wrote it."""
    manifest = read_manifest(Path(folder))
    return {str(manifest["weights"])} if manifest is not None and manifest.get("weights") else set()


def class_number(claimed: Claimed, judge: ModelHandle) -> int:
    """Return the judge's class that an image is said to be of.

    Raises:
        TargetError: there is none, or the name is of several.
    """
    layer, label = class_layer(judge), claimed.label
    names = classes_of(judge)
    if label in names:
        return names.index(label)
    try:
        if not label.isdigit() and not names:
            raise TargetError(f"{judge.name} knows its classes by number, and {label!r} is a name")
        targets = expand(parse_request(f"{layer.name}:{label}", [layer.name]), layer.units, names)
        if len(targets) != 1:
            raise TargetError(f"{label!r} is not one class of {judge.name}")
    except TargetError as error:
        raise TargetError(f"{claimed.name}: {error}") from None
    return targets[0].unit
