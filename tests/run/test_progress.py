"""What is shown while pictures are made."""

from __future__ import annotations

import io
import sys
from types import SimpleNamespace

import pytest

import featvis as fv
from featvis.run.progress import Report, duration
from tests.networks import small
from tests.pages.markup import Page
from tests.test_notebook import Stream, kernel  # noqa: F401

OPTIONS = {"size": (17, 24), "steps": 3, "lanes": 2}


@pytest.fixture
def hurried(monkeypatch):
    """Every step is shown."""
    for name in ("EVERY", "OFTEN", "LIVE", "REST"):
        monkeypatch.setattr(f"featvis.run.progress.{name}", 0.0)


def test_a_notebook_gets_a_bar_without_being_asked(kernel, hurried, capsys):  # noqa: F811
    fv.render(small(), "norm:0:3", **OPTIONS)
    assert [how for how, _ in kernel] == ["display"] + ["update"] * (len(kernel) - 1), "one place, drawn over"
    first, *_, last = (Page(drawn) for _, drawn in kernel)
    assert "0 of 3 pictures" in first.text
    assert "mean score" in first.text
    (bar,) = first.all("progress")
    assert float(bar["value"]) == pytest.approx(1 / 6, abs=1e-3)
    assert not first.all("img")
    assert last.text.startswith("3 of 3 pictures, ")
    assert not last.all("progress")
    assert capsys.readouterr() == ("", "")


def test_a_live_run_shows_its_pictures_as_they_grow(kernel, hurried):  # noqa: F811
    pictures = fv.render(small(), "norm:0:3", live=True, **OPTIONS)
    pages = [Page(drawn) for _, drawn in kernel]
    assert [len(page.all("img")) for page in pages] == [2, 2, 2, 3, 3, 3, 3], "lanes filled up count once"
    assert len({page.addresses[0] for page in pages[:3]}) == 3, "the first grows"
    assert all(picture.target in pages[-1].text for picture in pictures)
    plain = fv.render(small(), "norm:0:3", progress=False, **OPTIONS)
    assert [one.png() for one in plain] == [one.png() for one in pictures], "looking changes nothing"


def test_a_live_run_shows_any_number_of_channels(kernel, hurried):  # noqa: F811
    fv.render(small(channels=5), "norm:0", live=True, size=(17, 24), steps=1)
    fv.render(small(), "norm:0", live=True, space="alpha", size=(17, 24), steps=1)
    assert all(len(Page(drawn).all("img")) == 1 for _, drawn in kernel)


def test_a_quick_run_leaves_nothing_behind_in_a_notebook(kernel):  # noqa: F811
    fv.render(small(), "norm:0", size=(17, 24), steps=1)
    assert kernel == []


def test_notes_stay_and_are_no_html(kernel):  # noqa: F811
    with Report() as report:
        report.say("the layer '<b>' is odd")
        report.begin(1, 0, 2)
    assert "the layer '<b>' is odd" in Page(kernel[-1][1]).text


def test_a_run_that_ends_early_says_so(kernel, hurried):  # noqa: F811
    def fail(step):
        raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        fv.render(small(), "norm:0:3", watch=fail, **OPTIONS)
    assert Page(kernel[-1][1]).text.startswith("ended early: 0 of 3 pictures, ")


def test_it_is_shown_on_a_terminal_and_not_in_a_pipe_unless_asked(hurried, monkeypatch):
    for stream, progress, seen in (
        (Stream(), None, True),
        (Stream(), False, False),
        (io.StringIO(), None, False),
        (io.StringIO(), True, True),
    ):
        monkeypatch.setattr(sys, "stderr", stream)
        monkeypatch.setenv("TERM", "xterm")
        fv.render(small(), "norm:0:3", progress=progress, **OPTIONS)
        assert ("of 3 pictures" in stream.getvalue()) == seen, (type(stream), progress)
        if not stream.isatty():
            assert "\x1b" not in stream.getvalue(), "no control characters"


def test_a_picture_and_a_grid_show_themselves_in_a_notebook():
    pictures = fv.render(small(), "norm:0:3", **OPTIONS)
    for thing in (pictures[0], fv.grid(pictures)):
        assert thing._repr_png_().startswith(b"\x89PNG")


def test_a_stream_that_is_no_terminal_gets_lines():
    stream = io.StringIO()
    with Report(stream) as report:
        report.begin(5, 2, 10)
        report.say("something")
    assert stream.getvalue() == "2 of 5 pictures are there already\nsomething\n"


def test_of_a_limit_what_is_made_now_is_counted(monkeypatch):
    """The time that is left is theirs, too."""
    now = iter(range(0, 1000, 20))
    monkeypatch.setattr("featvis.run.progress.time.perf_counter", lambda: float(next(now)))
    made = SimpleNamespace(target="conv:0")
    for most, lines in (
        (
            3,
            [
                "2 of 9 pictures are there already",
                "3 of 7 missing pictures are made now",
                "1 of 3 pictures, ",
            ],
        ),
        (7, ["2 of 9 pictures are there already", "3 of 9 pictures, "]),
        (None, ["2 of 9 pictures are there already", "3 of 9 pictures, "]),
    ):
        stream = io.StringIO()
        with Report(stream) as report:
            report.begin(9, 2, 0, most)
            report.picture(made)
        said = stream.getvalue().splitlines()
        assert len(said) == len(lines)
        assert all(line.startswith(begin) for line, begin in zip(said, lines, strict=True)), said
        left = 40 if most == 3 else 120
        assert said[-1].endswith(f"about {duration(left)} left")
