"""Read pages strictly: tags balanced, ids unique, and every text and address that they hold."""

from __future__ import annotations

import posixpath
from html.parser import HTMLParser
from urllib.parse import unquote

VOID = {"meta", "link", "img", "input", "line", "polyline", "circle", "br"}


class Page(HTMLParser):
    """One page, parsed; an AssertionError if its tags do not balance."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.texts: list[str] = []
        self.headings: list[tuple[int, str]] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == [], f"never closed: {self._open}"
        ids = [told["id"] for _, told in self.tags if "id" in told]
        assert len(ids) == len(set(ids)), "an id twice"

    def handle_starttag(self, tag, attrs):
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"an attribute twice: {attrs}"
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self._open.append(tag)
        if tag in ("h1", "h2", "h3"):
            self.headings.append((int(tag[1]), ""))

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag):
        assert self._open, f"</{tag}> closes nothing"
        assert self._open.pop() == tag, f"</{tag}> closes another tag"

    def handle_data(self, data):
        self.texts.append(data)
        if self.headings and set(self._open) & {"h1", "h2", "h3"}:
            level, before = self.headings[-1]
            self.headings[-1] = (level, before + data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())

    def all(self, tag: str, **told: str) -> list[dict[str, str]]:
        """The attributes of every such tag that has these; ``class_`` is among the classes."""
        wanted = {name.rstrip("_"): value for name, value in told.items()}
        return [
            found
            for name, found in self.tags
            if name == tag and all(value in found.get(key, "").split() for key, value in wanted.items())
        ]

    @property
    def addresses(self) -> list[str]:
        return [
            told[name]
            for tag, told in self.tags
            for name in ("href", "src", "action", "srcset", "data-source")
            if name in told
        ]


def resolve(page: str, address: str) -> str:
    """The path that an address on a page leads to; an AssertionError if it is not a relative one."""
    path = address.partition("#")[0]
    assert ":" not in path, f"{address} is not relative"
    assert not path.startswith("/"), f"{address} is not relative"
    found = posixpath.normpath(posixpath.join(posixpath.dirname(page), unquote(path))) if path else page
    assert not found.startswith(".."), f"{address} leaves the folder"
    return found
