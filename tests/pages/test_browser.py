"""The pages in a real browser, opened from disk: what a user does with them, and what they must not do."""

from __future__ import annotations

import re
import statistics
import time

import pytest

from featvis.pages.folder import write_pages
from tests.pages.browsing import Visit, find_axe, paper
from tests.pages.manifests import HOSTILE, hostile, many, rich, write_folder

pytestmark = pytest.mark.browser

KINDS = {"index": "index.html", "layer": "blocks.3/index.html", "unit": "blocks.3/0012.html"}
HOSTILE_TEXT = "<script>alert('x')</script>\"'><img src=x onerror=alert(1)> {{ 7 }}"


@pytest.fixture(scope="module")
def gallery(tmp_path_factory):
    folder = write_folder(tmp_path_factory.mktemp("pages") / "my gallery #1", *rich())
    write_pages(folder)
    return folder


def units(page) -> list[str]:
    """The numbers on the cards that are shown, in their order."""
    return page.locator("#cards > li:visible .number").all_text_contents()


def loaded(page) -> list[bool]:
    return page.locator("img").evaluate_all(
        "images => images.map(one => one.complete && one.naturalWidth > 0)"
    )


def test_from_the_index_to_a_layer_to_a_unit_and_back(visit, expect):
    seen = visit()
    page = seen.open("index.html")
    expect(page).to_have_title("Lite0")
    page.get_by_role("link", name=re.compile(r"^blocks\.3: ")).click()
    assert seen.place == "blocks.3/index.html"
    page.get_by_role("link", name="unit 12: picture").click()
    assert seen.place == "blocks.3/0012.html"
    expect(page.get_by_role("heading", level=1)).to_have_text("Unit 12")
    expect(page.get_by_role("img", name="unit 12: picture", exact=True)).to_be_visible()
    expect(page.get_by_role("img", name="Score over the steps")).to_be_visible()
    page.locator("ol.crops").scroll_into_view_if_needed()
    page.wait_for_load_state("networkidle")
    assert all(loaded(page))
    page.get_by_role("navigation", name="Breadcrumb").get_by_role("link", name="Lite0").click()
    assert seen.place == "index.html"


def test_the_large_picture_is_shown_in_whole_pixels(visit):
    page = visit().open("blocks.3/0012.html")
    box = page.get_by_role("img", name="unit 12: picture", exact=True).bounding_box()
    assert (box["width"], box["height"]) == (32 * 16, 24 * 16)


def test_sort(visit):
    page = visit().open("blocks.3/index.html")
    by_index = [str(unit) for unit in (*range(6), 12, 13, 14, 15)]
    assert units(page) == by_index
    page.get_by_label("Sort by").select_option("score")
    assert units(page) == ["3", "1", "12", "4", "15", "2", "5", "0", "13", "14"], "equals keep their order"
    page.get_by_label("Sort by").select_option("verdict")
    assert units(page)[:4] == ["14", "13", "15", "12"]
    page.get_by_label("Sort by").select_option("index")
    assert units(page) == by_index


def test_filter_by_class_name(visit, expect):
    seen = visit()
    page = seen.open("classifier/index.html")
    count = page.get_by_role("status")
    expect(count).to_have_text("3 units")
    assert count.get_attribute("aria-live") == "polite"
    page.get_by_label("Filter").press_sequentially("corgi")
    assert units(page) == ["263", "264"]
    expect(count).to_have_text("2 of 3 units")
    page.get_by_label("Filter").fill("PÉMBROKE")
    assert units(page) == ["263"]
    page.get_by_label("Filter").fill("no such thing")
    assert units(page) == []
    expect(page.get_by_text("No unit matches.")).to_be_visible()
    page.get_by_label("Filter").fill("")
    assert units(page) == ["1", "263", "264"]
    # Coming back from a unit finds the list as it was left.
    page.get_by_label("Filter").fill("corgi")
    page.get_by_label("Sort by").select_option("score")
    page.get_by_role("link", name="unit 264, Cardigan").click()
    assert seen.place == "classifier/0264.html"
    page.go_back()
    expect(page.get_by_label("Filter")).to_have_value("corgi")
    expect(page.get_by_label("Sort by")).to_have_value("score")
    assert sorted(units(page)) == ["263", "264"]


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        ("12", ["12"]),
        ("1", ["1"]),
        ("unit 12", ["12"]),
        ("3,14", ["3", "14"]),
        ("2:5", ["2", "3", "4"]),
        ("0:2, 15", ["0", "1", "15"]),
        ("dead", ["13"]),
        ("hardly", ["12"]),
        ("earlier recipe", ["15"]),
        ("99", []),
        ("5:2", []),
        ("<b>", []),
        (".*", []),
        (",", [str(unit) for unit in (*range(6), 12, 13, 14, 15)]),
    ],
)
def test_filter_by_number_range_and_mark(visit, query, shown):
    page = visit().open("blocks.3/index.html")
    page.get_by_label("Filter").fill(query)
    assert units(page) == shown


