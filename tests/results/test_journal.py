"""Journals are read as they grow: each line once, whoever writes, tears or removes them."""

from __future__ import annotations

import json
import tracemalloc

import pytest

from featvis.galleries import cluster
from featvis.galleries.arrays import Array, Settings
from featvis.results import journal as module
from featvis.results.journal import JOURNAL, Journal, Journals, read_both
from featvis.results.lock import PRIVATE

RECIPE = {"name": "a recipe", "steps": 3}


def entry(number, status="ok", **told):
    file = f"conv/{number:04d}.png" if status == "ok" else None
    told = {"trace": [number + place / 7 for place in range(64)], **told}
    own = {"file": file, "target": f"conv:{number}", "layer": "conv", "unit": number, "seed": 0}
    return own | {"key": f"{number:064x}", "status": status, "recipe": "a1b2", **told}


def name(number):
    return f"conv:{number} seed 0"


@pytest.fixture
def writers(tmp_path):
    made = [Journal(tmp_path / PRIVATE / f"shard-{number}-of-2{JOURNAL}") for number in (1, 2)]
    yield made
    for one in made:
        one.close()


@pytest.fixture
def parsed(monkeypatch):
    """The lines that were parsed."""
    seen, real = [], module.parse_json
    monkeypatch.setattr(module, "parse_json", lambda text: (seen.append(text), real(text))[1])
    return seen


def test_only_what_was_appended_is_read(tmp_path, writers, parsed):
    first, second = writers
    first.begin(4, 0)
    for number in range(3):
        first.add(entry(number), RECIPE, {"replayed": 2, "computed": 1})
    journals = Journals(tmp_path).update()
    assert journals.fresh == {name(0), name(1), name(2)}
    assert len(parsed) == 4
    assert journals.update().fresh == set()
    assert len(parsed) == 4
    second.add(entry(7, "failed", layer="late"), RECIPE, {})
    assert journals.update().fresh == {name(7)}
    assert len(parsed) == 5
    first.add(entry(1, "dead"), RECIPE, {})
    assert journals.update().fresh == {name(1)}
    assert len(parsed) == 6
    assert journals.layers == {"conv", "late"}
    told = journals.told["shard-1-of-2"]
    assert (told.wanted, told.steps, told.recipes) == (4, {"replayed": 6, "computed": 3}, {"a1b2": RECIPE})
    assert [one.failed for one in journals.told["shard-2-of-2"].noted.values()] == [True]
    del parsed[:]
    found = journals.entries()
    assert found == {
        name(0): entry(0),
        name(1): entry(1, "dead"),
        name(2): entry(2),
        name(7): entry(7, "failed", layer="late"),
    }
    assert len(parsed) == 4, "one for each picture"


def test_who_waits_for_jobs_reads_each_line_once(tmp_path, writers, parsed, monkeypatch):
    """As many looks as one likes do not cost more than what was appended; other writers' failures are old."""
    first = Journal(tmp_path / PRIVATE / f"task-1-of-2-0123abcd{JOURNAL}")
    for number in range(5):
        first.add(entry(number, "failed"), RECIPE, {})
    writers[0].add(entry(5, "failed"), RECIPE, {})

    class Item:
        def __init__(self, number):
            self.name = name(number)

    driver = object.__new__(cluster._Driver)
    driver.folder, driver.journals = tmp_path, Journals(tmp_path)
    driver.settings, driver.array = Settings(2, every=0.01), Array("0123abcd", "local", 2, 0.0)
    looks = iter(range(100))

    def look(seconds):
        number = next(looks)
        if number >= 20:
            first.add(entry(5 + number - 20), RECIPE, {})

    monkeypatch.setattr(driver, "_at_work", lambda: (2, 0))
    monkeypatch.setattr(driver, "_writing", lambda: 0)
    monkeypatch.setattr(cluster.time, "sleep", look)
    driver._wait([Item(number) for number in range(12)])
    first.close()
    assert next(looks) == 27, "it ends with the last of what was asked"
    assert len(parsed) == 13


