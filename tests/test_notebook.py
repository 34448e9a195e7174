"""What notebooks are given: HTML that is safe, modest in bytes and readable on any background."""

from __future__ import annotations

import base64
import io
import sys
import types

import numpy as np
import pytest
from PIL import Image

from featvis import notebook
from tests.pages.markup import Page


class Stream(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def kernel(monkeypatch):
    """IPython as a notebook's kernel loads it; returns what is displayed and what is drawn over it."""
    shown = []

    class DisplayHandle:
        def display(self, thing):
            shown.append(("display", thing))

        def update(self, thing):
            shown.append(("update", thing))

    package, display = types.ModuleType("IPython"), types.ModuleType("IPython.display")
    package.get_ipython = lambda: types.SimpleNamespace(kernel=object())
    display.HTML, display.DisplayHandle = str, DisplayHandle
    display.display = lambda thing: shown.append(("display", thing))
    monkeypatch.setitem(sys.modules, "IPython", package)
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    return shown


def test_a_kernel_is_a_notebook_and_a_terminals_shell_is_none(kernel, monkeypatch):
    assert notebook.is_notebook()
    assert notebook.is_watched(io.StringIO())
    monkeypatch.setattr(sys.modules["IPython"], "get_ipython", lambda: types.SimpleNamespace(kernel=None))
    assert not notebook.is_notebook()
    monkeypatch.setattr(sys.modules["IPython"], "get_ipython", lambda: None)
    assert not notebook.is_notebook()


def test_a_terminal_is_watched_a_pipe_and_a_closed_stream_are_not(monkeypatch):
    assert notebook.is_watched(Stream())
    assert not notebook.is_watched(io.StringIO())
    closed = Stream()
    closed.close()
    monkeypatch.setattr(closed, "isatty", lambda: io.StringIO.isatty(closed))
    assert not notebook.is_watched(closed)
    monkeypatch.setattr(sys, "stderr", None)  # as under pythonw
    assert not notebook.is_watched()


def test_an_area_is_drawn_over(kernel):
    area = notebook.Area()
    area.draw("one")
    area.draw("two")
    assert kernel == [("display", "one"), ("update", "two")]


@pytest.mark.parametrize(
    "text", ["<script>alert(1)</script>", "a\nb", '"><img src=x onerror=alert(1)>', "é" * 500]
)
def test_texts_are_escaped_on_one_line_and_cut(text):
    written = notebook.plain(text)
    assert "<" not in written
    assert '"' not in written
    assert "\n" not in written
    assert len(written) <= 1200
    for made in (
        notebook.table([text], [[text]]),
        notebook.figure("", [text, text], 10),
        notebook.folded(text, ""),
        notebook.image_tag(Image.new("L", (4, 4)), text),
        notebook.blank(text, 4, 4),
    ):
        assert "<script" not in made
        assert "onerror=alert(1)>" not in made


def image_in(tag):
    (address,) = Page(tag).addresses
    kind, _, content = address.partition(",")
    image = Image.open(io.BytesIO(base64.b64decode(content)))
    image.load()
    return kind, image


def test_a_small_image_is_held_exactly_and_a_large_one_in_few_bytes():
    small = Image.fromarray(np.arange(48, dtype=np.uint8).reshape(4, 4, 3))
    kind, held = image_in(notebook.image_tag(small, "small"))
    assert kind == "data:image/png;base64"
    assert (np.asarray(held) == np.asarray(small)).all()
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (224, 224, 3), dtype=np.uint8))
    kind, held = image_in(notebook.image_tag(noise, "noise"))
    assert kind == "data:image/webp;base64"
    assert held.size == (224, 224)
    assert len(notebook.data_uri(noise)) < 90_000, "less than the PNG's 200,000"


def test_images_are_shrunk_to_a_side_and_tiny_ones_enlarged_by_whole_numbers():
    tag = notebook.image_tag(Image.new("RGB", (400, 100)), "wide", side=100)
    assert image_in(tag)[1].size == (100, 25)
    assert 'width="100" height="25"' in tag
    tag = notebook.image_tag(Image.new("L", (20, 16)), "tiny")
    assert image_in(tag)[1].size == (20, 16)
    assert 'width="80" height="64"' in tag
    assert "image-rendering:pixelated" in tag


def test_colours_are_the_front_ends_own():
    """In dark mode text is light: no colour of ours may be behind or in it."""
    made = (
        notebook.table(["name"], [["conv"]]) + notebook.figure("", ["one"], 9) + notebook.blank("dead", 9, 9)
    )
    assert "color:inherit" in made
    assert "#" not in made
    assert "color:black" not in made
