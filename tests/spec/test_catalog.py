"""The list of what featvis has is true: everything that it names is there."""

import ast
import inspect
import re
from pathlib import Path

import pytest
from typer.main import get_command

import featvis as fv
from featvis.cli.app import app
from featvis.spec import catalog, register
from featvis.spec.recipe import Recipe

ROOT = Path(__file__).parent.parent.parent
FEATURES = catalog.features()
GROUPS = {"A": 20, "B": 14, "C": 25, "D": 7, "E": 19, "F": 9, "G": 5, "H": 4, "J": 5, "N": 30}
"""How many features of each kind: image spaces, transforms, objectives, penalties, the engine, networks,
attribution, photographs, applications, and what no other tool had."""
FAULTS = range(1, 49)
"""What other tools got wrong, T1 to T48; a test against one has its number in its name."""


def exists(by):
    """Whether a part, public name, field of the recipe or command is there."""
    if by.startswith("fv."):
        return by[3:] in fv.__all__
    if by.startswith("Recipe."):
        return by[7:] in Recipe.model_fields
    if by.startswith("featvis "):
        command, *words = get_command(app), *by.split()[1:]
        for word in words:
            if word.startswith("-"):
                return any(word in option.opts for option in command.params)
            command = getattr(command, "commands", {}).get(word)
            if command is None:
                return False
        return True
    family, _, name = by.partition("/")
    return family in register.FAMILIES and name in register.scan(family)


def test_every_feature_is_told_of_in_order_and_once():
    expected = [f"{group}{number}" for group, count in GROUPS.items() for number in range(1, count + 1)]
    assert [one.id for one in FEATURES] == expected
    assert len({one.feature for one in FEATURES}) == len(FEATURES)


def test_every_fault_has_a_test_of_its_name():
    found = set()
    for path in (ROOT / "tests").rglob("test_*.py"):
        for name in re.findall(r"^def (test_t\d\d_\w+)", path.read_text("utf-8"), re.MULTILINE):
            found |= {int(number) for number in re.findall(r"(?<=_)t(\d\d)(?=_)", name)}
    assert found == set(FAULTS)


@pytest.mark.parametrize("feature", FEATURES, ids=[one.id for one in FEATURES])
def test_a_feature_names_what_gives_it_and_a_test_that_is_there(feature):
    if feature.reason:
        assert len(feature.reason) > 20
        assert (feature.by, feature.test, feature.limit) == ((), "", "")
        return
    assert feature.by
    for by in feature.by:
        assert exists(by), by
    file, _, name = feature.test.partition("::")
    tree = ast.parse((ROOT / file).read_text("utf-8"))
    assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_what_is_not_there_would_be_noticed():
    nothing = (
        "images/no",
        "no/pixel",
        "fv.no",
        "Recipe.no",
        "featvis no",
        "featvis render --no",
        "featvis gallery no",
    )
    assert not any(exists(by) for by in nothing)
    assert exists("featvis gallery build --limit")


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


def test_the_page_holds_every_part_and_every_feature(capsys):
    assert get_command(app).main(["parts", "--markdown"], standalone_mode=False) in (0, None)
    page = capsys.readouterr().out
    for family in register.FAMILIES:
        for name in register.names(family):
            assert f"### `{name}`" in page
    for feature in FEATURES:
        assert f"| {feature.id} |" in page
