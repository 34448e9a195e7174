"""The address grammar."""

from __future__ import annotations

import random

import pytest

import featvis as fv
from featvis.spec.target import Request, Target, expand, parse_request

LABELS = [
    "tench, Tinca tinca",
    "cardigan",
    "Cardigan, Cardigan Welsh corgi",
    "Pembroke, corgi",
    "crane",
    "crane, bird",
]


def units(text, count=8, labels=()):
    return [target.unit for target in expand(parse_request(text), count, labels)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a:3", [3]),
        ("a.b.2:3,1,3", [3, 1]),
        ("a:0:3", [0, 1, 2]),
        ("a:5:", [5, 6, 7]),
        ("a::2", [0, 1]),
        ("a:::3", [0, 3, 6]),
        ("a:1:7:2", [1, 3, 5]),
        ("a:6:8,0,7", [6, 7, 0]),
        (" a : 1 , 2 ", [1, 2]),
        ("a", list(range(8))),
        ("a:all", list(range(8))),
        ("a:all,2", list(range(8))),
        ("a:7,all", [7, 0, 1, 2, 3, 4, 5, 6]),
    ],
)
def test_units(text, expected):
    assert units(text) == expected


@pytest.mark.parametrize("text", ["a:cat,", "a:,cat", "a:cat,,dog", "a:,", "a: , ", "a:3,"])
def test_nothing_between_commas_is_no_class(text):
    """A label that ends with a sign has an empty word behind it."""
    with pytest.raises(fv.TargetError, match="a unit is missing before or after a comma"):
        expand(parse_request(text), 4, ["cat", "dog", "camper, R.V.", "(other)"])


def test_all_among_others_is_all_and_no_word_of_a_class():
    labels = ["mountain bike, all-terrain bike", "cat", "dog"]
    assert [one.unit for one in expand(parse_request("a:dog,all"), 3, labels)] == [2, 0, 1]


@pytest.mark.parametrize("text", ["a:3@4,6", "a.b:0", "features.28:12@0,0"])
def test_an_address_round_trips(text):
    (target,) = expand(parse_request(text), 99)
    assert str(target) == text
    assert expand(parse_request(str(target)), 99) == [target]


@pytest.mark.parametrize(
    ("text", "layer", "units", "position"),
    [
        ("a:b:1", "a:b", "1", None),
        ("a:b", "a:b", "all", None),
        ("a:b:0:4@2,3", "a:b", "0:4", (2, 3)),
        ("a:1", "a", "1", None),
        ("c@d:1", "c@d", "1", None),
        ("c@d@2,3", "c@d", "all", (2, 3)),
        ("e,f:cat, tabby", "e,f", "cat, tabby", None),
        ("a:b:2:1", "a:b:2", "1", None),
    ],
)
def test_the_longest_name_of_a_layer_is_meant(text, layer, units, position):
    request = parse_request(text, ["a", "a:b", "a:b:2", "c@d", "e,f", "e"])
    assert (request.layers, request.units, request.position) == ([layer], units, position)


def test_a_position_holds_for_every_unit_of_the_address():
    assert expand(parse_request("a:1,3@4, 6"), 8) == [Target("a", 1, (4, 6)), Target("a", 3, (4, 6))]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "names no layer"),
        (":3", "names no layer"),
        ("a:", "names no units"),
        ("a:3@", "ROW,COLUMN"),
        ("a:3@4", "ROW,COLUMN"),
        ("a:3@4,5,6", "ROW,COLUMN"),
        ("a:3@-1,2", "counts from 0"),
        ("a:3@x,y", "ROW,COLUMN"),
        ("a:5:5", "holds no unit"),
        ("a:5:2", "holds no unit"),
        ("a:0:5:0", "at least 1"),
        ("a:0:5:-1", "at least 1"),
        ("a:-3:", "count from 0"),
    ],
)
def test_an_address_that_does_not_parse_says_what_is_expected(text, says):
    with pytest.raises(fv.TargetError, match=says):
        parse_request(text)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a:8", "units 0 to 7"),
        ("a:-1", "units 0 to 7"),
        ("a:0:9", "past the last unit"),
        ("a:8:", "holds no unit"),
        ("a:3,99", "unit 99 is out of range"),
        ("a:dog", "have no names"),
    ],
)
def test_a_unit_that_is_not_there_says_the_range(text, says):
    with pytest.raises(fv.TargetError, match=says):
        units(text)


@pytest.mark.parametrize(
    ("name", "unit"),
    [
        ("tench", 0),
        ("TINCA TINCA", 0),
        ("cardigan", 1),
        ("Cardigan", 2),
        ("Pembroke", 3),
        ("pembroke, corgi", 3),
        ("Cardigan Welsh corgi", 2),
        ("crane, bird", 5),
        ("bird", 5),
        ("tinca", 0),
        ("crane", 4),
    ],
)
def test_a_class_by_any_of_its_names(name, unit):
    assert units(f"fc:{name}", 6, LABELS) == [unit]


def test_names_and_numbers_together():
    assert units("fc:Pembroke,1,tench", 6, LABELS) == [3, 1, 0]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("Pembrok", "did you mean 'Pembroke"),
        ("crane", r"ambiguous; give a number: 4 \(crane\), 6 \(crane\)"),
        ("corgi", None),
        ("welsh", "ambiguous"),
        ("zebra", "7 named units"),
    ],
)
def test_a_name_that_is_unknown_or_ambiguous(name, says):
    labels = [*LABELS[:3], "Pembroke Welsh corgi", "crane", "corgi", "crane"]
    if says is None:
        assert units(f"fc:{name}", 7, labels) == [5], "the name as it stands comes before words of others"
        return
    with pytest.raises(fv.TargetError, match=says):
        units(f"fc:{name}", 7, labels)


def test_whatever_is_typed_only_our_own_error_comes_out():
    chance = random.Random(0)
    for _ in range(3000):
        text = "".join(chance.choice("ab.:@,-+019 \t'é") for _ in range(chance.randrange(12)))
        try:
            for target in expand(parse_request(text), 4, LABELS[:4]):
                assert 0 <= target.unit < 4
        except fv.TargetError as error:
            assert "\n" not in str(error)  # noqa: PT017


@pytest.mark.parametrize("text", ["{n}", "{n}-{n}", "0:{n}", "cat,{n}", "{n}..2", "{n} {n}", "-{n}", "²"])
def test_numbers_longer_than_python_reads_are_one_line(text):
    asked = text.format(n="7" * 5000)
    for read in (
        lambda: units(f"fc:{asked}", 4, LABELS[:4]),
        lambda: expand(Request("fc", asked), 4, LABELS[:4]),
    ):
        with pytest.raises(fv.TargetError):
            read()
