"""JupyterLab in a real browser: the README's lines are run as a reader runs them, and looked at."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import closing

import pytest
import torch

import featvis as fv
from tests.documents import REPOSITORY, blocks
from tests.networks import small
from tests.pages.browsing import CHROMIUM, FLAGS

pytestmark = [pytest.mark.browser, pytest.mark.slow]

TOKEN = "only-here"
QUICK = 'size=48, steps=80, recipe="channel"'
"""What the README's call is given so that it takes seconds, but long enough to be watched."""
PATIENCE = 120_000
KERNEL = {"display_name": "Python", "language": "python", "name": "python3"}


def cells():
    """The README's lines, in a cell up to the call, one with the rest, and two that show other things."""
    code = blocks(REPOSITORY / "README.md", "python")[0]
    small = re.sub(r"(fv\.render\(model, \[.*?\])\)", rf"\1, {QUICK})", code)
    assert small != code
    lines = small.strip().splitlines()
    first = next(place for place, line in enumerate(lines) if "fv.render(" in line) + 1
    return [
        "\n".join(lines[:first]),
        "\n".join(lines[first:]),
        "sheet",
        "fv.attribute(model, pictures[4].image, 'classifier:ladybug')",
        "model.layers",
    ]


def shared(nbformat):
    """A notebook with its outputs, as somebody sends it: the front end trusts it with no style or script."""
    pictures = fv.render(small(size=(32, 32)), "norm:0:3", size=32, steps=2)
    where = fv.attribute(small(size=(32, 32)), torch.rand(3, 32, 32), "fc:2")
    cells = []
    for shown in (pictures, pictures[1], where, small(size=(32, 32)).layers):
        data = {"text/html": shown._repr_html_(), "text/plain": repr(shown)}
        output = nbformat.v4.new_output("execute_result", data=data, execution_count=1)
        cells.append(nbformat.v4.new_code_cell("shown", outputs=[output], execution_count=1))
    return nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": KERNEL})


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """A server of its own: folder, settings, token, port."""
    pytest.importorskip("jupyterlab", reason="pip install jupyterlab")
    folder = tmp_path_factory.mktemp("lab")
    nbformat = pytest.importorskip("nbformat", reason="pip install nbclient ipykernel")
    kernel = folder / "data" / "kernels" / "python3"
    kernel.mkdir(parents=True)
    argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    (kernel / "kernel.json").write_text(
        json.dumps({"argv": argv, "display_name": "Python", "language": "python"})
    )
    (folder / "work").mkdir()
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(text) for text in cells()], metadata={"kernelspec": KERNEL}
    )
    for scheme in ("light", "dark"):
        nbformat.write(notebook, folder / "work" / f"{scheme}.ipynb")
    nbformat.write(shared(nbformat), folder / "work" / "shared.ipynb")
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    places = {
        "JUPYTER_CONFIG_DIR": "config",
        "JUPYTER_DATA_DIR": "data",
        "JUPYTER_RUNTIME_DIR": "runtime",
        "JUPYTERLAB_SETTINGS_DIR": "settings",
        "JUPYTERLAB_WORKSPACES_DIR": "workspaces",
        "IPYTHONDIR": "ipython",
    }
    path = os.pathsep.join([str(REPOSITORY), *os.environ.get("PYTHONPATH", "").split(os.pathsep)])
    options = [
        "--no-browser",
        "--allow-root",
        "--ServerApp.ip=127.0.0.1",
        f"--ServerApp.port={port}",
        "--ServerApp.port_retries=0",
        f"--IdentityProvider.token={TOKEN}",
        f"--ServerApp.root_dir={folder / 'work'}",
        "--LabApp.news_url=",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
    ]
    with (folder / "log").open("w") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "jupyterlab", *options],
            cwd=folder / "work",
            env={
                **os.environ,
                **{name: str(folder / place) for name, place in places.items()},
                "PYTHONPATH": path.rstrip(os.pathsep),
                "OMP_NUM_THREADS": "1",
            },
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    address = f"http://127.0.0.1:{port}"
    try:
        ends = time.monotonic() + 120
        while True:
            try:
                urllib.request.urlopen(f"{address}/api/status?token={TOKEN}", timeout=5).close()
                break
            except OSError:
                assert server.poll() is None and time.monotonic() < ends, (folder / "log").read_text()  # noqa: PT018
                time.sleep(0.3)
        yield folder, address
    finally:
        server.terminate()
        server.wait(30)


@pytest.fixture
def opened(lab, request):
    """Opens a notebook in a theme, in a browser of its own."""
    if CHROMIUM is None:
        pytest.skip("no chromium on the PATH; on Debian: apt-get install chromium")
    playwright = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
    folder, address = lab
    settings = folder / "settings" / "@jupyterlab" / "apputils-extension"
    settings.mkdir(parents=True, exist_ok=True)
    news = {"fetchNews": "false", "checkForUpdates": False}
    (settings / "notification.jupyterlab-settings").write_text(json.dumps(news))
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=FLAGS)

        def open_notebook(name, scheme):
            theme = {"theme": f"JupyterLab {scheme.title()}"}
            (settings / "themes.jupyterlab-settings").write_text(json.dumps(theme))
            page = browser.new_page(viewport={"width": 1280, "height": 1400})
            page.set_default_timeout(PATIENCE)
            page.goto(f"{address}/lab/tree/{name}.ipynb?token={TOKEN}&reset")
            page.locator(".jp-NotebookPanel .jp-CodeCell").nth(3).wait_for()
            return page

        yield open_notebook
        browser.close()


