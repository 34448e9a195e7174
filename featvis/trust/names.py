"""Whether what a person wrote is the name of a class: case, accents, articles and plurals are forgiven."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from featvis.spec.target import synonyms

_ARTICLES = ("a", "an", "the", "some")
_IRREGULAR = {
    "mice": "mouse",
    "lice": "louse",
    "geese": "goose",
    "teeth": "tooth",
    "feet": "foot",
    "oxen": "ox",
    "children": "child",
    "people": "person",
    "dice": "die",
}


def fold(text: str) -> str:
    """Return a text without case, accents, signs and a leading article.

    >>> fold("  The Pekinese-Dog! "), fold("Éclair")
    ('pekinese dog', 'eclair')
    """
    plain = unicodedata.normalize("NFKD", text.casefold())
    letters = "".join(sign for sign in plain if not unicodedata.combining(sign))
    words = re.sub(r"[^\w]|_", " ", re.sub(r"['’]", "", letters)).split()
    return " ".join(words[1:] if len(words) > 1 and words[0] in _ARTICLES else words)


def is_name_of(said: str, label: str, more: Iterable[str] = ()) -> bool:
    """Whether what was said is one of a label's names, or of ``more`` that count as right.

    >>> [is_name_of(said, "Pembroke, Pembroke Welsh corgi") for said in ("a pembroke", "corgi", "")]
    [True, False, False]
    >>> is_name_of("school buses", "school bus"), is_name_of("dogs", "Pembroke", ["dog"])
    (True, True)
    """
    own = _forms(said)
    return any(own & _forms(name) for name in (*synonyms(label), *more))


def _forms(text: str) -> set[str]:
    """Return a name as one may write it: its last word as it is and in the singular, words run together."""
    words = fold(text).split()
    if not words:
        return set()
    head = "".join(words[:-1])
    return {head + last for last in _singulars(words[-1])}


def _singulars(word: str) -> set[str]:
    """Return what a word may be the plural of, itself included.

    >>> sorted(_singulars("buses")), sorted(_singulars("wolves")), sorted(_singulars("grass"))
    (['bus', 'buse', 'buses'], ['wolf', 'wolfe', 'wolve', 'wolves'], ['grass'])
    """
    forms = {word}
    if word in _IRREGULAR:
        forms.add(_IRREGULAR[word])
    if word.endswith("men") and len(word) > 3:
        forms.add(word[:-3] + "man")
    if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")):
        forms.add(word[:-1])
        if word.endswith("ies"):
            forms.add(word[:-3] + "y")
        if word.endswith("ves"):
            forms |= {word[:-3] + "f", word[:-3] + "fe"}
        if word.endswith(("ses", "xes", "zes", "ches", "shes", "oes")):
            forms.add(word[:-2])
    return forms
