"""Free names: what is forgiven and what is not."""

import pytest

from featvis.trust.names import fold, is_name_of


@pytest.mark.parametrize(
    ("said", "label"),
    [
        ("Pembroke", "Pembroke, Pembroke Welsh corgi"),
        ("a pembroke welsh corgi", "Pembroke, Pembroke Welsh corgi"),
        ("the School-Buses", "school bus"),
        ("schoolbus", "school bus"),
        ("foxes", "fox"),
        ("fox", "foxes"),
        ("wolves", "wolf"),
        ("knives", "letter opener, knife"),
        ("firemen", "fireman"),
        ("mice", "mouse, computer mouse"),
        ("daisies", "daisy"),
        ("tomatoes", "tomato"),
        ("éclairs", "eclair"),
        ("jack o lantern", "jack-o'-lantern"),
        ("cats eye", "cat's eye"),
        ("Катя", "катя"),
        ("GRASS", "grass"),
    ],
)
def test_case_accents_articles_signs_and_plurals_are_forgiven(said, label):
    assert is_name_of(said, label)


@pytest.mark.parametrize(
    ("said", "label"),
    [
        ("corgi", "Pembroke, Pembroke Welsh corgi"),
        ("dog", "Pembroke"),
        ("bus", "school bus"),
        ("gras", "grass"),
        ("cat dog", "cat"),
        ("", "cat"),
        ("!?", "cat"),
        ("an", "a"),
        ("buse", "bush"),
        ("of", "cat of"),
    ],
)
def test_other_words_are_other_words(said, label):
    assert not is_name_of(said, label)


def test_more_names_may_count():
    assert is_name_of("dogs", "Pembroke", ["dog"])
    assert not is_name_of("cats", "Pembroke", ["dog"])


def test_an_article_alone_stays():
    assert fold("A") == "a"
    assert fold("the the") == "the"
