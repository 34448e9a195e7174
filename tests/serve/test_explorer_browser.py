"""The explorer in a real browser: pictures that grow, a photograph's places, the board."""

from __future__ import annotations

import io
import time
import zipfile

import numpy as np
import pytest
from PIL import Image

from featvis.serve.explorer import Explorer
from tests.pages.browsing import PATIENCE, find_axe
from tests.serve.serving import served, until

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def explorer(lite0):
    made = Explorer(lite0)
    made.warm()
    return made


@pytest.fixture(scope="module")
def address(explorer):
    with served(explorer) as (_, address):
        yield address


@pytest.fixture
def page(browser, address, request):
    options = {"viewport": {"width": 1280, "height": 800}, **getattr(request, "param", {})}
    context = browser.new_context(accept_downloads=True, **options)
    context.set_default_timeout(PATIENCE)
    errors = []
    context.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    context.on("weberror", lambda error: errors.append(str(error.error)))
    made = context.new_page()
    requests = []
    context.on("request", lambda one: requests.append(one.url))
    made.goto(address)
    made.locator("#layer option").nth(1).wait_for(state="attached")
    yield made
    context.close()
    assert errors == []
    own = address.partition("?")[0]
    assert [url for url in requests if not url.startswith((own, "data:"))] == []


def draw(page, layer, unit, **fields):
    page.evaluate("layer => { document.getElementById('layer').value = layer; }", layer)
    page.evaluate("unit => { document.getElementById('unit').value = unit; }", str(unit))
    for name, value in fields.items():
        page.evaluate("([id, value]) => { document.getElementById(id).value = value; }", [name, str(value)])
    page.get_by_role("button", name="Draw").click()


def watch_one(page, expect, unit):
    """Draw a unit; return after how many seconds it is first seen, and how many looks a second follow."""
    began = time.perf_counter()
    draw(page, "blocks.3", unit, size=128, steps=200)
    page.locator("#growing").wait_for()
    first = time.perf_counter() - began
    page.evaluate(
        "() => { window.looks = []; new MutationObserver(() => window.looks.push(performance.now()))"
        ".observe(document.getElementById('growing'), {attributes: true, attributeFilter: ['src']}); }"
    )
    expect(page.locator("#now figcaption")).to_contain_text(f"blocks.3:{unit} ")
    looks = page.evaluate("window.looks")
    return first, (len(looks) - 1) / (looks[-1] - looks[0]) * 1000


def test_a_picture_grows_before_ones_eyes(page, expect, explorer):
    until(lambda: explorer.queue.count == 0)
    assert "token" not in page.url
    # Whatever else the machine does at one moment, it does not do at three.
    seen = [watch_one(page, expect, unit) for unit in (3, 4, 5)]
    print(
        "; ".join(f"first look after {first:.2f} s, then {rate:.1f} looks a second" for first, rate in seen)
    )
    assert min(first for first, _ in seen) < 3
    assert max(rate for _, rate in seen) >= 2
    assert page.locator("#now img").evaluate("one => one.naturalWidth") == 128
    expect(page.get_by_role("status").first).to_contain_text("done")


def test_changes_of_mind_leave_one_job_and_a_page_that_goes_leaves_none(page, explorer):
    until(lambda: explorer.queue.count == 0)
    draw(page, "blocks.3", 0, size=128, steps=2000)
    page.locator("#growing").wait_for()
    for _ in range(20):
        page.keyboard.press("Control+Home")
        page.get_by_role("button", name="Next unit").click()
    until(lambda: explorer.queue.count == 1)
    assert page.locator("#unit").input_value() == "20"
    page.goto("about:blank")
    until(lambda: explorer.queue.count == 0)


def test_a_photograph_a_place_a_unit_the_board_and_its_gallery(page, expect, explorer):
    levels = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    content = io.BytesIO()
    Image.fromarray(levels).resize((320, 240)).save(content, "PNG")
    page.evaluate("() => { document.getElementById('layer').value = 'blocks.4'; }")
    file = {"name": "../<b>evil</b>.png", "mimeType": "image/png", "buffer": content.getvalue()}
    page.locator("#file").set_input_files(file)
    places = page.locator("#places button")
    places.first.wait_for()
    places.first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    expect(page.locator("#place-units button")).to_have_count(8)
    page.evaluate("() => { for (const [id, value] of [['size', 64], ['steps', 6]])"
                  " document.getElementById(id).value = value; }")  # fmt: skip
    page.locator("#place-units button").first.click()
    expect(page.locator("#now figcaption")).to_contain_text("blocks.4:")
    page.get_by_role("button", name="Hold for comparison").click()
    expect(page.locator("#held figcaption")).to_contain_text("blocks.4:")
    page.get_by_role("button", name="Pin to the board").click()
    expect(page.locator("#pins li")).to_have_count(1)
    with page.expect_download() as download:
        page.get_by_role("link", name="Save as a gallery").click()
    with zipfile.ZipFile(download.value.path()) as archive:
        assert "featvis-board/index.html" in archive.namelist()
    page.get_by_role("button", name="Take off").click()
    expect(page.get_by_text("Nothing is pinned.")).to_be_visible()


@pytest.mark.parametrize(
    "page",
    [
        {"viewport": {"width": width, "height": 800}, "color_scheme": scheme}
        for width in (1280, 390)
        for scheme in ("light", "dark")
    ],
    indirect=True,
    ids=str,
)
def test_nothing_is_wider_than_the_screen_and_axe_finds_nothing_serious(page, expect):
    draw(page, "blocks.3", 5, size=64, steps=4)
    expect(page.locator("#now figcaption")).to_contain_text("blocks.3:5")
    page.get_by_role("button", name="Pin to the board").click()
    expect(page.locator("#pins li")).not_to_have_count(0)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    axe = find_axe()
    if axe is None:
        pytest.skip("no axe-core: npm install --no-save axe-core, or let AXE_CORE name its axe.min.js")
    page.evaluate(axe.read_text("utf-8"))
    told = page.evaluate("axe.run(document, {preload: false})")
    assert len(told["passes"]) > 15, "it looked"
    faults = [
        f"{one['impact']}: {one['help']}: {one['nodes'][0]['html']}"
        for one in told["violations"]
        if one["impact"] in ("serious", "critical")
    ]
    assert faults == []
