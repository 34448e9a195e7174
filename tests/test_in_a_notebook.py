"""A real kernel executes a notebook; what its cells show is what its reader sees."""

from __future__ import annotations

import base64
import io
import os
import re
import sys

import pytest
from PIL import Image

from tests.pages.browsing import CHROMIUM, FLAGS
from tests.pages.markup import Page

CELLS = [
    """
import featvis as fv, torch
from tests.networks import small
model = small(size=(32, 32))
model.layers
""",
    'pictures = fv.render(model, "norm:0:4", size=32, steps=200, lanes=4)\npictures',
    'fv.render(model, "norm:0:2", size=32, steps=200, lanes=2, live=True)[0]',
    'fv.render(model, "norm:0", size=32, steps=200, progress=False)',
    'fv.attribute(model, torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(0)), "fc:2")',
    'pictures[0].show()\nimport sys\nprint("widgets:", "ipywidgets" in sys.modules)',
]


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    """The notebook as a kernel leaves it. The progress is looked at very often, as the runs are short."""
    nbformat = pytest.importorskip("nbformat", reason="pip install nbclient ipykernel")
    client = pytest.importorskip("nbclient", reason="pip install nbclient ipykernel")
    kernels = tmp_path_factory.mktemp("kernels")
    place = kernels / "kernels" / "here"
    place.mkdir(parents=True)
    argv = f'["{sys.executable}", "-m", "ipykernel_launcher", "-f", "{{connection_file}}"]'
    (place / "kernel.json").write_text(f'{{"argv": {argv}, "display_name": "here", "language": "python"}}')
    hurry = "import featvis.run.progress as p\np.OFTEN = p.LIVE = p.REST = 0.0"
    cells = [nbformat.v4.new_code_cell(text.strip()) for text in (hurry, *CELLS)]
    notebook = nbformat.v4.new_notebook(cells=cells)
    seen = []

    class Watching(client.NotebookClient):
        def process_message(self, message, cell, index):
            if message["msg_type"] in ("display_data", "update_display_data"):
                seen.append((index, message["content"]["data"].get("text/html", "")))
            return super().process_message(message, cell, index)

    before = os.environ.get("JUPYTER_PATH")
    os.environ["JUPYTER_PATH"] = str(kernels)
    try:
        Watching(notebook, timeout=600, kernel_name="here").execute(cwd=os.getcwd())
    finally:
        os.environ.pop("JUPYTER_PATH")
        if before is not None:
            os.environ["JUPYTER_PATH"] = before
    return notebook, seen


def data_of(executed, number):
    """What the last output of a cell holds, by type."""
    return executed[0].cells[number].outputs[-1]["data"]


def images_of(html):
    found = []
    for address in Page(html).addresses:
        kind, _, content = address.partition(",")
        assert kind in ("data:image/png;base64", "data:image/webp;base64")
        with Image.open(io.BytesIO(base64.b64decode(content))) as image:
            found.append(image.size)
    return found


@pytest.mark.slow
def test_pictures_stand_in_the_cell(executed):
    shown = data_of(executed, 2)
    assert images_of(shown["text/html"]) == [(32, 32)] * 4
    assert len(shown["text/plain"].splitlines()) == 1
    assert shown["text/plain"].startswith("Pictures(4 pictures of Small, scores ")
    assert base64.b64decode(shown["image/png"]).startswith(b"\x89PNG")
    alone = data_of(executed, 3)
    assert images_of(alone["text/html"]) == [(32, 32)]
    assert alone["text/plain"].startswith("Picture('norm:0', score ")
    layers, where = data_of(executed, 1), data_of(executed, 5)
    assert "conv1" in Page(layers["text/html"]).text
    assert len(layers["text/plain"].splitlines()) <= 3
    assert images_of(where["text/html"]) == [(32, 32)] * 3
    assert len(where["text/plain"].splitlines()) == 1
    assert sum(len(str(cell.outputs)) for cell in executed[0].cells) < 400_000