def test_what_was_under_way_is_not_among_what_has_ended(tmp_path, writers):
    first, _ = writers
    for number, status in enumerate(("ok", "stopped", "failed", "dead")):
        first.add(entry(number, status), RECIPE, {})
    journals = Journals(tmp_path).update()
    ended = {name(0), name(2), name(3)}
    assert journals.fresh == journals.told["shard-1-of-2"].ended == ended
    first.add(entry(1), RECIPE, {})
    assert journals.update().fresh == {name(1)}
    assert journals.told["shard-1-of-2"].ended == {*ended, name(1)}


def test_a_torn_line_is_left_for_the_next_time(tmp_path, writers):
    writers[0].add(entry(0), RECIPE, {})
    path = writers[0].path
    line = json.dumps({"at": 5.0, "entry": entry(1, label="ä" * 9)}, ensure_ascii=False).encode()
    journals = Journals(tmp_path).update()
    for part in (line[:40], line[40:-30], line[-30:]):
        with path.open("ab") as stream:
            stream.write(part)
        assert journals.update().fresh == set()
    with path.open("ab") as stream:
        stream.write(b"\n\nno JSON\n[3]\n\xff\n")
    assert journals.update().fresh == {name(1)}
    again = Journal(path)
    again.add(entry(2), RECIPE, {})
    again.close()
    assert journals.update().fresh == {name(2)}
    assert journals.entries() == {
        name(0): entry(0),
        name(1): entry(1, label="ä" * 9),
        name(2): entry(2),
    }


def test_a_finished_picture_stands_before_a_failure_and_a_later_one_before_an_earlier(tmp_path, monkeypatch):
    times = iter((10.0, 20.0, 30.0, 5.0, 25.0, 40.0))
    monkeypatch.setattr(module.time, "time", lambda: next(times))
    for number, told in (
        (1, [entry(0, score=1.0), entry(1, "failed"), entry(2, "failed", reason="one")]),
        (2, [entry(0, score=2.0), entry(1, score=3.0), entry(2, "failed", reason="two")]),
    ):
        journal = Journal(tmp_path / PRIVATE / f"shard-{number}-of-2{JOURNAL}")
        for one in told:
            journal.add(one, RECIPE, {})
        journal.close()
    found = Journals(tmp_path).update().entries()
    assert [found[name(0)]["score"], found[name(1)]["score"], found[name(2)]["reason"]] == [1.0, 3.0, "two"]


def test_a_journal_that_is_gone_tells_nothing(tmp_path, writers):
    writers[0].add(entry(0), RECIPE, {})
    writers[1].add(entry(1), RECIPE, {})
    journals = Journals(tmp_path).update()
    writers[0].path.unlink()
    assert journals.entries() == {name(1): entry(1)}
    assert journals.update().fresh == set()


def test_a_merge_at_the_same_moment_loses_nothing(tmp_path, writers, monkeypatch):
    """Who merges writes the manifest, then removes the journals: they are read first."""
    writers[0].add(entry(0), RECIPE, {})
    journals, real = Journals(tmp_path).update(), module.Journals.entries

    def merge_meanwhile(self):
        (tmp_path / "manifest.json").write_text(json.dumps({"featvis": "0.1", "pictures": [entry(0)]}))
        writers[0].path.unlink()
        return real(self)

    monkeypatch.setattr(module.Journals, "entries", merge_meanwhile)
    assert read_both(tmp_path, journals)["pictures"] == [entry(0)]


def test_memory_does_not_grow_with_what_the_entries_hold(tmp_path, writers):
    for number in range(600):
        writers[0].add(entry(number), RECIPE, {})
    journals = Journals(tmp_path)
    tracemalloc.start()
    try:
        journals.update()
        held = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert len(journals.fresh) == 600
    assert held / 600 < 500, "an entry takes 5 kB"
