"""The table of features is true: everything that it names is there."""

import ast
import re
from pathlib import Path

import pytest
from typer.main import get_command

import featvis as fv
from featvis.cli.app import make_app
from featvis.spec import register
from featvis.spec.recipe import Recipe
from tests.features import load_features, markdown

ROOT = Path(__file__).parent.parent
FEATURES = load_features()
GROUPS = {"A": 20, "B": 14, "C": 25, "D": 7, "E": 19, "F": 9, "G": 5, "H": 4, "I": 4, "J": 5, "N": 30}
"""How many features of each kind: image spaces, transforms, objectives, penalties, the engine, networks,
attribution, photographs, maps, applications, and what no other tool had."""
FAULTS = range(1, 49)
"""What other tools got wrong, T1 to T48; a test against one has its number in its name."""


def exists(by):
    """Whether a part, public name, field of the recipe or command is there."""
    if by.startswith("fv."):
        return by[3:] in fv.__all__
    if by.startswith("Recipe."):
        return by[7:] in Recipe.model_fields
    if by.startswith("featvis "):
        command, *words = get_command(make_app()), *by.split()[1:]
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
    assert [one.id for one in FEATURES] == [*expected, "Q2", "S12"]
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


def test_the_page_holds_every_feature():
    page = markdown()
    for feature in FEATURES:
        assert f"| {feature.id} |" in page
