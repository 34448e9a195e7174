"""The quiz in a real browser, from disk: played through by keys alone and on a phone, then evaluated."""

from __future__ import annotations

import json

import pytest

from featvis.trust.answers import evaluate_answers
from featvis.trust.quiz import make_quiz
from tests.pages.browsing import find_axe, paper
from tests.trust.quizzes import BEASTS, write_classes, write_photos

pytestmark = pytest.mark.browser

PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
MARKS = "42513"
"""The keys that are pressed for ratings, in turn."""


@pytest.fixture(scope="module")
def gallery(tmp_path_factory):
    """A quiz on forty tiny pictures, twelve of them with photographs."""
    place = tmp_path_factory.mktemp("quiz")
    folder = write_classes(place / "gallery-of-forty", 40, units=12)
    make_quiz(folder, place / "my quiz #1", count=40, seed=5, title="Forty beasts")
    return place / "my quiz #1"


@pytest.fixture(scope="module")
def short(tmp_path_factory):
    """A quiz of six questions: two of each kind."""
    place = tmp_path_factory.mktemp("short")
    make_quiz(
        write_classes(place / "gallery-of-nine", 9, units=4), place / "out", count=2, text="Thank you all."
    )
    return place / "out"


def key_of(folder):
    return json.loads((folder / "key.json").read_text("utf-8"))


def words_of(folder):
    """What the page must not say: the folder, labels, files and what the network is."""
    key = key_of(folder)
    return [*BEASTS, *(one["name"] for one in key["folders"]), "classifier", "photo-", "efficientnet"]


def blind(page, folder):
    html = page.content().lower()
    assert [word for word in words_of(folder) if word in html] == []


def begin(page, name=""):
    page.get_by_label("Your name or any word").fill(name)
    page.keyboard.press("Enter")


def answer(page, item, by=lambda item: item["right"], free=None):
    """Answer what is asked now, by keys alone; returns what was pressed for the key's item."""
    if item["task"] == "naming":
        page.keyboard.type(item["label"].partition(",")[0] if free is None else free)
        page.keyboard.press("Enter")
        if free == "":
            page.keyboard.press("Enter")
        page.keyboard.press(str(by(item) + 1))
        page.keyboard.press("Enter")
    elif item["task"] == "choice":
        page.keyboard.press("ArrowRight" if by(item) else "1")
        page.keyboard.press("Enter")
    else:
        place = item["item"] % 3
        for mark in MARKS[place : place + 3]:
            page.keyboard.press(mark)
        page.keyboard.press("Enter")


def saved(page):
    with page.expect_download() as caught:
        page.keyboard.press("Enter")  # the button to save has the focus at the end
    return caught.value


def test_forty_pictures_are_played_through_by_the_keyboard_alone_and_evaluated(
    visit, expect, gallery, tmp_path
):
    seen = visit(gallery)
    page = seen.open("quiz.html")
    key = key_of(gallery)
    expect(page).to_have_title("Forty beasts")
    blind(page, gallery)
    begin(page, "Ann  Example")
    wrong = {3, 7}
    for number, item in enumerate(key["items"], start=1):
        expect(page.locator("#place")).to_have_text(f"{number} of 92")
        if item["task"] == "naming" and number <= 10:
            blind(page, gallery)
            page.keyboard.type(item["label"].partition(",")[0].upper() if number not in wrong else "ghost")
            page.keyboard.press("Enter")
            # Now the list must name it, and nothing else does.
            expect(page.locator("label.option")).to_have_count(8)
            names = page.locator("label.option span").all_text_contents()
            assert names == item["names"]
            html = page.content()
            for name in names:
                html = html.replace(name, "", 1)
            typed = page.locator(".said").text_content()
            html = html.replace(typed, "", 1).lower()
            assert [word for word in words_of(gallery) if word in html] == []
            page.keyboard.press(str((item["right"] + (number in wrong)) % 8 + 1))
            page.keyboard.press("Enter")
        else:
            answer(page, item)
    expect(page.get_by_role("heading", level=1)).to_have_text("Thank you!")
    expect(page.locator(".answered li")).to_have_count(92)
    download = saved(page)
    assert download.suggested_filename == f"answers-{key['quiz'][:6]}-Ann-Example.json"
    download.save_as(tmp_path / "ann.json")
    expect(page.get_by_role("status").last).to_have_text(f"Saved as {download.suggested_filename}.")

    told = evaluate_answers(tmp_path / "ann.json", gallery)
    assert told["raters"][0]["rater"] == "Ann Example"
    assert (told["raters"][0]["answers"], told["raters"][0]["of"]) == (92, 92)
    assert (told["naming"]["all"]["right"], told["naming"]["all"]["answers"]) == (38, 40)
    assert (told["names"]["all"]["right"], told["names"]["all"]["answers"]) == (38, 40)
    assert told["naming"]["all"]["open"] == 2
    assert [pair["said"] for pair in told["confusion"]["naming"]] == ["ghost", "ghost"]
    for kind in ("pictures", "photographs"):
        assert (told["choice"][kind]["all"]["right"], told["choice"][kind]["all"]["answers"]) == (6, 6)
    rated = [item["item"] % 3 for item in key["items"] if item["task"] == "rating"]
    for place, scale in enumerate(("photograph", "whole", "harsh")):
        expected = sum(int(MARKS[one + place]) for one in rated) / 40
        assert told["ratings"][scale]["folders"]["gallery-of-forty"]["mean"] == pytest.approx(expected)