INK = {
    "light": {"rgba(0, 0, 0, 0.87)"},
    "dark": {"rgb(255, 255, 255)", "rgba(255, 255, 255, 0.87)"},
}
"""What JupyterLab writes with, on its own ground."""
OUTPUTS = ".jp-OutputArea-output"
WIDTHS = "all => all.map(one => [one.naturalWidth, one.getBoundingClientRect().width])"
TOO_WIDE = "all => all.map(one => Math.max(0, one.scrollWidth - one.clientWidth))"
COLORS = "all => [...new Set(all.map(one => getComputedStyle(one).color))]"


@pytest.mark.parametrize("scheme", INK)
def test_the_readme_is_run_and_its_pictures_are_seen(opened, scheme, tmp_path):
    page = opened(scheme, scheme)
    cell, outputs = page.locator(".jp-CodeCell"), page.locator(OUTPUTS)
    page.locator(".jp-Notebook-ExecutionIndicator[data-status=idle]").first.wait_for()
    cell.nth(0).locator(".cm-content").click()
    page.keyboard.press("Shift+Enter")
    outputs.locator("progress").wait_for()
    under_way = outputs.all_inner_texts()
    shot(page, tmp_path, f"{scheme}-under-way")
    for _ in range(4):
        page.keyboard.press("Shift+Enter")
    cell.nth(4).get_by_text("classifier").first.wait_for()
    page.wait_for_function("[...document.images].every(one => one.complete)")
    shot(page, tmp_path, scheme)
    (bar,) = under_way
    assert re.fullmatch(r"\d of 5 pictures, [\d.]+ steps/s, about .+ left, mean score \S+", bar.strip())
    told = [cell.nth(number).locator(OUTPUTS).all_inner_texts() for number in range(4)]
    assert re.fullmatch(r"5 of 5 pictures, [\d.]+ (s|min)", "".join(told[0]).strip())
    assert sum(len(text.strip().splitlines()) for text in (*told[0], told[1][0])) <= 3
    printed, sheet = told[1]
    line, *captions = sheet.strip().splitlines()
    assert line.startswith("5 pictures of efficientnet_lite0, scores ")
    names, scores = captions[::2], captions[1::2]
    named = ["classifier:980 volcano", "classifier:301 ladybug"]
    assert names == [*(f"blocks.3:{unit}" for unit in range(3)), *named]
    assert all(re.fullmatch(r"score \d+(\.\d+)?", score) for score in scores)
    assert float(printed.split()[1]) == pytest.approx(float(scores[3].split()[1]), rel=1e-3)
    for number, count, least in ((1, 5, 48), (2, 1, 200), (3, 3, 48)):
        widths = cell.nth(number).locator(f"{OUTPUTS} img").evaluate_all(WIDTHS)
        assert len(widths) == count
        assert all(natural >= least and shown >= 64 for natural, shown in widths)
    assert set(outputs.evaluate_all(TOO_WIDE)) == {0}
    assert set(outputs.locator("figcaption, div, td").evaluate_all(COLORS)) <= INK[scheme]


@pytest.mark.parametrize("scheme", INK)
def test_a_notebook_of_somebody_else_is_read_without_being_trusted(opened, scheme, tmp_path):
    """Its HTML comes through the front end's sanitizer."""
    page = opened("shared", scheme)
    cell, outputs = page.locator(".jp-CodeCell"), page.locator(OUTPUTS)
    page.wait_for_function("[...document.images].every(one => one.complete)")
    shot(page, tmp_path, f"shared-{scheme}")
    for number, count in enumerate((3, 1, 3)):
        widths = cell.nth(number).locator(f"{OUTPUTS} img").evaluate_all(WIDTHS)
        assert widths == [[32, 64]] * count
    names = cell.nth(0).locator("figcaption b").all_inner_texts()
    assert names == ["norm:0", "norm:1", "norm:2"]
    tops = (
        cell.nth(0).locator("figure").evaluate_all("all => all.map(one => one.getBoundingClientRect().top)")
    )
    assert len(set(tops)) == 1, "side by side"
    assert "conv1" in cell.nth(3).locator("table").first.inner_text()
    assert set(outputs.locator("figcaption, div, td").evaluate_all(COLORS)) <= INK[scheme]


def shot(page, tmp_path, name):
    """A screenshot for who wants to look: JUPYTERLAB_SHOTS names a folder."""
    page.screenshot(path=os.path.join(os.environ.get("JUPYTERLAB_SHOTS", str(tmp_path)), f"{name}.png"))