PLAIN = {"div", "span", "b", "br", "img", "figure", "figcaption", "details", "summary"}
TABLES = {"table", "thead", "tbody", "tr", "th", "td"}


@pytest.mark.slow
def test_front_ends_that_take_styles_away_still_show_it(executed):
    """Colab and VS Code take no script, others (GitHub's preview) no style either: sizes and order hold."""
    for number in (1, 2, 3, 5):
        html = data_of(executed, number)["text/html"]
        page = Page(html)
        assert {tag for tag, _ in page.tags} <= PLAIN | TABLES
        told = {name for _, attributes in page.tags for name in attributes}
        assert told <= {"style", "src", "width", "height", "alt", "title"}
        assert all(int(image["width"]) >= 64 and image["alt"] for image in page.all("img"))
    bare = Page(re.sub(r' style="[^"]*"', "", data_of(executed, 2)["text/html"]))
    lines = [f"norm:{unit} score " for unit in range(4)]
    places = [" ".join(bare.text.split()).index(line) for line in lines]
    assert places == sorted(places)


@pytest.mark.slow
def test_progress_is_seen_while_it_renders_and_a_line_of_it_stays(executed):
    notebook, seen = executed
    bars = [Page(html) for index, html in seen if index == 2]
    assert len(bars) > 5
    assert bars[0].all("progress")
    assert "of 4 pictures" in bars[0].text
    assert [output["output_type"] for output in notebook.cells[2].outputs] == [
        "display_data",
        "execute_result",
    ]
    stays = Page(notebook.cells[2].outputs[0]["data"]["text/html"])
    assert stays.text.startswith("4 of 4 pictures, ")
    assert not stays.all("progress")
    live = [html for index, html in seen if index == 3 and "<img" in html]
    assert len(set(live)) > 3, "the pictures grow"
    assert all(len(images_of(html)) == 2 for html in live)
    assert [output["output_type"] for output in notebook.cells[4].outputs] == ["execute_result"]


@pytest.mark.slow
def test_no_progress_is_written_to_the_streams_and_no_widgets_are_loaded(executed):
    outputs = [output for cell in executed[0].cells for output in cell.outputs]
    written = "".join(output["text"] for output in outputs if output["output_type"] == "stream")
    assert "widgets: False" in written
    assert "pictures" not in written
    assert "\x1b" not in written
    shown = [
        output["data"] for output in executed[0].cells[6].outputs if output["output_type"] == "display_data"
    ]
    assert [images_of(data["text/html"]) for data in shown] == [[(32, 32)]]


@pytest.mark.slow
@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_readable_in_a_browser(executed, tmp_path, scheme):
    """The cells' HTML on a page of the front end's colours, which they take over."""
    if CHROMIUM is None:
        pytest.skip("no chromium on the PATH; on Debian: apt-get install chromium")
    playwright = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
    ground, ink = ("#111", "rgb(238, 238, 238)") if scheme == "dark" else ("#fff", "rgb(33, 33, 33)")
    shown = [data_of(executed, number).get("text/html", "") for number in (1, 2, 3, 5)]
    page = tmp_path / "cells.html"
    style = f"font:14px sans-serif;background:{ground};color:{ink}"
    page.write_text(f'<meta charset="utf-8"><body style="{style}">{"<hr>".join(shown)}')
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        tab = browser.new_page(viewport={"width": 900, "height": 900})
        tab.goto(page.as_uri())
        tab.screenshot(
            path=os.environ.get("SCREENSHOT", str(tmp_path / "shot.png")).replace(".png", f"-{scheme}.png")
        )
        assert tab.evaluate("[...document.images].every(one => one.naturalWidth > 0)")
        colors = tab.evaluate(
            "[...document.querySelectorAll('td, figcaption, div')].map(one => getComputedStyle(one).color)"
        )
        assert set(colors) == {ink}
        assert tab.evaluate("document.body.scrollWidth <= innerWidth")
        browser.close()
