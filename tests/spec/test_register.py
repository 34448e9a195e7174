"""The register of parts: what is read from the source is what the classes are."""

from __future__ import annotations

import dataclasses
import sys

import pytest

import featvis as fv
from featvis.images.base import ImageSpace
from featvis.objectives.base import Objective
from featvis.spec import register
from featvis.transforms.base import Transform

EVERY = [(family, name) for family in register.FAMILIES for name in register.names(family)]
BASES = {"images": ImageSpace, "transforms": Transform, "objectives": Objective}


@pytest.mark.parametrize(("family", "name"), EVERY)
def test_the_schema_read_from_the_source_is_the_class(family, name):
    schema, cls = register.scan(family)[name], register.find(family, name)
    assert issubclass(cls, BASES[family])
    assert cls.part_name == name
    fields = {
        field.name: field
        for field in dataclasses.fields(cls)
        if not field.name.startswith("_") and field.name not in ("size", "channels")
    }
    assert set(schema.model_fields) == set(fields)
    filled = register.check(family, name)
    instance = register.make(family, {"name": name})
    again = register.check(family, register.describe(instance))
    assert filled == again, "the defaults of both are the same"


@pytest.mark.parametrize(("family", "name"), EVERY)
def test_a_part_is_documented_and_lives_in_a_file_of_its_family(family, name):
    cls = register.find(family, name)
    assert cls.__doc__
    assert sys.modules[cls.__module__].__name__.startswith(f"featvis.{family}.")


@pytest.mark.parametrize(("family", "name"), EVERY)
def test_a_part_round_trips_through_a_recipe(family, name):
    spec = register.check(family, name)
    made = register.make(family, spec)
    assert register.check(family, register.describe(made)) == spec
    assert register.check(family, spec) == spec


@pytest.mark.parametrize(("family", "name"), EVERY)
def test_a_part_cannot_be_changed_after_it_was_made(family, name):
    made = register.make(family, {"name": name})
    for field in dataclasses.fields(made):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(made, field.name, 1)


@pytest.mark.parametrize("family", register.FAMILIES)
def test_t48_an_unknown_part_names_the_nearest(family):
    name = register.names(family)[0]
    for ask in (register.check, lambda family, spec: register.find(family, spec)):
        with pytest.raises(fv.RecipeError, match=f"did you mean '{name}'"):
            ask(family, name + "x")


def test_a_part_of_ones_own_can_be_used_by_its_class_and_by_its_name(monkeypatch):
    import torch

    for family, name in EVERY:
        register.find(family, name)  # entered for good before the register is put aside
    monkeypatch.setattr(register, "_CLASSES", dict(register._CLASSES))

    @fv.part("upside_down")
    class UpsideDown(Transform):
        """Turn images over."""

        numbers = 0
        strength: float = 1.0

        def prepare(self, uniform, progress, canvas, shown_size):
            return uniform.new_zeros((*uniform.shape[:2], 1))

        def apply(self, images, values, field, shown_size):
            return images.flip(2) * self.strength

    from tests.networks import small

    with pytest.raises(fv.RecipeError, match="did you mean 'strength'"):
        UpsideDown(strenth=2)
    written = [
        {"name": "upside_down", "strength": 1.0, "more": 2},
        {"more": 2, "strength": 1.0, "name": "upside_down"},
    ]
    keys = {fv.Recipe(transforms=[spec]).key("a:1", 0, "w") for spec in written}
    assert len(keys) == 1, "the order of a table is no difference"
    options = {"size": (17, 24), "steps": 3, "lanes": 1}
    pictures = [
        fv.render(small(), "norm:1", recipe=fv.Recipe(), transforms=[UpsideDown()], **options)[0],
        fv.render(small(), "norm:1", recipe=fv.Recipe(**options, transforms=["upside_down"]))[0],
        fv.render(small(), "norm:1", recipe=fv.Recipe(), transforms=[], **options)[0],
    ]
    assert (pictures[0].levels == pictures[1].levels).all()
    assert (pictures[0].levels != pictures[2].levels).any()
    assert isinstance(torch.from_numpy(pictures[0].levels), torch.Tensor)
