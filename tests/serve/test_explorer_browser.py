"""The explorer in a real browser: pictures that grow, a photograph's places, the board."""

from __future__ import annotations

import io
import time
import zipfile

import numpy as np
import pytest
from PIL import Image

from featvis.serve.explorer import Explorer
from featvis.serve.patches import Folder
from tests.pages.browsing import PATIENCE, find_axe
from tests.serve.serving import served, until

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def explorer(lite0, tmp_path_factory):
    folder, draw = tmp_path_factory.mktemp("browser") / "photos", np.random.default_rng(0)
    folder.mkdir()
    for number in range(12):
        levels = draw.integers(0, 256, (8, 8, 3), np.uint8)
        Image.fromarray(levels).resize((64, 64)).save(folder / f"<i>{number}.png")
    made = Explorer(lite0, folder=Folder(folder))
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


def make_quick(page, size=32, steps=2):
    for name, value in {"size": size, "steps": steps}.items():
        page.evaluate("([id, value]) => { document.getElementById(id).value = value; }", [name, str(value)])


def draw(page, layer, unit, **fields):
    page.evaluate("layer => { document.getElementById('layer').value = layer; }", layer)
    page.evaluate("unit => { document.getElementById('unit').value = unit; }", str(unit))
    make_quick(page, **fields)
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
    expect(page.locator("#told")).to_contain_text("done")


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
    make_quick(page, size=64, steps=6)
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


def test_one_box_finds_layers_units_and_classes(page, expect):
    """By the keyboard alone; what was found is there within a fifth of a second of the last letter."""
    page.keyboard.press("/")
    box, finds = page.get_by_role("combobox", name="Find"), page.locator("#finds li")
    expect(box).to_be_focused()
    for query, first, about in [
        ("Blocks.4", "blocks.4", "layer, 112 units"),
        ("blocks.4:17", "blocks.4:17", "unit"),
        ("blocks.4 17", "blocks.4:17", "unit"),
        ("tabby", "tabby, tabby cat", "classifier:281"),
        ("cat tiger", "tiger cat", "classifier:282"),
        ("corgi pemb", "Pembroke, Pembroke Welsh corgi", "classifier:263"),
    ]:
        box.fill(query)
        assert finds.first.inner_text().splitlines() == [first, about], query
    page.evaluate("() => { document.getElementById('layer').value = 'blocks.3'; }")
    box.fill("17")
    assert finds.first.inner_text().splitlines()[0] == "blocks.3:17", "the chosen layer's comes first"
    box.fill("no such thing")
    expect(page.get_by_text("Nothing has that name.")).to_be_visible()
    expect(box).to_have_attribute("aria-expanded", "false")
    taken = page.evaluate(
        """() => [...'blocks.4.1', ...'retriever', '1', '99'].map((letter, place, all) => {
            const box = document.getElementById('find');
            box.value = place > 18 ? letter : all.slice(place < 10 ? 0 : 10, place + 1).join('');
            const began = performance.now();
            box.dispatchEvent(new Event('input'));
            document.body.getBoundingClientRect();
            return performance.now() - began;
        })"""
    )
    print(f"a search takes at most {max(taken):.0f} ms")
    assert sorted(taken)[-3] < 200  # Another program may have taken the processor twice
    box.fill("terrier")
    told = page.locator("#finds-told").inner_text()
    assert told.startswith("12 of ")
    page.keyboard.press("ArrowDown")
    second = finds.nth(1)
    expect(second).to_have_attribute("aria-selected", "true")
    expect(box).to_have_attribute("aria-activedescendant", second.get_attribute("id"))
    page.keyboard.press("Escape")
    expect(page.locator("#finds")).to_be_hidden()
    box.fill("volcano")
    make_quick(page)
    page.keyboard.press("Enter")
    expect(page.locator("#now figcaption")).to_contain_text("classifier:980, volcano")
    assert (page.locator("#layer").input_value(), box.input_value()) == ("classifier", "")


def test_a_unit_shows_its_photographs_and_one_of_them_its_places(page, expect, explorer):
    until(lambda: explorer.queue.count == 0)
    draw(page, "blocks.2", 5, size=32, steps=2)
    patches = page.locator("#found button")
    expect(patches).to_have_count(9)
    expect(page.locator("#searched")).to_contain_text("blocks.2:5: the best of 12 photographs")
    values = [float(text) for text in page.locator("#found b").all_inner_texts()]
    assert values == sorted(values, reverse=True)
    assert page.locator("#found .from").first.inner_text().startswith("<i>"), "a name is text"
    assert page.locator("#found img").first.evaluate("one => one.naturalWidth") > 8
    patches.first.focus()
    page.keyboard.press("Enter")
    expect(page.locator("#places button")).to_have_count(14 * 14)


