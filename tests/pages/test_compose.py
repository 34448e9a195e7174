"""make_pages: pure, complete, and nothing in a manifest becomes anything but text."""

from __future__ import annotations

import ast
import copy
import html
import json
import math
import random
import re
import tomllib
from itertools import pairwise
from xml.etree import ElementTree

import pytest

from featvis.pages.compose import make_pages
from featvis.pages.legend import VERDICTS, find_word
from featvis.pages.trace import make_trace
from featvis.spec.recipe import Recipe
from featvis.trust.verdicts import KINDS
from tests.pages.manifests import HOSTILE, RECIPE, entry, hostile, manifest, many, rich, thumbnails
from tests.pages.markup import Page, resolve


def parsed(*given):
    return {path: Page(text) for path, text in make_pages(*given).items() if path.endswith(".html")}


def cards(page):
    return [told for _, told in page.tags if "data-place" in told]


def test_there_is_a_page_for_the_index_every_layer_and_every_unit():
    told, examples = rich()
    assert sorted(make_pages(told, examples)) == sorted(
        [
            "index.html",
            "site/gallery.css",
            "site/gallery.js",
            "site/exhibit.js",
            "site/units.js",
            "site/legend.html",
            "site/compare.html",
            "blocks.3/index.html",
            *(f"blocks.3/{unit:04d}.html" for unit in (*range(6), 12, 13, 14, 15)),
            "classifier/index.html",
            *(f"classifier/{unit:04d}.html" for unit in (1, 263, 264)),
            "objectives/index.html",
            "objectives/brightest-f5881a8c.html",
        ]
    )


SAID = {
    "pair": "clip <1>",
    "weights": "f" * 64,
    "units": [
        {
            "target": "blocks.3:0",
            "chance": 0.004,
            "words": [
                {"text": text, "certainty": sure}
                for text, sure in (("dog <b>snout</b>", 0.41), ("fur", 0.002))
            ],
        },
        {
            "target": "blocks.3:1",
            "words": [{"text": "a", "certainty": "b"}, 3, {"text": "faint", "certainty": 0.003}],
        },
        {"target": "blocks.3:2", "words": "none", "chance": []},
        {"target": 7, "words": None},
        3,
    ],
}


def test_words_of_units_are_told_searched_and_are_no_markup():
    told, examples = rich()
    told["weights"] = SAID["weights"]
    before, pages = make_pages(told, examples), make_pages(told, examples, words=SAID)
    assert {name for name in pages if pages[name] != before[name]} == {
        *("site/units.js", "blocks.3/index.html", "blocks.3/0000.html", "blocks.3/0001.html")
    }
    shown = html.unescape(pages["blocks.3/0000.html"])
    told_of = (
        "clip <1> calls what it responds to in photographs: dog <b>snout</b> 41 % (as sure by chance: < 1 %)"
    )
    assert told_of in shown
    assert "<b>snout" not in pages["blocks.3/0000.html"]
    assert "faint < 1 %" in html.unescape(pages["blocks.3/0001.html"])
    table = json.loads(pages["site/units.js"].removeprefix("featvisGallery(").removesuffix(");\n"))
    rows = next(layer["units"] for layer in table["layers"] if layer["name"] == "blocks.3")
    assert [row[8:] for row in rows[:3]] == [[["dog <b>snout</b>"]], [["faint"]], []]
    found = [card.get("data-find") for card in cards(Page(pages["blocks.3/index.html"]))]
    assert "dog <b>snout</b>" in found[0]
    for other in ({**SAID, "weights": "0" * 64}, {}, {"weights": SAID["weights"], "units": {}}):
        assert make_pages(told, examples, words=other) == before


def test_the_same_manifest_gives_the_same_pages_and_is_left_as_it_was():
    told, examples = rich()
    before = copy.deepcopy((told, examples))
    first = make_pages(told, examples)
    assert (told, examples) == before
    shuffled = {**told, "pictures": random.Random(1).sample(told["pictures"], len(told["pictures"]))}
    assert make_pages(*copy.deepcopy(before)) == first
    assert make_pages(shuffled, examples) == first, "the order of the entries does not matter"


