"""The page of units and their words in a real browser, opened from disk: searched, sorted, walked by keys."""

from __future__ import annotations

import pytest

import featvis as fv
from featvis.explore.words import tell_gallery
from featvis.pages.folder import write_pages
from tests.explore.planted_words import EACH, WORDS, loaded, planted, train_pair, write_photographs
from tests.pages.browsing import find_axe

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def gallery(tmp_path_factory):
    """Words for seven units and three classes, one of whose names is markup; three have pictures."""
    folder = tmp_path_factory.mktemp("pages")
    model = planted(labels=("<b>one</b>", "two", "three"))
    plain = {"transforms": [], "space": fv.PixelImage(decorrelate=False), "lanes": 3, "progress": False}
    fv.render(model, "seen:0:3", size=16, steps=2, out=folder / "gallery", **plain)
    photos = write_photographs(folder / "photos")
    options = {"vocabulary": [*WORDS[:5], "light grey"], "count": EACH, "pictures": folder / "gallery"}
    out = folder / "my words #1"
    write_pages(folder / "gallery")
    found = fv.describe_units(model, ["seen:all", "fc:all"], photos, loaded(train_pair()), out=out, **options)
    tell_gallery(found, folder / "gallery")
    return out


@pytest.fixture(scope="module")
def alike(tmp_path_factory):
    """Units that were described without a pair."""
    folder = tmp_path_factory.mktemp("alike")
    photos = write_photographs(folder / "photos")
    fv.describe_units(planted(), "seen:all", photos, count=EACH, out=folder / "out")
    return folder / "out"


def shown(page):
    return page.locator("#units > li:visible h2 a").all_text_contents()


def test_a_card_shows_what_is_said_of_its_unit(visit, expect):
    page = visit().open("index.html")
    expect(page.get_by_role("heading", level=1)).to_have_text("Words for the units of Planted")
    expect(page.locator("#shown")).to_have_text("10 units")
    card = page.locator("#u1")
    expect(card.locator(".said li").first).to_contain_text("green")
    expect(card.locator(".said .figure").first).to_contain_text("%")
    expect(card.get_by_role("img", name="Its rendered picture")).to_be_visible()
    expect(card.get_by_role("img", name="6 patches that it responds to most")).to_be_visible()
    assert card.locator("img").evaluate_all("all => all.every(one => one.naturalHeight === 128)")
    expect(page.locator("#u4")).to_contain_text("It says the same of every photograph.")
    expect(page.locator("#u7 .layer-name")).to_have_text("<b>one</b>")


def test_units_are_found_by_words_addresses_and_a_click(visit, expect):
    page = visit().open("index.html")
    page.get_by_label("Search").fill("gree")
    assert shown(page)[0] == "seen:1"
    expect(page.locator("#u1 li.found")).to_have_count(1)
    page.get_by_label("Search").fill("een:2")
    assert shown(page) == ["seen:2"]
    expect(page.locator("#shown")).to_have_text("1 of 10 units")
    page.get_by_label("Search").fill("whale")
    expect(page.locator("#shown")).to_have_text("0 of 10 units; no unit has this among its words")
    page.get_by_label("Search").fill("")
    assert len(shown(page)) == 10
    page.locator("#u3 .said button").first.click()
    expect(page.get_by_label("Search")).to_have_value("stripes")
    assert shown(page)[0] == "seen:3"
    page.get_by_label("Layer").select_option("fc")
    assert all(name.startswith("fc:") for name in shown(page))


def test_units_are_sorted_by_a_score_and_silent_ones_come_last(visit):
    page = visit().open("index.html")
    for name in ("clarity", "certainty", "redundancy"):
        page.get_by_label("Sorted by").select_option(name)
        values = page.locator("#units > li").evaluate_all(
            f"all => all.map(one => one.dataset.{name} ?? '-9')"
        )
        assert [float(value) for value in values] == sorted(map(float, values), reverse=True)
        assert shown(page)[-1] == "seen:4"
    page.get_by_label("Sorted by").select_option("address")
    assert shown(page)[:3] == ["seen:0", "seen:1", "seen:2"]


def test_keys_and_links_lead_from_unit_to_unit(visit, expect):
    page = visit().open("index.html")
    page.keyboard.press("/")
    page.keyboard.type("blue")
    assert shown(page)[0] == "seen:2"
    page.keyboard.press("Escape")
    assert len(shown(page)) == 10
    # A link to a unit that a search hides shows it again.
    page.get_by_label("Search").fill("seen:0")
    page.locator("#u0 .scores a").click()
    expect(page.locator("#u5")).to_be_visible()
    assert page.evaluate("document.activeElement.id") == "u5"
    expect(visit().open("index.html#u6").locator("#u6")).to_be_in_viewport()


def test_without_a_pair_units_lead_to_those_like_them(visit, expect, alike):
    page = visit(alike).open("index.html")
    expect(page.get_by_role("heading", level=1)).to_have_text("What is like the units of Planted")
    assert page.locator("#sort option").all_text_contents()[1] == "clarity"
    link = page.locator("#u0 .told a").first
    expect(link).to_have_text("seen:5")
    link.click()
    assert page.evaluate("document.activeElement.id") == "u5"


@pytest.mark.parametrize("width", [390, 1200])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_whole_at_any_width_and_axe_finds_nothing_serious(visit, scheme, width):
    seen = visit(color_scheme=scheme, viewport={"width": width, "height": 800})
    axe = find_axe()
    if axe is not None:
        seen.context.add_init_script(path=axe)
    page = seen.open("index.html")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    if axe is None:
        pytest.skip("no axe-core: npm install --no-save axe-core, or let AXE_CORE name its axe.min.js")
    told = page.evaluate("axe.run(document, {preload: false})")
    assert len(told["passes"]) > 15
    assert [f"{one['help']}: {one['nodes'][0]['html']}" for one in told["violations"]] == []


def test_a_gallerys_own_pages_are_searched_by_the_words_of_its_units(visit, expect, gallery):
    page = visit(gallery.parent / "gallery").open("index.html")
    page.locator("#search").fill("green")
    found = page.locator("#found a[href]")
    expect(found).to_have_count(1)
    found.click()
    expect(page.locator(".told .beside")).to_contain_text("calls what it responds to in photographs: green")
    page.get_by_role("navigation", name="Breadcrumb").get_by_role("link", name="seen").click()
    page.locator("#filter").fill("blue")
    expect(page.locator("#cards > li:visible")).to_have_count(1)


def test_without_a_script_everything_is_shown(visit, expect):
    page = visit(java_script_enabled=False).open("index.html")
    assert len(shown(page)) == 10
    expect(page.locator("#finder")).to_be_hidden()
