"""What is said of a picture, from what was measured."""

import pytest

from featvis.trust.verdicts import verdicts_of

SOUND = {
    "genuine": True,
    "score": 10.0,
    "claimed": 10.0,
    "fresh": 8.0,
    "noise": {"mean": 0.0, "best": 1.0, "reach": 2.0, "z": 20.0, "still": False},
    "selectivity": {"rank": 1, "units": 64, "z": 9.0},
    "other_pictures": {"pictures": 3, "below": 1.0},
    "saturated": False,
    "random_weights": {"z": 0.3},
    "unlike": False,
    "untrained": False,
}


def seen(*ranks):
    return {f"judge {place}": {"rank": rank} for place, rank in enumerate(ranks)}


def test_a_sound_picture_stands_out_or_is_recognized():
    assert verdicts_of(SOUND) == ["stands out in its layer"]
    assert verdicts_of({**SOUND, "transfer": seen(1, 1)}) == ["recognized by 2 of 2 judges"]
    assert verdicts_of({**SOUND, "transfer": seen(2, 1)}) == ["recognized by 1 of 2 judges"]
    assert verdicts_of({**SOUND, "transfer": seen(7)}) == ["recognized by 0 of 1 judge"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"noise": {**SOUND["noise"], "still": True}}, ["dead"]),
        ({"status": "dead"}, ["dead"]),
        ({"genuine": False}, ["not the picture that was rendered"]),
        ({"claimed": 11.0}, ["its score is not the one it claims"]),
        ({"claimed": 10.3}, ["stands out in its layer"]),
        ({"claimed": None}, ["stands out in its layer"]),
        ({"untrained": True}, ["of a network with random weights"]),
        ({"saturated": True}, ["saturated"]),
        ({"score": 2.0, "claimed": 2.0}, ["responds as much to noise"]),
        ({"random_weights": {"z": 20.0}}, ["responds as much with random weights"]),
        ({"random_weights": {"z": None}}, ["stands out in its layer"]),
        ({"other_pictures": {"pictures": 3, "below": 0.5}}, ["another unit's picture excites it more"]),
        ({"other_pictures": {"pictures": 3, "below": 0.0}}, ["another unit's picture excites it more"]),
        ({"other_pictures": {"pictures": 0, "below": None}}, ["stands out in its layer"]),
        ({"photographs": {"best": 10.5}}, ["a photograph excites it more"]),
        ({"photographs": {"best": 9.5}}, ["stands out in its layer"]),
        ({"agreement": {"agrees": False}}, ["unstable over seeds"]),
        ({"agreement": {"agrees": None}}, ["stands out in its layer"]),
        ({"unlike": True}, ["looks unlike any photograph"]),
        ({"fresh": 0.9}, ["shifted and noised, it responds as to noise"]),
        ({"choice": {"is_chance": True}}, ["does not tell which photographs excite it"]),
        ({"choice": {"is_chance": False}}, ["stands out in its layer"]),
        ({"selectivity": {"rank": 3, "units": 64}}, ["rank 3 of 64 in its layer"]),
    ],
)
def test_each_fault_has_its_words(changes, words):
    assert verdicts_of({**SOUND, **changes}) == words


def test_the_gravest_comes_first_and_recognition_before_what_is_slight():
    told = {**SOUND, "transfer": seen(1), "saturated": True, "unlike": True}
    assert verdicts_of(told) == ["saturated", "recognized by 1 of 1 judge", "looks unlike any photograph"]


def test_what_was_not_measured_is_not_judged():
    assert verdicts_of({"genuine": True}) == []
    assert verdicts_of({"transfer": seen(1)}) == ["recognized by 1 of 1 judge"]
