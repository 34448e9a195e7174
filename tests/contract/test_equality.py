"""What every result that holds arrays holds to: it is compared in one True or False, and a set takes it."""

from __future__ import annotations

import copy
import dataclasses
import importlib
import pkgutil
import re

import numpy as np
import pytest
import torch

import featvis
import featvis as fv
from featvis.spec.same import SameByValue
from tests.networks import small

OPTIONS = {"size": (17, 24), "steps": 2, "transforms": [], "lanes": 2}


def every_dataclass():
    found = {}
    for _, name, _ in pkgutil.walk_packages(featvis.__path__, "featvis."):
        if not name.endswith("__main__") and ".configs" not in name:
            for one in vars(importlib.import_module(name)).values():
                if isinstance(one, type) and dataclasses.is_dataclass(one) and one.__module__ == name:
                    found.setdefault(one.__name__, one)
    return found


CLASSES = every_dataclass()


def words_of(one):
    """The names that the annotations of a class' fields, or of what a function returns, are made of."""
    if dataclasses.is_dataclass(one):
        annotated = [str(field.type) for field in dataclasses.fields(one)]
    else:
        annotated = [str(getattr(one, "__annotations__", {}).get("return", ""))]
    return {word for told in annotated for word in re.findall(r"\w+", told)}


def results():
    """The dataclasses that public names are or return, and those in their fields."""
    found, left = [], [getattr(fv, name) for name in fv.__all__]
    while left:
        one = left.pop()
        if isinstance(one, type) and dataclasses.is_dataclass(one):
            found.append(one)
        left += [CLASSES[word] for word in words_of(one) & {*CLASSES} if CLASSES[word] not in (*found, *left)]
    return sorted({*found}, key=lambda kind: kind.__name__)


def holds_arrays(kind, above=()):
    words = words_of(kind)
    inner = [CLASSES[word] for word in words & {*CLASSES} if CLASSES[word] not in (kind, *above)]
    return bool(words & {"Tensor", "NDArray", "Numbers"}) or any(
        holds_arrays(one, (kind, *above)) for one in inner
    )


ALL = [kind for kind in results() if holds_arrays(kind)]


def test_the_results_are_found():
    assert {fv.Picture, fv.Attribution, fv.ActivationStatistics, fv.Differentiation} <= {*ALL}


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_results_with_arrays_are_compared_by_their_values(kind):
    if not issubclass(kind, SameByValue):
        assert kind.__eq__ is object.__eq__  # parts are themselves only
        return
    one = object.__new__(kind)
    for place, field in enumerate(dataclasses.fields(kind)):
        array = torch.tensor([1.0, torch.nan, place])
        values = ("text", array, array.numpy(), [array], {"a": (array, 2)})
        value = "text" if field.name in kind._known_by else values[place % len(values)]
        object.__setattr__(one, field.name, value)
    same = copy.deepcopy(one)
    assert (one == same) is True
    assert (one != same) is False
    assert len({one, same}) == 1
    for field in dataclasses.fields(kind):
        other = copy.deepcopy(one)
        object.__setattr__(other, field.name, np.zeros((2, 3)))
        assert (one == other) is not field.compare
    assert (one == "text") is False


def test_pictures_are_looked_for_in_lists_and_sets(tmp_path):
    model = small()
    pictures = fv.render(model, "conv1:0:3", **OPTIONS)
    again = fv.render(model, "conv1:0:3", **OPTIONS)
    assert (pictures == again) is True
    assert [again.index(picture) for picture in pictures] == [0, 1, 2]
    assert pictures[0] != pictures[1]
    assert len({*pictures, *again}) == 3
    pictures[1].save(tmp_path / "unit.png")
    assert fv.load_picture(tmp_path / "unit.png") == pictures[1]
    again.remove(pictures[1])
    assert pictures[1] not in again
    other = copy.deepcopy(pictures[0])
    other.levels[0, 3, 5] += 1
    assert other != pictures[0]
    assert fv.render(model, "conv1:0", **{**OPTIONS, "steps": 3})[0] not in pictures


def test_maps_components_and_statistics_are_compared(tmp_path):
    model, photographs = small(), [torch.rand(3, 17, 24), torch.rand(3, 17, 24)]
    for make in (
        lambda photos: fv.attribute(model, photos[0], "fc:1"),
        lambda photos: fv.find_components(model, "conv2", photos, count=2),
        lambda photos: fv.activation_statistics(model, photos, out=tmp_path / f"{id(photos)}.safetensors"),
    ):
        one, same, other = make(photographs), make(photographs), make([photographs[1]] * 2)
        assert (one == same) is True
        assert (one == other) is False
        assert len({one, same, other}) == 2