def test_keys(visit, expect):
    seen = visit()
    page = seen.open("blocks.3/0004.html")

    def press(key, place):
        page.keyboard.press(key)
        page.wait_for_url((seen.folder / place).as_uri())

    press("ArrowRight", "blocks.3/0005.html")
    press("ArrowRight", "blocks.3/0012.html")
    press("ArrowLeft", "blocks.3/0005.html")
    press("u", "blocks.3/index.html")
    press("ArrowLeft", "classifier/index.html")
    press("Escape", "index.html")
    page.keyboard.press("ArrowLeft")
    seen.open("blocks.3/0000.html")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Control+ArrowRight")
    page.wait_for_timeout(150)
    assert seen.place == "blocks.3/0000.html", "the first has none before it; with Control it is another key"
    # While typing, the same keys move in the text.
    seen.open("blocks.3/index.html")
    page.keyboard.press("/")
    expect(page.get_by_label("Filter")).to_be_focused()
    page.keyboard.type("uu")
    page.keyboard.press("ArrowLeft")
    page.keyboard.type("n")
    page.wait_for_timeout(150)
    expect(page.get_by_label("Filter")).to_have_value("unu")
    assert seen.place == "blocks.3/index.html"


def test_all_of_it_can_be_reached_by_keyboard(visit, expect):
    seen = visit()
    page = seen.open("blocks.3/index.html")
    page.keyboard.press("Tab")
    skip = page.get_by_role("link", name="Skip to the content")
    expect(skip).to_be_focused()
    expect(skip).to_be_in_viewport()
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()
    page.get_by_label("Sort by").focus()
    page.keyboard.press("Tab")
    card = page.get_by_role("link", name="unit 0: picture")
    expect(card).to_be_focused()
    outline = card.evaluate(
        "card => getComputedStyle(card).outlineStyle + getComputedStyle(card).outlineWidth"
    )
    assert outline == "solid3px"
    page.keyboard.press("Enter")
    page.wait_for_url((seen.folder / "blocks.3/0000.html").as_uri())


def test_dark_as_the_system_says(visit):
    assert paper(visit(color_scheme="dark").open("index.html")) < 60
    assert paper(visit(color_scheme="light").open("index.html")) > 200


def test_dark_by_the_button_and_remembered(visit, expect):
    seen = visit(color_scheme="light")
    page = seen.open("index.html")
    button = page.get_by_role("button", name="Dark mode")
    expect(button).to_have_attribute("aria-pressed", "false")
    button.click()
    expect(button).to_have_attribute("aria-pressed", "true")
    assert paper(page) < 60
    for place in ("blocks.3/index.html", "blocks.3/0012.html"):
        assert paper(seen.open(place)) < 60
    page.get_by_role("button", name="Dark mode").click()
    assert paper(page) > 200
    assert paper(visit(color_scheme="dark").open("index.html")) < 60
    light = visit(color_scheme="dark")
    light.open("index.html").get_by_role("button", name="Dark mode").click()
    assert paper(light.page) > 200, "light although the system is dark"


