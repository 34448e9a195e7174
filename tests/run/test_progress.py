"""What is shown while pictures are made."""

from __future__ import annotations

import builtins
import io
import sys
import types

import pytest

import featvis as fv
from featvis.run.progress import Report
from tests.networks import small

OPTIONS = {"size": (17, 24), "steps": 3, "lanes": 2}


class ZMQInteractiveShell:
    """Called as the kernels of notebooks call theirs."""


@pytest.fixture
def notebook(monkeypatch):
    """What a process sees that runs in a notebook."""
    monkeypatch.setattr(builtins, "get_ipython", ZMQInteractiveShell, raising=False)


@pytest.fixture
def widgets(monkeypatch):
    """Notebook widgets that write down what they show."""
    shown = []

    class Output:
        def __enter__(self):
            return self

        def __exit__(self, *error):
            return None

        def clear_output(self, wait=False):
            shown.append("cleared")

        def close(self):
            shown.append("closed")

    display = types.ModuleType("IPython.display")
    display.display = lambda *things, **told: shown.extend(things)
    display.HTML = str
    package = types.ModuleType("IPython")
    package.display = display
    toolkit = types.ModuleType("ipywidgets")
    toolkit.Output = Output
    monkeypatch.setitem(sys.modules, "IPython", package)
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    monkeypatch.setitem(sys.modules, "ipywidgets", toolkit)
    return shown


def test_a_notebook_without_widgets_gets_plain_lines_and_no_warning(notebook, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    monkeypatch.setattr("featvis.run.progress.EVERY", 0.0)
    fv.render(small(), "norm:0:3", progress=True, **OPTIONS)
    told = capsys.readouterr()
    assert "of 3 pictures" in told.err
    assert "\x1b" not in told.err, "no control characters"
    assert told.out == ""


def test_a_notebook_with_widgets_gets_a_bar(notebook, widgets):
    pictures = fv.render(small(), "norm:0:3", progress=True, **OPTIONS)
    assert len(pictures) == 3
    assert any(type(thing).__name__ == "Output" for thing in widgets)


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
