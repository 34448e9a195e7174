"""A map of activations, and a photograph taken apart, in a real browser, opened from disk.

Mouse, keys, fingers, two schemes, two widths.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

import featvis as fv
from tests.explore.test_atlas import COLOURS, SIDE, Colours, colours
from tests.explore.test_circuits import SIZE, Vgg
from tests.networks import handle, seeded
from tests.pages.browsing import find_axe

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def gallery(tmp_path_factory):
    """A map of two layers of plain colours, a name in it that is markup."""
    folder = tmp_path_factory.mktemp("pages")
    photos = folder / "photos"
    photos.mkdir()
    chance = np.random.default_rng(5)
    for name, colour in COLOURS.items():
        for number in range(3):
            noise = chance.integers(-20, 20, (SIDE, SIDE + 12, 3))
            levels = np.clip(np.asarray(colour) + noise, 0, 255).astype(np.uint8)
            Image.fromarray(levels).save(photos / f"{name}{number}<b>.png")
    out = folder / "my map #1"
    options = {
        "size": 16,
        "steps": 1,
        "layout": "pca",
        "least": 2,
        "progress": False,
        "title": "<b>A map</b>",
    }
    fv.atlas(colours(), "pool", photos, out, beside="seen", count=200, grids=(3, 9), **options)
    return out


def scale_of(page) -> float:
    matrix = page.locator(".plane").first.evaluate("one => getComputedStyle(one).transform")
    return float(matrix.removeprefix("matrix(").split(",")[0])


def test_a_cell_tells_its_picture_patches_classes_and_neighbours(visit, expect):
    page = visit().open("index.html")
    expect(page.get_by_role("heading", level=1)).to_have_text("<b>A map</b>")
    cell = page.locator(".viewport[data-map='0'] .grid:visible .cell").first
    cell.click()
    panel = page.locator("#panel")
    expect(panel.get_by_role("heading", level=2)).to_contain_text("of 3 × 3")
    expect(panel.locator(".shown-pictures .tile")).to_have_count(2)
    expect(panel.locator(".patches .tile")).to_have_count(4)
    # Its class is the colour of its photographs.
    named = panel.locator(".patches .tile").first.get_attribute("title")[:-8]
    expect(panel.locator(".spoken-classes button").first).to_have_text(named)
    expect(cell).to_have_attribute("aria-pressed", "true")
    # The other layer's cell of the same place is chosen with it.
    expect(page.locator(".viewport[data-map='1'] .cell[aria-pressed='true']")).to_have_count(1)
    title = panel.get_by_role("heading", level=2).text_content()
    panel.locator(".nearest button").first.click()
    assert panel.get_by_role("heading", level=2).text_content() != title


def test_keys_walk_from_cell_to_cell_and_zoom(visit, expect):
    page = visit().open("index.html")
    page.locator(".viewport[data-map='0'] .grid:visible .cell[tabindex='0']").focus()
    page.keyboard.press("Enter")
    first = page.locator("#panel h2").text_content()
    for key in ("ArrowRight", "ArrowDown", "ArrowLeft", "ArrowUp"):
        page.keyboard.press(key)
    assert page.evaluate("document.activeElement.className").startswith("cell")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowRight")
    assert scale_of(page) == 1
    for _ in range(3):
        page.keyboard.press("+")
    assert scale_of(page) == pytest.approx(1.5**3)
    # The finer cells have come, and one of them is chosen and has the focus.
    expect(page.locator("#panel h2")).to_contain_text("of 9 × 9")
    assert page.evaluate("document.activeElement.getAttribute('aria-pressed')") == "true"
    page.keyboard.press("0")
    assert scale_of(page) == 1
    expect(page.locator("#panel h2")).to_contain_text("of 3 × 3")
    assert first


def test_wheel_and_dragging_move_both_maps(visit):
    page = visit().open("index.html")
    box = page.locator(".viewport").first.bounding_box()
    page.mouse.move(box["x"] + 40, box["y"] + 40)
    page.mouse.wheel(0, -240)
    assert scale_of(page) > 1.2
    matrices = page.locator(".plane").evaluate_all("all => all.map(one => one.style.transform)")
    assert matrices[0] == matrices[1]
    before = page.evaluate("location.hash")
    page.mouse.down()
    page.mouse.move(box["x"] + 10, box["y"] + 5, steps=4)
    page.mouse.up()
    after = page.locator(".plane").first.evaluate("one => one.style.transform")
    assert after != matrices[0]
    # What was dragged was not clicked.
    assert page.evaluate("location.hash") == before


def test_two_fingers_zoom(visit):
    page = visit(has_touch=True, viewport={"width": 390, "height": 800}).open("index.html")
    page.locator(".viewport").first.scroll_into_view_if_needed()
    box = page.locator(".viewport").first.bounding_box()
    session = page.context.new_cdp_session(page)
    middle = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)

    def touch(kind, apart):
        points = [{"x": middle[0] + sign * apart, "y": middle[1], "id": n} for n, sign in enumerate((-1, 1))]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points if apart else []})

    touch("touchStart", 15)
    for apart in (25, 40, 60):
        touch("touchMove", apart)
    touch("touchEnd", 0)
    assert scale_of(page) > 2
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_a_map_of_one_class(visit, expect):
    page = visit().open("index.html")
    page.get_by_label("Map of one class").fill("green")
    expect(page.locator("#class-told")).to_contain_text("green")
    spoken = page.locator(".viewport[data-map='0'] .grid:visible .cell.spoken")
    assert spoken.count() >= 1
    spoken.first.click()
    assert page.locator("#panel .patches .tile").first.get_attribute("title").startswith("green")
    assert page.locator(".viewport[data-map='0'] .cell.against").count() >= 1
    page.get_by_label("Map of one class").fill("")
    expect(page.locator(".cell.against")).to_have_count(0)


def test_an_address_leads_to_its_cell(visit, expect):
    seen = visit()
    page = seen.open("index.html")
    page.locator("#grid").select_option("1")
    page.locator(".viewport[data-map='0'] .grid:visible .cell").nth(1).click()
    place = page.evaluate("location.hash")
    title = page.locator("#panel h2").text_content()
    other = visit().open(f"index.html{place}")
    expect(other.locator("#panel h2")).to_have_text(title)


@pytest.mark.parametrize("width", [390, 1200])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(visit, scheme, width):
    axe = find_axe()
    if axe is None:
        pytest.skip("no axe-core: npm install --no-save axe-core, or let AXE_CORE name its axe.min.js")
    seen = visit(color_scheme=scheme, viewport={"width": width, "height": 800})
    seen.context.add_init_script(path=axe)
    page = seen.open("index.html")
    page.locator(".viewport .grid:visible .cell").first.click()
    told = page.evaluate("axe.run(document, {preload: false})")
    assert len(told["passes"]) > 15
    assert [f"{one['help']}: {one['nodes'][0]['html']}" for one in told["violations"]] == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


@pytest.fixture(scope="module")
def two_networks(gallery):
    """The same photographs as two networks see them: of the other, red and blue have changed places."""
    other = handle(Colours(), (SIDE, SIDE), labels=list(COLOURS))
    with torch.no_grad():
        other.module.seen.weight.copy_(torch.eye(3)[[2, 1, 0]][:, :, None, None])
    out = gallery.parent / "two networks"
    options = {"size": 16, "steps": 1, "layout": "pca", "least": 2, "progress": False}
    fv.atlas(
        colours(),
        "pool",
        gallery.parent / "photos",
        out,
        beside=(other, "pool"),
        count=200,
        grids=(3,),
        **options,
    )
    return out


@pytest.mark.parametrize("width", [390, 1200])
def test_two_networks_stand_side_by_side(visit, expect, two_networks, width):
    """The same cell is chosen in both, its patches are the same, and each tells its own network's classes."""
    seen = visit(two_networks, viewport={"width": width, "height": 900})
    axe = find_axe()
    if axe is not None:
        seen.context.add_init_script(path=axe)
    page = seen.open("index.html")
    maps = [page.locator(f".viewport[data-map='{number}']") for number in (0, 1)]
    boxes = [one.bounding_box() for one in maps]
    assert boxes[0]["y"] == boxes[1]["y"], "side by side"
    assert boxes[0]["x"] + boxes[0]["width"] <= boxes[1]["x"]
    headings = page.locator(".map h2").all_inner_texts()
    assert all(one.startswith("pool of Colours, weights ") for one in headings)
    assert headings[0] != headings[1], "networks of one name are told apart"
    counts = [one.locator(".cell").count() for one in maps]
    assert counts[0] == counts[1] > 2
    found = set()
    for number in range(counts[0]):
        cell = maps[1].locator(".cell").nth(number)
        cell.click()
        expect(maps[0].locator(".cell[aria-pressed='true']")).to_have_count(1)
        panel = page.locator("#panel")
        pictures = panel.locator(".shown-pictures .tile")
        expect(pictures).to_have_count(2)
        named = panel.locator(".patches .tile").first.get_attribute("title").removesuffix("<b>.png")[:-1]
        lists = panel.locator(".spoken-classes")
        assert lists.count() == 2, "of each network"
        classes = [lists.nth(one).locator("button").first.inner_text() for one in (0, 1)]
        found.add((named, *classes))
        assert panel.locator(".patches").count() == 1, "the photographs are the same"
    swapped = {"red": "blue", "green": "green", "blue": "red"}
    assert {(name, name, swapped[name]) for name in COLOURS} <= found
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    if axe is None:
        pytest.skip("no axe-core: npm install --no-save axe-core, or let AXE_CORE name its axe.min.js")
    told = page.evaluate("axe.run(document, {preload: false})")
    assert len(told["passes"]) > 15
    assert [f"{one['help']}: {one['nodes'][0]['html']}" for one in told["violations"]] == []


