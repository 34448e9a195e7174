"""What tests in a browser share; each module says by ``gallery`` which folder is visited."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.pages.browsing import CHROMIUM, FLAGS, PATIENCE, Visit


@pytest.fixture(scope="module")
def browser():
    if CHROMIUM is None:
        pytest.skip("no chromium on the PATH; on Debian: apt-get install chromium")
    playwright = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
    with playwright.sync_playwright() as started:
        launched = started.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield launched
        launched.close()


@pytest.fixture
def visit(browser, gallery) -> Iterator:
    begun = []

    def begin(folder=gallery, **options):
        begun.append(Visit(browser, folder, **options))
        return begun[-1]

    yield begin
    for one in begun:
        one.context.close()
    for one in begun:
        one.judge()


@pytest.fixture(scope="module")
def expect():
    expect = pytest.importorskip("playwright.sync_api", reason="pip install playwright").expect
    expect.set_options(timeout=PATIENCE)
    return expect