def test_a_half_done_session_is_taken_up_again(visit, expect, short, tmp_path):
    seen = visit(short)
    items = key_of(short)["items"]
    page = seen.open("quiz.html")
    begin(page, "Bob")
    answer(page, items[0])
    page.keyboard.type("a beast")
    page.keyboard.press("Enter")
    expect(page.locator(".said")).to_have_text("You wrote: a beast")
    page = seen.open("quiz.html")
    expect(page.get_by_text("2 of 6 questions are answered")).to_be_visible()
    expect(page.get_by_label("Your name or any word")).to_have_value("Bob")
    page.keyboard.press("Enter")
    # The free name was given before the list was seen, and stays.
    expect(page.locator(".said")).to_have_text("You wrote: a beast")
    page.keyboard.press("2")
    page.keyboard.press("Enter")
    for item in items[2:]:
        answer(page, item)
    download = saved(page)
    told = json.loads(download.path().read_text("utf-8"))
    assert [one["item"] for one in told["answers"]] == [1, 2, 3, 4, 5, 6]
    assert (told["answers"][1]["free"], told["answers"][1]["name"]) == ("a beast", 1)
    assert told["rater"] == "Bob"
    assert told["ended"] >= told["started"] > "2026"
    session = told["session"]
    # At its end it is at its end again; another person begins with nothing.
    page = seen.open("quiz.html")
    expect(page.get_by_role("heading", level=1)).to_have_text("Thank you!")
    page.get_by_role("button", name="Another person begins").click()
    page.get_by_role("button", name="Really?").click()
    begin(page)
    for item in items:
        answer(page, item, free="")
    told = json.loads(saved(page).path().read_text("utf-8"))
    assert told["session"] != session
    assert [one["free"] for one in told["answers"] if "free" in one] == ["", ""]


def test_what_is_answered_so_far_can_be_saved(visit, expect, short):
    page = visit(short).open("quiz.html")
    items = key_of(short)["items"]
    begin(page, "Cy")
    answer(page, items[0])
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_be_visible()
    with page.expect_download() as caught:
        page.get_by_role("button", name="Save what is answered so far").press("Enter")
    told = json.loads(caught.value.path().read_text("utf-8"))
    assert len(told["answers"]) == 1
    assert told["ended"] == ""
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    page.keyboard.type("why?")
    expect(page.get_by_label("A word or two")).to_have_value("why?")


@pytest.mark.parametrize("damage", ["{", "null", "3", '{"answers": [3]}', "[]"])
def test_a_damaged_memory_begins_anew(visit, expect, short, damage):
    seen = visit(short)
    page = seen.open("quiz.html")
    name = f"featvis-quiz-{key_of(short)['quiz']}"
    page.evaluate("([name, text]) => localStorage.setItem(name, text)", [name, damage])
    page = seen.open("quiz.html")
    begin(page)
    expect(page.locator("#place")).to_have_text("1 of 6")