def test_where_storage_is_refused_the_button_works_all_the_same(visit):
    seen = visit(color_scheme="light")
    seen.context.add_init_script(
        "Object.defineProperty(window, 'localStorage', {get() { throw new DOMException('denied'); }});"
        "history.replaceState = () => { throw new DOMException('denied'); };"
    )
    page = seen.open("blocks.3/index.html")
    page.get_by_role("button", name="Dark mode").click()
    assert paper(page) < 60
    page.get_by_label("Filter").fill("12")
    assert units(page) == ["12"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("width", [320, 360, 768])
def test_no_page_scrolls_sideways(visit, kind, width):
    page = visit(viewport={"width": width, "height": 740}).open(KINDS[kind])
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.get_by_role("heading", level=1).is_visible()


@pytest.mark.parametrize("kind", KINDS)
def test_long_names_do_not_break_a_phone(browser, visit, tmp_path, kind):
    folder = write_folder(tmp_path, *hostile("features_" * 40))
    write_pages(folder)
    (layer,) = [path.parent.name for path in folder.glob("feat*/index.html")]
    place = KINDS[kind].replace("blocks.3", layer)
    page = visit(folder, viewport={"width": 360, "height": 740}).open(place)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_without_javascript_everything_is_shown(visit, expect):
    seen = visit(java_script_enabled=False)
    page = seen.open("blocks.3/index.html")
    assert page.locator("#cards > li:visible").count() == 10
    expect(page.get_by_label("Filter")).to_be_hidden()
    expect(page.get_by_role("button", name="Dark mode")).to_be_hidden()
    page.get_by_role("link", name="unit 12: picture").click()
    expect(page.get_by_role("heading", name="Recipe")).to_be_visible()


@pytest.mark.parametrize("kind", KINDS)
def test_print_is_dark_on_white_without_controls(visit, expect, kind):
    seen = visit(color_scheme="dark")
    page = seen.open(KINDS[kind])
    page.emulate_media(media="print")
    assert paper(page) == 255
    for control in page.locator("button, input, select, .pager").all():
        expect(control).to_be_hidden()
    assert page.pdf()[:5] == b"%PDF-"


@pytest.mark.parametrize("text", [HOSTILE_TEXT, *HOSTILE[:6]], ids=range(7))
def test_hostile_names_stay_text(visit, expect, tmp_path, text):
    folder = write_folder(tmp_path, *hostile(text))
    write_pages(folder)
    seen = visit(folder)
    page = seen.open("index.html")
    expect(page).to_have_title(text)
    expect(page.get_by_role("heading", level=1)).to_have_text(text)
    strip = page.locator("a.strip").first
    strip.click()
    expect(page.get_by_role("heading", level=1)).to_have_text(text)
    page.get_by_label("Filter").fill(text.replace(",", " "))
    assert len(units(page)) == 12
    page.locator("#cards a").nth(6).click()
    expect(page.get_by_role("heading", level=1)).to_contain_text(text)
    for element in page.locator("summary").all():
        element.click()
    page.wait_for_load_state("networkidle")
    assert page.locator("script").count() == 1
    assert page.locator("[onerror], [onmouseover], iframe, object, form").count() == 0


def test_a_layer_of_2048_units_is_interactive_in_under_two_seconds(visit, expect, tmp_path):
    folder = write_folder(tmp_path, many(2048))
    write_pages(folder)
    taken = []
    for _ in range(3):
        seen = visit(folder)
        began = time.perf_counter()
        seen.page.goto((folder / "classifier/index.html").as_uri(), wait_until="commit")
        seen.page.get_by_label("Filter").fill("corgi")
        expect(seen.page.get_by_role("status")).to_have_text("410 of 2,048 units")
        taken.append(time.perf_counter() - began)
        page = seen.page
        began = time.perf_counter()
        page.get_by_label("Filter").fill("")
        page.get_by_label("Sort by").select_option("score")
        expect(page.get_by_role("status")).to_have_text("2,048 units")
        scores = page.locator("#cards > li").evaluate_all(
            "all => all.map(one => Number(one.dataset.score ?? -99))"
        )
        assert scores == sorted(scores, reverse=True)
        sorting = time.perf_counter() - began
    times = ", ".join(f"{one:.2f}" for one in taken)
    print(f"2,048 units: filtered after {times} s; sorted and read in {sorting:.2f} s")
    assert statistics.median(taken) < 2
    assert sorting < 2


@pytest.mark.parametrize("width", [1280, 360])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("kind", [*KINDS, "failed"])
def test_axe_finds_nothing_serious(visit, kind, scheme, width):
    axe = find_axe()
    if axe is None:
        pytest.skip("no axe-core: npm install --no-save axe-core, or let AXE_CORE name its axe.min.js")
    seen = visit(color_scheme=scheme, viewport={"width": width, "height": 800})
    # As an init script, for the pages' own policy lets nothing be added.
    seen.context.add_init_script(path=axe)
    page = seen.open({**KINDS, "failed": "blocks.3/0014.html"}[kind])
    for element in page.locator("summary").all():
        element.click()
    told = page.evaluate("axe.run(document, {preload: false})")
    assert len(told["passes"]) > 15, "it looked"
    found = [
        f"{one['impact']}: {one['help']}: {one['nodes'][0]['html']}"
        for one in told["violations"]
        if one["impact"] in ("serious", "critical")
    ]
    assert found == []


def test_a_page_that_asks_elsewhere_would_be_found(browser, gallery):
    """The watch itself: a page with a foreign picture, an error and a dialog is judged guilty."""
    seen = Visit(browser, gallery)
    seen.open("index.html")
    seen.judge()
    seen.page.evaluate(
        "() => { document.querySelector('meta[http-equiv]').remove();"
        " const image = new Image(); image.src = 'https://127.0.0.1:9/x.png'; document.body.append(image);"
        " alert('hello'); console.error('broken'); setTimeout(() => { throw new Error('thrown'); }); }"
    )
    seen.page.wait_for_timeout(300)
    seen.context.close()
    for sign in ("hello", "broken", "thrown"):
        assert any(sign in error for error in seen.errors), (sign, seen.errors)
    with pytest.raises(AssertionError):
        seen.judge()
