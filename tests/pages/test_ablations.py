"""Which classes suffer where a unit is off, on its page."""

from __future__ import annotations

import copy

import pytest

from featvis.pages.compose import make_pages
from tests.pages.manifests import HOSTILE, entry, manifest, rich, switched_off
from tests.pages.markup import Page, resolve
from tests.pages.test_compose import ODD

PAGE = "blocks.3/0012.html"


def page_of(told, ablations):
    return Page(make_pages(told, None, ablations)[PAGE])


def test_a_page_tells_which_classes_suffer_and_how_sure_that_is():
    told, _ = rich()
    page = page_of(told, switched_off())
    assert "If it were off" in [text for _, text in page.headings]
    said = "blocks.3:12 zeroed, over 48 photographs of photos: another class comes first for 4.2% of them"
    assert f"{said} (95 % interval 1.2% to 14.0%)." in page.text
    for row in (
        "Pembroke −1.50 −2.00 to −1.00 −0.0150",
        "class 7 −0.250 −0.750 to +0.250 may be 0",
        "Egyptian cat +0.750 –",
    ):
        assert row in page.text
    targets = {resolve(PAGE, address) for address in page.addresses}
    assert "classifier/0263.html" in targets, "a class that has a page is linked"
    assert "classifier/0285.html" not in targets
    others = make_pages(told, None, switched_off())
    assert [name for name, text in others.items() if "If it were off" in text] == [PAGE]


def test_nothing_is_said_of_other_weights_or_of_what_was_not_measured():
    told, _ = rich()
    for changes in ({"weights": "other"}, {"photographs": 0}, {"photographs": 1}, {"units": {}}):
        assert make_pages(told, None, {**switched_off(), **changes}) == make_pages(told)


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_text_stays_text(text):
    told, _ = rich()
    ablations = switched_off()
    unit = ablations["units"]["blocks.3:12"]
    ablations["folder"] = unit["how"] = text
    for change in (*unit["falls"], *unit["rises"]):
        change["label"] = text
    allowed = {tag for tag, _ in page_of(told, switched_off()).tags}
    assert {tag for tag, _ in page_of(told, ablations).tags} <= allowed


@pytest.mark.parametrize("odd", ODD, ids=range(len(ODD)))
def test_values_of_the_wrong_type_break_nothing(odd):
    told = manifest(entry("blocks.3", 12))
    for name in switched_off():
        page_of(told, {**switched_off(), name: odd})
    for name in switched_off()["units"]["blocks.3:12"]:
        ablations = copy.deepcopy(switched_off())
        ablations["units"]["blocks.3:12"][name] = odd
        page_of(told, ablations)
    for name in switched_off()["units"]["blocks.3:12"]["falls"][0]:
        ablations = copy.deepcopy(switched_off())
        ablations["units"]["blocks.3:12"]["falls"][0][name] = odd
        page_of(told, ablations)
