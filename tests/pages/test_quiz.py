"""The quiz's page as text: it holds everything that it shows, and nothing runs but its own script."""

import base64
import hashlib
import json
import re

import pytest

from featvis.pages.quiz import SCALES, Shown, make_quiz_page
from tests.pages.manifests import HOSTILE
from tests.pages.markup import Page

IMAGES = [
    Shown(b"one", (24, 32)),
    Shown(b"two", (40, 30), is_crop=True),
    Shown(b"three", (90, 90), is_crop=True),
]
TRIALS = [
    {"item": 1, "task": "naming", "picture": 0, "names": ["tench", "<b>crane</b>"]},
    {"item": 2, "task": "choice", "references": [0], "pair": [1, 2]},
    {"item": 3, "task": "rating", "picture": 0},
]


def page(title="What do you see?", text=""):
    return make_quiz_page(title, text, "0123456789abcdef", IMAGES, TRIALS)


def between(text, tag):
    return re.findall(rf"<{tag}[^>]*>(.*?)</{tag}>", text, re.DOTALL)


def digest(text):
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def test_its_policy_lets_its_own_style_and_script_pass_and_nothing_else():
    text = page()
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)
    told = dict(part.split(" ", 1) for part in policy.split("; "))
    assert told == {
        "default-src": "'none'",
        "img-src": "data:",
        "style-src": f"'{digest(between(text, 'style')[0])}'",
        "script-src": f"'{digest(between(text, 'script')[1])}'",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    assert not re.findall(r"""(?:src|href)=["'](?!#|data:)""", text.replace("img-src", ""))
    assert "http" not in text.replace("http-equiv", "")


def test_it_tells_the_script_what_is_asked():
    told = json.loads(between(page(text="Thanks"), "script")[0])
    assert (told["quiz"], told["title"], told["text"]) == ("0123456789abcdef", "What do you see?", "Thanks")
    assert told["scales"] == list(SCALES)
    # (height, width), and whether it is shown in squares: a crop of a few pixels.
    assert [one[1:] for one in told["images"]] == [[24, 32, False], [40, 30, True], [90, 90, False]]
    assert told["images"][0][0] == "data:image/webp;base64," + base64.b64encode(b"one").decode()
    assert told["trials"][1:] == TRIALS[1:]
    naming = told["trials"][0]
    assert naming["count"] == 2
    assert json.loads(base64.b64decode(naming["names"])) == ["tench", "<b>crane</b>"]
    assert "tench" not in page()


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_titles_and_texts_stay_text(text):
    text = text.encode("utf-8", "replace").decode()
    made = page(text, text)
    parsed = Page(made)
    assert [tag for tag, _ in parsed.tags].count("script") == 2
    told = json.loads(between(made, "script")[0])
    assert (told["title"], told["text"]) == (text, text)