def test_a_search_is_stopped_and_gone_on_with(page, expect, explorer, monkeypatch):
    until(lambda: explorer.queue.count == 0)
    monkeypatch.setattr("featvis.serve.patches.SHARE", 0)
    draw(page, "blocks.1", 5, size=32, steps=2)
    expect(page.locator("#searched")).to_contain_text("of 12 files searched")
    page.get_by_role("button", name="Stop searching").click()
    expect(page.locator("#searched")).to_contain_text("stopped")
    until(lambda: explorer.queue.count == 0)
    page.get_by_role("button", name="Go on searching").click()
    expect(page.locator("#searched")).to_contain_text("the best of 12")
    expect(page.locator("#search-buttons")).to_be_hidden()


def test_contrast_and_saturation_are_knobs_where_the_recipe_has_them(page, expect):
    contrast, saturation = page.get_by_label("Contrast at most"), page.get_by_label("Saturation at most")
    expect(contrast).to_be_disabled()
    make_quick(page)
    page.get_by_label("Recipe").select_option("portrait")
    expect(contrast).to_be_enabled()
    assert contrast.get_attribute("placeholder") == "recipe’s, 0.235"
    page.get_by_role("button", name="Draw").click()
    expect(page.locator("#now figcaption")).to_contain_text("recipe portrait, 2 steps")
    page.get_by_role("button", name="Hold for comparison").click()
    saturation.fill("0.05")
    saturation.press("Enter")
    expect(page.locator("#now figcaption")).to_contain_text("saturation at most 0.05")
    expect(page.locator("#held figcaption")).not_to_contain_text("saturation at most")
    page.get_by_role("button", name="Back to its settings").click()
    expect(page.locator("#now figcaption")).not_to_contain_text("saturation at most")
    assert saturation.input_value() == ""
    page.get_by_label("Recipe").select_option("fast")
    expect(saturation).to_be_disabled()


def test_the_unit_beside_a_class_by_name_is_beside_it(page, expect):
    draw(page, "classifier", "tabby", size=32, steps=2)
    expect(page.locator("#told")).to_contain_text("classifier:281: done")
    page.get_by_role("button", name="Next unit").click()
    expect(page.locator("#told")).to_contain_text("classifier:282: done")
    page.locator("#unit").fill("volcano")
    page.get_by_role("button", name="Previous unit").click()
    expect(page.locator("#told")).to_contain_text("classifier:979: done")


def test_back_to_a_held_picture_is_back_to_its_unit(page, expect):
    draw(page, "blocks.3", 3, size=32, steps=2)
    expect(page.locator("#now figcaption")).to_contain_text("blocks.3:3")
    page.get_by_role("button", name="Hold for comparison").click()
    draw(page, "blocks.4", 7, size=32, steps=2)
    expect(page.locator("#now figcaption")).to_contain_text("blocks.4:7")
    page.get_by_role("button", name="Back to its settings").click()
    expect(page.locator("#now figcaption")).to_contain_text("blocks.3:3")
    assert page.locator("#layer").input_value() == "blocks.3"
    assert page.locator("#unit").input_value() == "3"


def test_the_photograph_that_was_chosen_last_is_shown(page, expect, tmp_path):
    for name, size in (("first", (64, 64)), ("last", (96, 64))):
        Image.new("RGB", size, "olive").save(tmp_path / f"{name}.png")
    answers = []

    def late(route):
        if answers:
            return route.continue_()
        answers.append(route)  # the first waits until the second is there
        return None

    page.route("**/api/photographs?*", late)
    page.set_input_files("#file", tmp_path / "first.png")
    while not answers:
        page.wait_for_timeout(50)  # in which the browser is heard
    page.set_input_files("#file", tmp_path / "last.png")
    expect(page.locator("#seen")).to_contain_text("places")
    wide = "document.querySelector('#photo').naturalWidth > document.querySelector('#photo').naturalHeight"
    page.wait_for_function(wide)
    answers[0].continue_()
    page.wait_for_timeout(1500)
    assert page.evaluate(wide)


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
    expect(page.locator("#found button")).to_have_count(9)
    page.locator("#find").fill("blocks.4 1")
    expect(page.locator("#finds")).to_be_visible()
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