@pytest.mark.parametrize("given", [rich(), (many(40),), (manifest(),), (manifest(entry()),)])
def test_every_page_is_sound_and_every_link_leads_somewhere(given):
    texts = make_pages(*given)
    told = given[0]
    files = {one["file"] for one in told["pictures"] if one["file"]} | thumbnails(told)
    for unit in (given[1] if len(given) > 1 else {"units": {}})["units"].values():
        files |= {crop["file"] for crop in unit["examples"]}
    reached = set()
    for path, page in parsed(*given).items():
        for address in page.addresses:
            target = resolve(path, address)
            assert target in texts or target in files, f"{path} links to {target}"
            reached.add(target)
            if address.startswith("#"):
                assert address[1:] in {told.get("id") for _, told in page.tags}
            elif "#word-" in address:
                there = {told.get("id") for _, told in Page(texts[target]).tags}
                assert address.partition("#")[2] in there, f"{path} links to no word: {address}"
    assert set(texts) <= reached | {"index.html"}, "every page is reached"


def test_headings_are_in_order_and_landmarks_are_there():
    for path, page in parsed(*rich()).items():
        levels = [level for level, _ in page.headings]
        assert [place for place, level in enumerate(levels) if level == 1] == [0], path
        assert all(after <= before + 1 for before, after in pairwise(levels)), path
        for landmark in ("header", "main", "footer", "nav", "title"):
            assert page.all(landmark), (path, landmark)
        assert page.all("html", lang="en")
        assert page.all("a", class_="skip", href="#content")
        assert all("alt" in told for told in page.all("img"))


def test_the_index_tells_what_is_there():
    index = parsed(*rich())["index.html"]
    for said in ("Lite0", "First paragraph.", "Second paragraph.", "9422913c2e6b", "2026-11-24"):
        assert said in index.text
    assert "featvis gallery build lite0.toml" in index.text
    assert re.search(r"Pictures 16 Dead 1 Failed 2 ", index.text), index.text
    assert "Of an earlier recipe 1" in index.text
    assert "Missing" not in index.text


def test_sections_are_read_in_their_order_and_hide_nothing():
    told, examples = rich()
    pages = parsed(told, examples)
    index = pages["index.html"]
    assert [text for level, text in index.headings if level == 2] == [
        "Found",
        "Classes",
        "Middle",
        "Late",
        "Also in this folder",
        "About this gallery",
    ]
    tiles = [told["href"] for _, told in index.tags if re.search(r"/[\w-]+\.html$", told.get("href", ""))]
    tiles = [href for href in tiles if not href.startswith("site/") and not href.endswith("/index.html")]
    assert tiles == [
        "classifier/0263.html",
        "classifier/0001.html",
        *(f"blocks.3/{unit:04d}.html" for unit in (*range(6), 12, 15)),
        "classifier/0264.html",
        "objectives/brightest-f5881a8c.html",
    ], "every tile leads to its unit; class 264 and the objective are in no section"
    images = [told["src"] for told in index.all("img")]
    assert images[:2] == ["classifier/thumbs/0263.webp", "classifier/thumbs/0001.webp"], (
        "as the section names them"
    )
    assert "No pictures of this section yet." in index.text
    # Layers follow each other as the index shows them.
    assert pages["classifier/index.html"].all("a", rel="next")[0]["href"] == "../blocks.3/index.html"
    assert pages["blocks.3/index.html"].all("a", rel="prev")[0]["href"] == "../classifier/index.html"


def test_without_sections_every_layer_has_its_own_in_natural_order_after_the_classes():
    layers = ["blocks.10", "classifier", "blocks.2"]
    index = parsed(manifest(*(entry(layer, 1) for layer in layers), entry("", None)))["index.html"]
    assert [text.split()[0] for level, text in index.headings if level == 2][1:-1] == [
        "classifier",
        "blocks.2",
        "blocks.10",
        "objectives",
    ]
    assert index.headings[0] == (1, "efficientnet_lite0")


def test_classes_come_first_and_are_named():
    sections = [
        {"title": "Blocks", "text": "", "pictures": ["blocks.3:0 seed 0"]},
        {"title": "Both", "text": "", "pictures": ["blocks.3:0 seed 0", "classifier:1 seed 0"]},
        {"title": "Classes", "text": "", "pictures": ["classifier:263 seed 0", "classifier:1 seed 0"]},
    ]
    pictures = [entry(), entry("classifier", 1), entry("classifier", 263)]
    pages = parsed(manifest(*pictures, gallery={"sections": sections}))
    index = pages["index.html"]
    titles = [text for level, text in index.headings if level == 2]
    assert titles == ["Found", "Classes", "Blocks", "Both", "About this gallery"]
    assert "classifier Pembroke classifier goldfish" in index.text
    assert "classifier 2 classes" in index.text
    assert index.all("details", class_="section")[0]["open"] == ""
    assert pages["classifier/index.html"].all("a", rel="next")[0]["href"] == "../blocks.3/index.html"


