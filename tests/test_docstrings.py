"""Every public name says what it is, what it takes, and shows itself at work."""

from __future__ import annotations

import inspect

import pytest

import featvis

NAMES = [
    name
    for name in featvis.__all__
    if callable(thing := getattr(featvis, name))
    and not (inspect.isclass(thing) and issubclass(thing, BaseException))
]


@pytest.mark.parametrize("name", NAMES)
def test_a_public_name_has_an_example_and_its_arguments(name):
    thing = getattr(featvis, name)
    text = inspect.getdoc(thing) or ""
    assert ">>>" in text, f"featvis.{name} has no example"
    if not inspect.isclass(thing) and inspect.signature(thing).parameters:
        assert "Args:" in text, f"featvis.{name} does not say what its arguments are"


def test_every_field_of_the_recipe_is_explained():
    from featvis.cli.fields import fields

    assert [name for name, field in fields().items() if not field.about] == []