def test_keys_do_not_run_ahead_of_what_is_read(visit, expect, short):
    page = visit(short).open("quiz.html")
    items = key_of(short)["items"]
    begin(page)
    place = page.locator("#place")
    # Nothing written: it asks once; nothing chosen: it stays.
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("if you cannot tell")
    page.keyboard.press("Enter")
    expect(page.locator(".said")).to_have_text("You could not tell.")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("Choose one of the names")
    page.keyboard.press("9")
    page.keyboard.press("Control+1")
    assert page.locator("input:checked").count() == 0
    page.keyboard.press("3")
    page.keyboard.press("5")
    expect(page.locator("input:checked")).to_have_value("4")
    expect(place).to_have_text("1 of 6")
    page.keyboard.press("Enter")
    answer(page, items[1])
    # Left and right choose one of two photographs.
    for key, value in (("ArrowRight", "1"), ("ArrowLeft", "0"), ("2", "1"), ("1", "0")):
        page.keyboard.press(key)
        expect(page.locator("input:checked")).to_have_value(value)
    page.keyboard.press("Enter")
    answer(page, items[3])
    # A mark leads to the next scale, Backspace to the one before.
    page.keyboard.press("4")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("on each of the scales")
    page.keyboard.press("Backspace")
    page.keyboard.press("2")
    page.keyboard.press("3")
    page.keyboard.press("6")
    page.keyboard.press("1")
    page.keyboard.press("Enter")
    expect(place).to_have_text("6 of 6")
    answer(page, items[5])
    told = json.loads(saved(page).path().read_text("utf-8"))
    assert told["answers"][4]["ratings"] == {"photograph": 2, "whole": 3, "harsh": 1}
    assert told["answers"][2]["photograph"] == 0
    assert told["answers"][0] | {"seconds": 0, "name_seconds": 0} == {
        "item": 1, "free": "", "name": 4, "seconds": 0, "name_seconds": 0
    }  # fmt: skip


def test_where_storage_is_refused_it_works_and_says_so(visit, expect, short):
    seen = visit(short)
    seen.context.add_init_script(
        "Object.defineProperty(window, 'localStorage', {get() { throw new DOMException('denied'); }});"
    )
    page = seen.open("quiz.html")
    expect(page.get_by_text("please answer in one go")).to_be_visible()
    begin(page)
    for item in key_of(short)["items"]:
        answer(page, item)
    expect(page.get_by_role("heading", level=1)).to_have_text("Thank you!")


@pytest.mark.parametrize("refused", [False, True])
def test_answers_are_copied(visit, expect, short, refused):
    seen = visit(short)
    refuse = "Promise.reject(new DOMException('denied'))"
    act = refuse if refused else "(window.copied = text, Promise.resolve())"
    seen.context.add_init_script(
        f"Object.defineProperty(navigator, 'clipboard', {{value: {{writeText: (text) => {act}}}}});"
        "addEventListener('copy', () => { window.copied = String(document.activeElement.value); });"
    )
    page = seen.open("quiz.html")
    begin(page, "Dee")
    for item in key_of(short)["items"]:
        answer(page, item)
    page.get_by_role("button", name="Copy to the clipboard").press("Enter")
    expect(page.get_by_text("Copied.", exact=True)).to_be_visible()
    assert json.loads(page.evaluate("window.copied"))["rater"] == "Dee"


def steps(page, items):
    """Every kind of screen once: what it is called, when it is there."""
    yield "start"
    begin(page, "Eve")
    yield "free"
    page.get_by_label("A word or two").fill("beast")
    page.get_by_label("A word or two").press("Enter")
    yield "names"
    page.keyboard.press("1")
    page.keyboard.press("Enter")
    page.get_by_label("A word or two").fill("beast")
    page.get_by_label("A word or two").press("Enter")
    page.keyboard.press("1")
    page.keyboard.press("Enter")
    for item in items[2:]:
        yield f"{item['task']} {item.get('references')}"
        answer(page, item)
    yield "end"
    page.locator("summary").click()
    yield "text"
    page.keyboard.press("Tab")
    page.get_by_role("button", name="Keys and help").click()
    yield "help"