@pytest.mark.parametrize(("count", "shown", "said"), [(40, 40, ""), (48, 48, ""), (64, 48, "16 more, ")])
def test_the_index_says_how_many_more_there_are(count, shown, said):
    index = parsed(manifest(*(entry(unit=unit) for unit in range(count))))["index.html"]
    assert len(index.all("img")) == shown
    assert f"{said}all of blocks.3" in index.text
    assert bool(re.search(r"\d more", index.text)) == bool(said)


def test_of_many_layers_the_front_page_shows_fewer_units_each():
    def tiles(layers, units):
        entries = [entry(f"blocks.{place}", unit) for place in range(layers) for unit in range(units)]
        return len(parsed(manifest(*entries))["index.html"].all("img"))

    assert tiles(6, 50) == 6 * 48
    assert tiles(18, 16) == 18 * 16
    assert tiles(20, 16) == 20 * 14
    assert tiles(30, 16) == 30 * 12


def test_a_layer_shows_all_its_units_by_number():
    told, examples = rich()
    page = parsed(told, examples)["blocks.3/index.html"]
    assert [told["data-unit"] for told in cards(page)] == [str(unit) for unit in (*range(6), 12, 13, 14, 15)]
    images = page.all("img")
    assert len(images) == 8, "one is dead, one failed"
    for image in images:
        assert (image["width"], image["height"]) == ("32", "24")
        assert (image["loading"], image["decoding"]) == ("lazy", "async")
    assert images[0]["alt"] == "unit 0: picture"
    assert {told["aria-label"] for told in page.all("span", class_="blank")} == {
        "unit 13: no picture, dead",
        "unit 14: no picture, failed",
    }
    assert {told["class"] for told in page.all("span", class_="mark")} == {
        "mark verdict",
        "mark dead",
        "mark failed",
        "mark stale",
    }
    assert "hardly above the start" in page.text
    order = {told["data-unit"]: int(told["data-order"]) for told in cards(page)}
    assert sorted(order, key=order.__getitem__)[:4] == ["14", "13", "15", "12"], "what has a mark comes first"
    assert sorted(order.values()) == list(range(10))


def test_praise_is_no_warning_and_comes_last_in_the_order_of_verdicts():
    said = [
        ["recognized by 2 of 2 judges"],
        ["recognized by 1 of 2 judges"],
        ["recognized by 2 of 2 judges", "looks unlike any photograph"],
        ["stands out in its layer"],
        [],
    ]
    pictures = [entry("fc", unit, verdicts=words) for unit, words in enumerate(said)]
    pictures.append(entry("fc", 5, status="dead", file=None, verdicts=["dead"]))
    page = parsed(manifest(*pictures))["fc/index.html"]
    marks = [told["class"] for told in page.all("span", class_="mark")]
    assert marks == ["mark verdict", "mark verdict", "mark dead"], (
        "only faults; a dead unit is called so once"
    )
    assert sum("recognized by 2 of 2" in told.get("data-find", "") for told in cards(page)) == 2, "yet found"
    order = {told["data-unit"]: int(told["data-order"]) for told in cards(page)}
    assert sorted(order, key=order.__getitem__) == ["5", "2", "1", "0", "3", "4"]


def test_cards_know_their_names_scores_and_marks():
    page = parsed(*rich())["classifier/index.html"]
    by_unit = {told["data-unit"]: told for told in cards(page)}
    assert by_unit["263"]["data-find"] == "Pembroke, Pembroke Welsh corgi"
    assert float(by_unit["263"]["data-score"]) == entry("classifier", 263)["score"]
    assert page.all("img")[1]["alt"] == "unit 263, Pembroke: picture"
    dead = next(told for told in cards(parsed(*rich())["blocks.3/index.html"]) if told["data-unit"] == "13")
    assert dead["data-find"].strip() == "dead"
    assert "data-score" not in dead, "a dead unit has no score to be sorted by"