def test_without_a_script_the_cells_are_shown(visit, expect):
    page = visit(java_script_enabled=False).open("index.html")
    expect(page.get_by_role("img", name="The cells of pool, row by row")).to_be_visible()


@pytest.fixture(scope="module")
def apart(tmp_path_factory):
    """The page of a photograph of three bands, and its folder."""
    folder = tmp_path_factory.mktemp("apart")
    levels = np.zeros((SIDE, SIDE, 3), dtype=np.uint8)
    for place, colour in enumerate(COLOURS.values()):
        levels[:, place * 8 : place * 8 + 8] = colour
    Image.fromarray(levels).save(folder / "bands.png")
    options = {"groups": 3, "size": 8, "steps": 1, "lanes": 4, "progress": False}
    targets = [f"fc:{name}" for name in COLOURS]
    fv.building_blocks(colours(), folder / "bands.png", targets, ["pool", "act"], folder / "page", **options)
    return folder / "page"


def test_a_place_tells_its_units_for_a_class_and_against_another(visit, expect, apart):
    page = visit(apart).open("index.html")
    page.get_by_role("button", name="Row 3, column 1", exact=True).click()
    panel = page.locator("#panel")
    expect(panel.get_by_role("heading", level=2)).to_have_text("pool, row 3, column 1")
    # Red is unit 0 and speaks for red: 2 · 230/127.5 / 36 positions.
    row = panel.locator(".units").first.locator("tbody tr").first
    expect(row.locator("td").first).to_have_text("pool:0")
    expect(row.locator("td").last).to_have_text("0.10")
    page.get_by_label("Against").select_option(label="green")
    expect(panel.locator("h3").first).to_have_text("Units for red against green")
    page.keyboard.press("Tab")
    page.get_by_role("button", name="Row 3, column 1", exact=True).focus()
    for _ in range(2):
        page.keyboard.press("ArrowRight")
    expect(panel.get_by_role("heading", level=2)).to_have_text("pool, row 3, column 3")
    expect(panel.locator("h3").nth(1)).to_have_text("Units for green against red")
    # Nearly all that is there: unit 1, 3 · 230/127.5 / 36 positions.
    row = panel.locator(".units").nth(1).locator("tbody tr").first
    expect(row.locator("td").first).to_have_text("pool:1")
    expect(row.locator("td").last).to_have_text("−0.15")


