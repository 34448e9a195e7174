"""What is said of a picture, from what was measured."""

from dataclasses import replace

import pytest

from featvis.pages.words import is_praise
from featvis.trust.agreement import Agreement
from featvis.trust.choice import Choice
from featvis.trust.evidence import Evidence, Judgement, Noise, OtherPictures, OwnResponse
from featvis.trust.response import PhotographScores
from featvis.trust.selectivity import Selectivity
from featvis.trust.transfer import Recognition
from featvis.trust.verdicts import KINDS, verdicts_of

NOISE = Noise(mean=0.0, best=1.0, reach=2.0, z=20.0, still=False)
OWN = OwnResponse(
    score=10.0,
    claimed=10.0,
    start=0.0,
    fresh=8.0,
    noise=NOISE,
    selectivity=Selectivity(1, 64, 9.0),
    rank_beside_photographs=None,
    below_random_directions=1.0,
    other_pictures=OtherPictures(3, 1.0),
    saturated=False,
    random_z=0.3,
)


def judged(*ranks):
    return {
        f"judge {place}": Judgement(Recognition(rank, 0.5, 9.0, 1.0, 3.0, 0), "a", None)
        for place, rank in enumerate(ranks)
    }


def said(own=None, **changes):
    """What is said of a sound picture with some changes, to what its own network says or beside that."""
    return [one.text for one in verdicts_of(Evidence({}, own=replace(OWN, **(own or {})), **changes))]


def test_a_sound_picture_stands_out_or_is_recognized():
    assert said() == ["stands out in its layer"]
    assert said(judgements=judged(1, 1)) == ["recognized by 2 of 2 judges"]
    assert said(judgements=judged(2, 1)) == ["recognized by 1 of 2 judges"]
    assert said(judgements=judged(7)) == ["recognized by 0 of 1 judge"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"own": {"noise": replace(NOISE, still=True)}}, ["dead"]),
        ({"dead": True}, ["dead"]),
        ({"genuine": False}, ["not the picture that was rendered"]),
        ({"own": {"claimed": 11.0}}, ["its score is not the one it claims"]),
        ({"own": {"claimed": 10.3}}, ["stands out in its layer"]),
        ({"own": {"claimed": None}}, ["stands out in its layer"]),
        ({"untrained": True}, ["of a network with random weights"]),
        ({"own": {"saturated": True}}, ["saturated"]),
        ({"own": {"score": 2.0, "claimed": 2.0}}, ["responds as much to noise"]),
        ({"own": {"random_z": 20.0}}, ["responds as much with random weights"]),
        ({"own": {"random_z": None}}, ["stands out in its layer"]),
        ({"own": {"other_pictures": OtherPictures(3, 0.5)}}, ["another unit's picture excites it more"]),
        ({"own": {"other_pictures": OtherPictures(3, 0.0)}}, ["another unit's picture excites it more"]),
        ({"own": {"other_pictures": OtherPictures(0, None)}}, ["stands out in its layer"]),
        (
            {"own": {"photographs": PhotographScores(10.5, 0.95, 0.99, "within")}},
            ["a photograph excites it more"],
        ),
        ({"own": {"photographs": PhotographScores(9.5, 1.05, 1.0, "above")}}, ["stands out in its layer"]),
        ({"agreement": Agreement(2, 0.1, 0.4)}, ["unstable over seeds"]),
        ({"agreement": Agreement(2, 0.1, None)}, ["stands out in its layer"]),
        ({"unlike": True}, ["looks unlike any photograph"]),
        ({"own": {"fresh": 0.9}}, ["shifted and noised, it responds as to noise"]),
        ({"choice": Choice(0.5, 9)}, ["does not tell which photographs excite it"]),
        ({"choice": Choice(0.9, 9)}, ["stands out in its layer"]),
        ({"own": {"selectivity": Selectivity(3, 64, 2.0)}}, ["rank 3 of 64 in its layer"]),
    ],
)
def test_each_fault_has_its_words(changes, words):
    assert said(**changes) == words


def test_the_gravest_comes_first_and_recognition_before_what_is_slight():
    found = said(own={"saturated": True}, judgements=judged(1), unlike=True)
    assert found == ["saturated", "recognized by 1 of 1 judge", "looks unlike any photograph"]


def test_what_was_not_measured_is_not_judged():
    assert verdicts_of(Evidence({})) == []
    (verdict,) = verdicts_of(Evidence({}, judgements=judged(1)))
    assert verdict.text == "recognized by 1 of 1 judge"


def test_kinds_have_names_of_their_own_and_pages_take_only_praise_for_praise():
    assert len({kind.name for kind in KINDS}) == len({kind.words for kind in KINDS}) == len(KINDS)
    assert all(kind.figures for kind in KINDS)
    for kind in KINDS:
        if kind.severity != "recognition":
            assert is_praise(kind.words) == (kind.severity == "praise")


def test_ranks_of_different_units_are_counted_as_one_kind():
    (verdict,) = verdicts_of(Evidence({}, own=replace(OWN, selectivity=Selectivity(12, 64, 2.0))))
    assert (verdict.text, verdict.counted) == ("rank 12 of 64 in its layer", "not first in its layer")