def test_a_unit_page_shows_all_its_pictures():
    page = parsed(*rich())["blocks.3/0012.html"]
    assert [told["src"] for told in page.all("img")] == [
        "0012.png",
        "0012-seed1.png",
        "0012@1,2.png",
        "0012-negative.png",
        "0012-d0.png",
        "../examples/blocks.3/0012-0.webp",
        "../examples/blocks.3/0012-1.webp",
    ]
    large = page.all("img")[0]
    assert (large["width"], large["height"]) == (str(32 * 16), str(24 * 16)), (
        "whole multiples of its own pixels"
    )
    assert large["class"] == "coarse"
    assert [told["alt"] for told in page.all("img")][:5] == [
        "unit 12: picture",
        "unit 12: picture, seed 1",
        "unit 12: picture at row and column 1,2",
        "unit 12: negative",
        "unit 12: one of a diverse set",
    ]
    assert [text for level, text in page.headings if level == 2] == [
        "Other seeds and positions",
        "Negative: what drives it down",
        "Diverse set",
        "Photographs it responds to most",
        "Make it again",
        "Recipe",
    ]
    assert "seed 2, failed: out of memory." in page.text
    for said in ("Score at the start 0.500", "Steps 8", "Seconds 0.250", "Seed 0", "Canvas 24 × 32 px"):
        assert said in page.text
    assert "blocks.3:12 hardly above the start Score" in page.text
    assert "featvis reproduce blocks.3/0012.png" in page.text
    assert "featvis render --model efficientnet_lite0 blocks.3:12 --recipe recipe.toml" in page.text


def test_a_score_is_set_beside_photographs():
    told, examples = rich()
    crops = examples["units"]["blocks.3:12"]["examples"]
    score = entry("blocks.3", 12)["score"]
    crops[0]["value"] = score / 4
    page = parsed(told, examples)["blocks.3/0012.html"]
    assert f"Score {score:.1f}: 4.00 times the best photograph, above all 120 photographs." in page.text
    assert f"{score / 4:.2f} chelsea.png row 3, column 5" in page.text
    assert "2.50 coffee.png" in page.text
    assert "do not seem to show" not in page.text


@pytest.mark.parametrize("value", [4.2, 0.1, -3.0])
def test_a_score_is_not_set_beside_photographs_without_the_thing(value):
    told, examples = rich()
    crops = examples["units"]["blocks.3:12"]["examples"]
    for crop in crops:
        crop["value"] = value
    score = entry("blocks.3", 12)["score"]
    text = parsed(told, examples)["blocks.3/0012.html"].text
    assert "times the best" not in text
    shown = f"{value:#.3g}".replace("-", "−")
    lacking = (
        f"None of 120 photographs reaches 25% of the picture’s score of {score:.1f} (the best, {shown}):"
    )
    assert f"{lacking} they do not seem to show what it looks for." in text
    legend = parsed(told, examples)["site/legend.html"].text
    assert "only where that photograph reaches at least 25% of the picture's score" in legend


def test_a_score_below_zero_is_no_multiple():
    told, examples = rich()
    for one in told["pictures"]:
        one["score"] = -1.0
    told["pictures"] = [{**one, "verdicts": []} for one in told["pictures"]]
    for crop in examples["units"]["blocks.3:12"]["examples"]:
        crop["value"] = -2.0
    text = parsed(told, examples)["blocks.3/0012.html"].text
    assert "times the best" not in text
    assert "Score −1.00: below the 50th percentile of 120 photographs." in text


def test_every_verdict_and_status_is_explained_where_it_is_said():
    said = ["saturated", "rank 3 of 64 in its layer", "recognized by 1 of 2 judges"]
    page = parsed(manifest(entry(verdicts=said)))["blocks.3/0000.html"]
    links = {told["href"] for told in page.all("a", class_="mark")}
    assert links == {f"../site/legend.html#word-{name}" for name in ("saturated", "rank", "recognized")}
    assert "driven to the top of its range" in page.text
    for kind in KINDS:
        words = re.sub(r"\{it\S*\}", "3", kind.words).replace("{judges}", "5 judges")
        found = find_word(words)
        assert found is not None, f"the legend lacks {words!r}"
        assert found.name == kind.name
    assert {word.name for word in VERDICTS} <= {kind.name for kind in KINDS}


