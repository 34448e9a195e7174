"""The list of what featvis has is true: everything that it names is there."""

import ast
import inspect
import re

from typer.main import get_command

import featvis as fv
from featvis.cli.app import make_app
from featvis.spec import catalog, register


def test_every_part_is_listed_with_its_options_and_says_what_it_is():
    for family in register.FAMILIES:
        listed = catalog.parts_of(family)
        assert [one.name for one in listed] == register.names(family)
        for one in listed:
            schema = register.scan(family)[one.name]
            assert {name for name, _, _ in one.options} == set(schema.model_fields)
            for name in schema.model_fields:
                assert f"``{name}``" in schema.__doc__, f"{one.name} does not say what {name} does"


def test_what_is_said_reads_as_plain_text():
    for family in register.FAMILIES:
        for one in [*catalog.parts_of(family), *catalog.constructors(family)]:
            assert re.match("[A-Z`0-9]", one.about), one.about
            assert len(one.about) > 20
            assert one.about.endswith((".", "…")), one.about
            assert not one.about.endswith("al.")
            for text in (one.about, *one.more):
                assert text.count("(") == text.count(")")
                assert not re.search(r":\w+:`|``|\(\)$|Parameters:|\(;", text), text


def test_types_of_options_are_told_in_words():
    for family in register.FAMILIES:
        for one in catalog.parts_of(family):
            for name, values, _ in one.options:
                plain = re.sub(r"\[(least, greatest|start, end)\]", "", values)
                assert not re.search(r"[A-Z\[{]", plain), f"{one.name}: {name} is {values}"
    assert catalog.values_of("Statistics | None") == "a file that fv.image_statistics wrote, or none"
    assert catalog.values_of("tuple[tuple[Fraction, ...], ...]") == "rows of numbers from 0 to 1"
    assert catalog.values_of("tuple[AtLeastOne, AtLeastOne]") == "2 whole numbers from 1 up"


def test_t34_the_defaults_that_are_shown_are_those_that_are_used():
    for family in register.FAMILIES:
        for one in catalog.parts_of(family):
            if any(not default for _, _, default in one.options):
                continue  # something must be given
            used = register.make(family, {"name": one.name})
            for name, _, default in one.options:
                shown = register.make(family, {"name": one.name, name: ast.literal_eval(default)})
                values = [getattr(made, name) for made in (shown, used)]
                assert values[0] == values[1] or not any(values), f"{one.name}: {name}"


def test_constructors_are_shown_as_they_are_called():
    calls = [one.name for one in catalog.constructors("objectives") if one.name.startswith("fv.l1(")]
    assert calls == [f"fv.l1{str(inspect.signature(fv.l1)).partition(' ->')[0].replace(chr(39), '')}"]


def test_the_page_holds_every_part(capsys):
    assert get_command(make_app()).main(["parts", "--markdown"], standalone_mode=False) in (0, None)
    page = capsys.readouterr().out
    for family in register.FAMILIES:
        for name in register.names(family):
            assert f"### `{name}`" in page