@pytest.mark.parametrize("width", [320, 390])
def test_nothing_scrolls_sideways_on_a_phone_and_touch_is_enough(visit, expect, short, width):
    page = visit(short, **{**PHONE, "viewport": {"width": width, "height": 844}}).open("quiz.html")
    for step in steps(page, key_of(short)["items"]):
        assert page.evaluate("document.documentElement.scrollWidth") <= width, step
        if "rating" in step or "choice" in step or step == "names":
            for target in page.locator("main .option, main button").all():
                box = target.bounding_box()
                assert box["height"] >= 42, step
                assert box["width"] >= 42, step


def test_by_touch_alone_on_a_phone(visit, expect, short, tmp_path):
    page = visit(short, **PHONE).open("quiz.html")
    page.get_by_label("Your name or any word").fill("Flo")
    page.get_by_role("button", name="Begin").tap()
    for item in key_of(short)["items"]:
        if item["task"] == "naming":
            # The keyboard of a phone would cover the picture.
            expect(page.get_by_label("A word or two")).not_to_be_focused()
            expect(page.get_by_role("img", name="The picture that is asked about")).to_be_in_viewport(ratio=1)
            page.get_by_label("A word or two").fill("otter")
            page.get_by_role("button", name="Next").tap()
            page.get_by_text(item["label"], exact=True).tap()
        elif item["task"] == "choice":
            page.get_by_text("The right one" if item["right"] else "The left one").tap()
        else:
            for group in page.get_by_role("group").all():
                group.get_by_text("4", exact=True).tap()
        page.get_by_role("button", name="Next").tap()
    with page.expect_download() as caught:
        page.get_by_role("button", name="Save the answers").tap()
    caught.value.save_as(tmp_path / "flo.json")
    told = evaluate_answers(tmp_path / "flo.json", short)
    assert told["names"]["all"]["share"] == 1
    assert [told["choice"][kind]["all"]["share"] for kind in told["choice"]] == [1, 1]
    assert [told["ratings"][scale]["all"]["mean"] for scale in told["ratings"]] == [4, 4, 4]


@pytest.mark.parametrize("options", [{}, PHONE], ids=["desk", "phone"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(visit, short, scheme, options):
    axe = find_axe()
    if axe is None:
        pytest.skip("no axe-core: npm install --no-save axe-core, or let AXE_CORE name its axe.min.js")
    seen = visit(short, color_scheme=scheme, **options)
    seen.context.add_init_script(path=axe)
    page = seen.open("quiz.html")
    assert (paper(page) < 60) == (scheme == "dark")
    kinds = set()
    for step in steps(page, key_of(short)["items"]):
        told = page.evaluate("axe.run(document, {preload: false})")
        assert len(told["passes"]) > 10, "it looked"
        found = [
            f"{step}: {one['impact']}: {one['help']}: {one['nodes'][0]['html']}"
            for one in told["violations"]
            if one["impact"] in ("serious", "critical")
        ]
        assert found == []
        kinds.add(step.partition(" ")[0])
    assert kinds == {"start", "free", "names", "choice", "rating", "end", "text", "help"}


def test_without_javascript_it_says_what_it_needs(visit, expect, short):
    page = visit(short, java_script_enabled=False).open("quiz.html")
    expect(page.get_by_text("please allow scripts for it")).to_be_visible()


def test_several_folders_are_mixed_and_not_named(visit, expect, tmp_path):
    one, two = write_classes(tmp_path / "portraits-old", 8), write_photos(tmp_path / "snapshots", 8)
    make_quiz([one, two], tmp_path / "out", tasks=["rating"], count=8)
    page = visit(tmp_path / "out").open("quiz.html")
    begin(page)
    sizes = set()
    for item in key_of(tmp_path / "out")["items"]:
        blind(page, tmp_path / "out")
        box = page.get_by_role("img").bounding_box()
        sizes.add((round(box["width"]), round(box["height"])))
        answer(page, item)
    assert sizes == {(448, 336)}, "photographs look no other than pictures"
    assert page.locator(".answered li").count() == 16