def test_scores_that_are_drawn_are_those_that_are_printed():
    page = parsed(*rich())["blocks.3/0012.html"]
    assert "Score 17.0 Score at the start 0.500" in page.text
    text = make_pages(*rich())["blocks.3/0012.html"]
    assert re.findall(r'<text class="dot"[^>]*>([^<]*)<', text) == ["0.500", "17.0"]
    assert "less what it subtracts" not in page.text
    told, examples = rich()
    told["recipes"]["0123abcd"]["penalties"] = [{"name": "l2", "weight": 0.1}]
    assert "less what it subtracts" in parsed(told, examples)["blocks.3/0012.html"].text


def test_a_recipe_has_its_name():
    named = Recipe.load("portrait").but(size=(96, 96), threads=1).to_json()
    other = Recipe.load("portrait").but(space={"name": "pixel"}).to_json()
    told = manifest(entry(), entry(unit=1, recipe="ffff0000"), recipes={"0123abcd": named, "ffff0000": other})
    pages = parsed(told)
    assert "Recipe portrait, 96 × 96 px Canvas" in pages["blocks.3/0000.html"].text
    assert "Recipe its own" in pages["blocks.3/0001.html"].text
    assert "recipe portrait, 96 × 96 px, seed 0" in pages["blocks.3/0000.html"].text, "in the caption"


def test_what_is_copied_runs():
    text = make_pages(manifest(entry("fc", 3, seed=2), model='my "net"'))["fc/0003.html"]
    (program,) = re.findall(r'<code id="script">(.*?)</code>', text, re.DOTALL)
    tree = ast.parse(html.unescape(program))
    assert [ast.unparse(node) for node in tree.body[1:3]] == [
        """model = fv.load_model('my "net"')""",
        "picture, = fv.render(model, 'fc:3', recipe='recipe.toml', seed=2)",
    ]
    for name in re.findall(r'data-copy="([^"]*)"', text):
        assert f'id="{name}"' in text


def test_the_units_are_told_to_the_script_as_data():
    told, examples = rich()
    text = make_pages(told, examples)["site/units.js"]
    table = json.loads(text.removeprefix("featvisGallery(").removesuffix(");\n"))
    assert (table["title"], table["model"]) == ("Lite0", "efficientnet_lite0")
    layers = {layer["name"]: layer for layer in table["layers"]}
    assert list(layers) == ["classifier", "blocks.3", "objectives"]
    assert [layers[name]["named"] for name in layers] == [True, False, False]
    pembroke = next(unit for unit in layers["classifier"]["units"] if unit[0] == 263)
    score = entry("classifier", 263)["score"]
    lead = ["classifier/0263.png", 24, 32, score, "", 0, 0]
    names = "Pembroke, Pembroke Welsh corgi"
    assert pembroke == [263, "unit 263", names, "classifier/0263.html", "ok", [], [], [lead]]
    rows = {unit[0]: unit for unit in layers["blocks.3"]["units"]}
    assert rows[13][4:6] == ["dead", ["dead"]]
    assert rows[13][7] == []
    assert [row[4] for row in rows[12][7]] == ["", "seed 1", "at 1,2", "negative", "of a diverse set"]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_text_is_data_in_the_script(text):
    script = make_pages(*hostile(text))["site/units.js"]
    assert script.isascii()
    assert script.count("\n") == 1, "one line, one call"
    table = json.loads(script.removeprefix("featvisGallery(").removesuffix(");\n"))
    assert table["title"] == text.encode("utf-8", "replace").decode().translate({0: " ", 0x1B: " "})


def test_a_unit_of_which_there_is_only_a_dead_or_failed_run_says_why():
    pages = parsed(*rich())
    assert "dead: no start gave the unit any gradient" in pages["blocks.3/0013.html"].text
    assert "failed: out of memory after 3 attempts." in pages["blocks.3/0014.html"].text
    for page in (pages["blocks.3/0013.html"], pages["blocks.3/0014.html"]):
        assert page.all("img") == []
        assert "reproduce" not in page.text
    assert "an earlier one of this gallery" in pages["blocks.3/0015.html"].text


def test_a_seed_stands_for_a_unit_whose_first_failed():
    told = manifest(entry(unit=3, status="failed", file=None), entry(unit=3, seed=1, score=4.25))
    pages = parsed(told)
    assert pages["blocks.3/index.html"].all("img")[0]["src"] == "thumbs/0003-seed1.webp"
    assert pages["blocks.3/0003.html"].all("img")[0]["src"] == "0003-seed1.png"


