"""Runs that are ended from outside: by a callback, or by Ctrl-C, which loses no picture."""

from __future__ import annotations

import pytest

import featvis as fv
from tests.networks import small

OPTIONS = {"size": (17, 24), "steps": 12, "lanes": 3, "redirect_steps": 2}


@pytest.fixture(params=[0, 50], ids=["plain", "patience"])
def options(request):
    return {**OPTIONS, "patience": request.param}


def test_a_callback_hears_step_scores_and_images_and_may_end_the_run(options):
    heard = []

    def enough(step):
        heard.append((step.number, tuple(step.scores.shape), tuple(step.images.shape)))
        return step.number == 4

    pictures = fv.render(small(), "norm:0:3", watch=enough, **options)
    assert heard == [(number, (3,), (3, 3, 17, 24)) for number in range(5)]
    for picture in pictures:
        assert (picture.status, picture.taken, picture.evaluations) == ("stopped", 5, 5)
        assert len(picture.trace) == 5
        assert picture.entry()["steps"] == 5
        assert picture.score != picture.start_score


def test_the_picture_is_as_it_stood(options):
    (whole,) = fv.render(small(), "norm:1", snapshots=[5], **options)
    (stopped,) = fv.render(small(), "norm:1", watch=lambda step: step.number == 4, **options)
    assert (stopped.levels == whole.snapshots[5]).all()
    assert (stopped.levels != whole.levels).any()


def test_only_true_ends_a_run_and_the_last_step_ends_it_anyway(options):
    for answer in (None, 1, "yes"):
        (picture,) = fv.render(small(), "norm:1", watch=lambda step, answer=answer: answer, **options)
        assert (picture.status, picture.evaluations) == ("ok", 12)
    (picture,) = fv.render(small(), "norm:1", watch=lambda step: step.number == 11, **options)
    assert picture.status == "ok"


def test_the_next_pictures_begin_and_are_whole():
    numbers = []

    def first_only(step):
        numbers.append(step.number)
        return len(numbers) == 5

    pictures = fv.render(small(), "norm:0:5", watch=first_only, **OPTIONS)
    assert [picture.status for picture in pictures] == ["stopped"] * 3 + ["ok"] * 2
    whole = fv.render(small(), "norm:0:5", **OPTIONS)
    assert [one.png() == other.png() for one, other in zip(pictures, whole, strict=True)] == [False] * 3 + [
        True
    ] * 2


def test_a_stopped_picture_is_saved_reproduced_and_not_taken_for_a_finished_one(tmp_path, options):
    fv.render(small(), "norm:1", out=tmp_path, watch=lambda step: step.number == 4, **options)
    path = tmp_path / "norm" / "0001.png"
    assert fv.load_picture(path).taken == 5
    assert fv.reproduce(path, small()).png() == path.read_bytes()
    (whole,) = fv.render(small(), "norm:1", out=tmp_path, **options)
    assert whole.status == fv.load_picture(path).status == "ok"
    assert whole.png() == fv.render(small(), "norm:1", **options)[0].png()


def interrupted(options, at, targets="norm:0:5", **more):
    seen = []

    def interrupt(step):
        seen.append(step.number)
        if len(seen) == at:
            raise KeyboardInterrupt

    with pytest.raises(fv.Interrupted) as caught:
        fv.render(small(), targets, watch=interrupt, **options, **more)
    assert isinstance(caught.value, KeyboardInterrupt), "a script ends, as ever"
    return caught.value.pictures


def test_ctrl_c_holds_what_is_finished_and_what_is_under_way(tmp_path):
    pictures = interrupted(OPTIONS, at=17, out=tmp_path)
    assert [picture.target for picture in pictures] == [f"norm:{unit}" for unit in range(5)]
    assert [picture.status for picture in pictures] == ["ok"] * 3 + ["stopped"] * 2
    assert {picture.taken for picture in pictures[3:]} == {5}
    whole = fv.render(small(), "norm:0:5", snapshots=[5], **OPTIONS)
    assert all(
        (one.levels == other.snapshots[5]).all() for one, other in zip(pictures[3:], whole[3:], strict=True)
    )
    files = sorted(path.name for path in (tmp_path / "norm").glob("0*.png"))
    assert files == ["0000.png", "0001.png", "0002.png"], "the folder has whole pictures only"
    again = fv.render(small(), "norm:0:5", out=tmp_path, **OPTIONS)
    assert [one.png() for one in again] == [one.png() for one in whole]


def test_ctrl_c_counts_pictures_in_words():
    assert [str(fv.Interrupted([None] * count)) for count in (1, 2)] == [
        "interrupted with 1 picture",
        "interrupted with 2 pictures",
    ]


def test_ctrl_c_with_patience():
    options = {**OPTIONS, "patience": 50}
    pictures = interrupted(options, at=17)
    assert [(picture.status, picture.taken) for picture in pictures] == [("ok", 12)] * 3 + [
        ("stopped", 5)
    ] * 2
    assert interrupted(options, at=1, targets="norm:0")[0].taken == 1


def test_ctrl_c_before_the_first_step_ends_holds_nothing_under_way(monkeypatch):
    from featvis.engine.move import BatchMover

    def interrupt(self, *given):
        raise KeyboardInterrupt

    monkeypatch.setattr(BatchMover, "__call__", interrupt)
    with pytest.raises(fv.Interrupted) as caught:
        fv.render(small(), "norm:0", **OPTIONS)
    assert caught.value.pictures == []


def test_ctrl_c_among_candidates_holds_the_best_so_far():
    pictures = interrupted(OPTIONS, at=15, targets="norm:1,2", best_of=4)
    whole = fv.render(small(), "norm:1", seeds=3, **OPTIONS)
    assert [(picture.target, picture.status, len(picture.candidates)) for picture in pictures] == [
        ("norm:1", "stopped", 4),
        ("norm:2", "stopped", 2),
    ]
    assert pictures[0].candidates[:3] == [one.score for one in whole]
