"""From a quiz's questions to the text of its one page, which holds all its pictures and asks for nothing."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from markupsafe import Markup

from featvis.pages.compose import read_asset, template
from featvis.version import __version__

SCALES = (
    {
        "key": "photograph",
        "short": "photograph",
        "question": "Does it look like a photograph?",
        "low": "not at all",
        "high": "a photograph",
    },
    {
        "key": "whole",
        "short": "whole",
        "question": "Is what it shows whole?",
        "low": "nothing, or pieces",
        "high": "one whole thing",
    },
    {
        "key": "harsh",
        "short": "harsh",
        "question": "Is it harsh: burnt whites, crushed blacks, gaudy colours?",
        "low": "natural",
        "high": "very harsh",
    },
)
"""What is rated from 1 to 5."""
_COARSE = 64


@dataclass(frozen=True)
class Shown:
    """A picture as the page holds it."""

    content: bytes
    """A WebP file without any text in it."""
    size: tuple[int, int]
    """(height, width) in pixels."""
    is_crop: bool = False
    """Whether it is part of a photograph, which may be a few pixels large and is then shown in squares."""


def make_quiz_page(
    title: str, text: str, quiz: str, images: Sequence[Shown], trials: Sequence[dict[str, Any]]
) -> str:
    """Return the page of a quiz: HTML that a browser shows from disk, without any other file.

    Args:
        title: its heading.
        text: what is said below it; may be empty.
        quiz: the quiz's id, by which answers find their key.
        images: what the trials show.
        trials: in order, each an ``item``, a ``task`` and numbers of images: ``picture`` and ``names``
            (naming), ``references`` and ``pair`` (choice) or ``picture`` (rating). Which name or photograph
            is the right one is not among it.
    """
    sources = [
        [
            f"data:image/webp;base64,{base64.b64encode(image.content).decode()}",
            *image.size,
            image.is_crop and max(image.size) < _COARSE,
        ]
        for image in images
    ]
    told = {
        "quiz": quiz,
        "title": title,
        "text": text,
        "scales": SCALES,
        "trials": [_hide_names(trial) for trial in trials],
        "images": sources,
    }
    # Within <script> only these end or change it; JSON may write them as escapes.
    safe = json.dumps(told, ensure_ascii=False, separators=(",", ":"))
    for sign in "<>&\u2028\u2029":
        safe = safe.replace(sign, f"\\u{ord(sign):04x}")
    style, script = _assets()
    page: str = template("quiz.html").render(
        title=title,
        version=__version__,
        trials=Markup(safe),
        style=Markup(style),
        script=Markup(script),
        style_hash=hash_of(style),
        script_hash=hash_of(script),
    )
    return page


def _hide_names(trial: dict[str, Any]) -> dict[str, Any]:
    """Write the names of a trial so that they are not read in the page's source."""
    if "names" not in trial:
        return trial
    names = json.dumps(trial["names"]).encode()
    return {**trial, "names": base64.b64encode(names).decode(), "count": len(trial["names"])}


@cache
def _assets() -> tuple[str, str]:
    """Return the one stylesheet and the one script."""
    style = read_asset("gallery.css") + read_asset("quiz.css")
    script = read_asset("gallery.js") + read_asset("quiz.js")
    return style, script


def hash_of(text: str) -> str:
    """Return a text's hash as a content security policy names it."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