def test_neighbours_are_linked_and_the_ends_are_ends():
    pages = parsed(*rich())
    assert pages["blocks.3/0005.html"].all("a", rel="prev")[0]["href"] == "0004.html"
    assert pages["blocks.3/0005.html"].all("a", rel="next")[0]["href"] == "0012.html"
    assert pages["blocks.3/0005.html"].all("a", rel="up")[0]["href"] == "index.html"
    assert pages["blocks.3/0000.html"].all("a", rel="prev") == []
    assert pages["blocks.3/0015.html"].all("a", rel="next") == []


def test_an_objective_has_a_page_and_says_that_it_is_code():
    page = parsed(*rich())["objectives/brightest-f5881a8c.html"]
    assert page.headings[0] == (1, "brightest")
    assert "featvis render" not in page.text
    assert "fv.reproduce(FILE, model, objective=…)" in page.text


@pytest.mark.parametrize("name", ["objectives", "site", "examples"])
def test_a_layer_with_a_taken_name_gets_a_folder_of_its_own(name):
    pages = parsed(manifest(entry(name, 1), entry("", None)))
    assert f"{name}-layer/0001.html" in pages
    assert len([path for path in pages if path.endswith("/index.html")]) == 2


def test_the_recipe_is_the_toml_that_the_command_takes():
    full = Recipe.load("portrait").but(threads=1).to_json()
    text = make_pages(manifest(entry(), recipes={"0123abcd": full}))["blocks.3/0000.html"]
    page = Page(text)
    block = page.text[page.text.index("# 0123abcd") :]
    assert "optimizer = " in block
    found = re.search(r"<pre class=\"recipe\"><code id=\"toml\">(.*?)</code></pre>", text, re.DOTALL)
    assert found is not None
    written = "".join(Page(f"<p>{found[1]}</p>").texts)
    assert Recipe(**tomllib.loads(written)).to_json() == full


def test_another_recipe_on_the_page_is_shown_too():
    told = manifest(entry(), entry(seed=1, recipe="ffff0000"))
    told["recipes"]["ffff0000"] = {**RECIPE, "steps": 99}
    page = parsed(told)["blocks.3/0000.html"]
    assert "Recipe ffff0000, of other pictures on this page" in page.text
    assert "steps = 99" in page.text


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_text_stays_text(text):
    given = hostile(text)
    texts = make_pages(*given)
    allowed = {tag for page in parsed(*rich()).values() for tag, _ in page.tags}
    allowed_names = {name for page in parsed(*rich()).values() for _, told in page.tags for name in told}
    for path, page in parsed(*given).items():
        assert ".." not in path.split("/")
        assert not path.startswith("/")
        assert {tag for tag, _ in page.tags} <= allowed
        assert {name for _, told in page.tags for name in told} <= allowed_names
        assert len(page.all("script")) == 2
        for address in page.addresses:
            resolve(path, address)
    shown = " ".join(text.encode("utf-8", "replace").decode().split())
    if text.isprintable():
        assert shown in parsed(*given)["index.html"].text
    assert set(texts) & {"index.html"}
    for content in texts.values():
        content.encode("utf-8")


OUTSIDE = [
    "../outside.png",
    "/etc/outside.png",
    "a/../../outside.png",
    "a/./b.png",
    "a//b.png",
    "..\\outside.png",
    "C:/outside.png",
    "file:///outside.png",
    "https://example.org/x.png",
    "//example.org/x.png",
    "javascript:alert(1)//x.png",
    "a\x00.png",
    "a\nb.png",
    "a\ud800.png",
    "x.html",
    "x.svg",
    "",
    3,
    ["x.png"],
    {"x": 1},
]


@pytest.mark.parametrize("path", OUTSIDE, ids=range(len(OUTSIDE)))
def test_no_path_leaves_the_folder(path):
    told, examples = rich()
    for one in told["pictures"]:
        if one["file"]:
            one["file"] = path
        one["view"] = one["sound"] = path
    for crop in examples["units"]["blocks.3:12"]["examples"]:
        crop["file"] = path
    texts = make_pages(told, examples)
    for name, page in parsed(told, examples).items():
        assert page.all("img") == []
        for address in page.addresses:
            assert resolve(name, address) in texts
    assert "Missing 16" in Page(texts["index.html"]).text
    assert "no PNG inside this folder" in Page(texts["blocks.3/0001.html"]).text