def test_a_group_shows_where_it_is(visit, expect, apart):
    page = visit(apart).open("index.html")
    page.locator("#groups button").first.click()
    expect(page.get_by_label("Shown")).to_have_value("groups")
    # One band of three.
    wide = page.locator(".spot i").evaluate_all("all => all.map(one => one.offsetWidth)")
    assert sum(one > 0.6 * max(wide) for one in wide) == 12
    page.get_by_label("Layer", exact=True).select_option(index=1)
    expect(page.locator("#panel h2")).to_contain_text("act, row")


@pytest.mark.parametrize("width", [390, 1200])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_on_a_photograph_s_page(visit, apart, scheme, width):
    axe = find_axe()
    if axe is None:
        pytest.skip("no axe-core: npm install --no-save axe-core, or let AXE_CORE name its axe.min.js")
    seen = visit(apart, color_scheme=scheme, viewport={"width": width, "height": 800})
    seen.context.add_init_script(path=axe)
    page = seen.open("index.html")
    page.get_by_label("Against").select_option(index=2)
    told = page.evaluate("axe.run(document, {preload: false})")
    assert len(told["passes"]) > 15
    assert [f"{one['help']}: {one['nodes'][0]['html']}" for one in told["violations"]] == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


@pytest.fixture(scope="module")
def walked(tmp_path_factory):
    """The page of a circuit of two levels."""
    folder = tmp_path_factory.mktemp("walked")
    model = handle(seeded(Vgg), SIZE)
    options = {"steps": 1, "lanes": 2, "transforms": []}
    walk = fv.walk_circuit(model, "features.7:2", depth=1, count=2, size=SIZE, **options)
    walk.save(folder)
    return folder


def test_a_circuit_is_walked_by_keys(visit, expect, walked):
    page = visit(walked).open("circuit.html")
    link = page.locator("main section a[href^='#']").first
    place = link.get_attribute("href")
    link.focus()
    page.keyboard.press("Enter")
    page.wait_for_url(f"**circuit.html{place}")
    expect(page.locator(place)).to_be_in_viewport()
    page.go_back()
    assert "#" not in page.url


@pytest.mark.parametrize("width", [390, 1200])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_on_a_circuit_s_page(visit, walked, scheme, width):
    axe = find_axe()
    if axe is None:
        pytest.skip("no axe-core: npm install --no-save axe-core, or let AXE_CORE name its axe.min.js")
    seen = visit(walked, color_scheme=scheme, viewport={"width": width, "height": 800})
    seen.context.add_init_script(path=axe)
    page = seen.open("circuit.html")
    told = page.evaluate("axe.run(document, {preload: false})")
    assert len(told["passes"]) > 10
    assert [f"{one['help']}: {one['nodes'][0]['html']}" for one in told["violations"]] == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
