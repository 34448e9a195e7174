"""From what is said of units to their page: one folder, opened from disk, that is searched by words."""

from __future__ import annotations

from typing import Any

from featvis.pages.compose import SCRIPT, STYLE, linker, read_asset, template
from featvis.pages.said import LEAST, say_share
from featvis.pages.words import say_count
from featvis.version import __version__

ASSETS = ("site/described.css", "site/described.js")
SORTS = ("certainty", "clarity", "polysemanticity", "redundancy")
"""What units are sorted by, beside their addresses."""


def make_described_pages(about: dict[str, Any]) -> dict[str, str]:
    """Return the text of the page, its stylesheets and scripts, by relative path.

    Args:
        about: what ``words.json`` holds; the pictures and patches of units lie where it says.
    """
    units = about["units"]
    ids = {unit["target"]: f"u{place}" for place, unit in enumerate(units)}
    layers = list(dict.fromkeys(unit["target"].rpartition(":")[0] for unit in units))
    cards = [
        {
            **unit,
            "id": ids[unit["target"]],
            "layer": unit["target"].rpartition(":")[0],
            "certainty": unit["words"][0]["certainty"] if unit["words"] else None,
            "shown_words": _shown(unit["words"], 5),
            "picture_shown": _shown(unit["picture_words"], 3),
            "like": [{**one, "id": ids.get(one["target"])} for one in unit["like"][:4]],
            "twin_id": ids.get(unit["twin"]),
            "usual": about["usual_clarity"].get(unit["target"].rpartition(":")[0]),
        }
        for unit in units
    ]
    has_words = about["pair"] is not None
    page = template("described.html").render(
        about=about,
        units=cards,
        layers=layers,
        has_words=has_words,
        sorts=[name for name in SORTS if has_words or name != "certainty"],
        title=f"{'Words for' if has_words else 'What is like'} the units of {about['model']}",
        model=about["model"],
        version=__version__,
        count=say_count,
        percent=say_share,
        cosine=_cosine,
        link=linker("index.html"),
        assets=ASSETS,
    )
    pages = {"index.html": page}
    return pages | {path: read_asset(path.rpartition("/")[2]) for path in (STYLE, SCRIPT, *ASSETS)}


def _shown(words: list[dict[str, Any]], most: int) -> list[dict[str, Any]]:
    """Return the words that say something: the first one, and others that are at least 1 % sure."""
    return [word for place, word in enumerate(words[:most]) if place == 0 or word["certainty"] >= LEAST]


def _cosine(value: float) -> str:
    """Write a cosine.

    >>> _cosine(-0.0901)
    '−0.09'
    """
    return f"{value:.2f}".replace("-", "−")