ODD = [None, True, -1, 10**400, 1e308, float("nan"), float("inf"), "text", [], {}, [None], {"a": None}]


@pytest.mark.parametrize("odd", ODD, ids=range(len(ODD)))
def test_values_of_the_wrong_type_break_nothing(odd):
    told, examples = rich()
    told["pictures"] = [one for one in told["pictures"] if one["unit"] in (12, 13, None)][::2] + told[
        "pictures"
    ][-1:]
    fields = [*entry(), "variant", "trace", "stale", "reason", "size", "view", "film", "sound"]
    for name in fields:
        pictures = [{**one, name: odd} for one in told["pictures"]]
        for path, page in parsed({**told, "pictures": pictures}, examples).items():
            for address in page.addresses:
                resolve(path, address)
    for name in [*told, "gallery"]:
        parsed({**told, name: odd}, examples)
    for name in told["gallery"]:
        parsed({**told, "gallery": {**told["gallery"], name: odd}}, examples)
    for name in ("title", "text", "pictures"):
        parsed({**told, "gallery": {"sections": [{"title": "A", "text": "", "pictures": [], name: odd}]}})
    parsed({**told, "gallery": {"sections": [odd]}, "pictures": [odd, *told["pictures"]]})
    unit = examples["units"]["blocks.3:12"]
    for name in examples:
        parsed(told, {**examples, name: odd})
    for name in unit:
        parsed(told, {**examples, "units": {"blocks.3:12": {**unit, name: odd}}})
    for name in unit["examples"][0]:
        crop = {**unit["examples"][0], name: odd}
        parsed(told, {**examples, "units": {"blocks.3:12": {**unit, "examples": [crop, odd]}}})
    parsed(told, {**examples, "units": {"blocks.3:12": {**unit, "quantiles": [odd, [odd, odd]]}}})


def test_nothing_is_asked_of_any_other_place():
    for path, text in make_pages(*rich()).items():
        assert not re.search(
            r"(?:https?:)?//(?!www\.w3\.org/2000/svg)[a-z]",
            re.sub(r"//.*", "", text) if path.endswith(".js") else text,
        )
    page = parsed(*rich())["index.html"]
    (policy,) = [
        told["content"] for told in page.all("meta") if told.get("http-equiv") == "Content-Security-Policy"
    ]
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy


def test_the_score_over_the_steps_is_drawn_and_told():
    scores = [0.5, 3.0, 2.5, 7.0, 9.5]
    svg = ElementTree.fromstring(str(make_trace(scores, 8, "trace")))
    name = {"s": "http://www.w3.org/2000/svg"}
    points = [
        tuple(map(float, point.split(","))) for point in svg.find("s:polyline", name).get("points").split()
    ]
    assert len(points) == 5
    columns, rows = zip(*points, strict=True)
    gaps = [after - before for before, after in pairwise(columns)]
    assert max(gaps) - min(gaps) < 0.2, "evenly spread"
    slope = (rows[4] - rows[0]) / (scores[4] - scores[0])
    assert slope < 0, "higher scores are further up"
    for row, score in zip(rows, scores, strict=True):
        assert math.isclose(row, rows[0] + slope * (score - scores[0]), abs_tol=0.11)
    assert svg.get("role") == "img"
    assert svg.get("aria-labelledby") == "trace-title trace-desc"
    assert svg.find("s:desc", name).text.startswith("A line from 0.500 at the first step to 9.50 at step 8;")
    assert {text.text for text in svg.iter("{http://www.w3.org/2000/svg}text")} >= {
        "step",
        "score",
        "0",
        "4",
        "8",
    }


@pytest.mark.parametrize(
    "scores", [[], [1.0], [1e300, -1e300], [5e-324, 1.0], [2.0, 2.0], [0.0, 0.0], [-3e-9, 4e9]]
)
def test_odd_scores_are_drawn_or_left_out(scores):
    text = str(make_trace(scores, 8, "trace"))
    if text:
        ElementTree.fromstring(text)
        assert "nan" not in text
        assert "inf" not in text
    assert (text == "") == (len(scores) < 2 or max(scores) > 1e200)
