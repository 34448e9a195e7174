"""Entries whose lines lie in a file: they read as they were set, in their order, and memory stays flat."""

from __future__ import annotations

import json
import tracemalloc

import pytest

from featvis.errors import OutputError
from featvis.results import entries as module
from featvis.results.entries import Entries


def entry(number, **told):
    trace = [number + place / 7 for place in range(64)]
    own = {"file": f"conv/{number:04d}.png", "target": f"conv:{number}", "layer": "conv", "unit": number}
    return own | {
        "label": 'ä"\\\n\u2028',
        "score": 0.1 * number,
        "key": f"{number:064x}",
        "trace": trace,
        **told,
    }


def fill(entries, numbers, **told):
    for number in numbers:
        entries[f"conv:{number} seed 0"] = entry(number, **told)


def test_what_is_set_is_read_in_the_order_of_the_names(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "ROOM", 5000)
    entries, known = Entries(tmp_path), {}
    for one in (entries, known):
        fill(one, range(40))
        fill(one, (3, 39, 17), stale=True)  # some held, some in the file
        del one["conv:0 seed 0"], one["conv:38 seed 0"]
        fill(one, (38, 50))
        one.pop("conv:5 seed 0")
    assert entries._file is not None
    assert entries._lines, "and some are held"
    assert [*entries.items()] == [*known.items()], "the order, too"
    assert entries == known
    assert len(entries) == len(known)
    assert all(entries.line(name) == json.dumps(one, ensure_ascii=False) for name, one in known.items())
    for name in ("conv:0 seed 0", "conv:5 seed 0", "other"):
        assert name not in entries
        with pytest.raises(KeyError):
            entries[name]
        with pytest.raises(KeyError):
            del entries[name]


def test_what_is_read_is_a_copy(tmp_path):
    entries = Entries(tmp_path, {"a": {"score": 1.0}})
    entries["a"]["score"] = 2.0
    assert entries["a"] == {"score": 1.0}


@pytest.mark.parametrize("length", [module._CHUNK - 12, module._CHUNK - 11, 3 * module._CHUNK])
def test_lines_of_any_length_are_read(length, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "ROOM", 0)
    entries = Entries(tmp_path)
    for number in range(3):
        entries[str(number)] = {"label": str(number) * length}
    assert [one["label"] for one in entries.values()] == [str(number) * length for number in range(3)]


def test_the_file_has_no_name_and_few_entries_have_none(tmp_path):
    entries = Entries(tmp_path)
    fill(entries, range(100))
    assert entries._file is None
    fill(entries, range(400))
    assert entries._file is not None
    assert [*tmp_path.iterdir()] == []
    assert entries["conv:0 seed 0"] == entry(0)


def test_where_no_file_can_be_written_the_lines_stay_in_memory(tmp_path, monkeypatch):
    """A full disk, a folder that is gone: pictures that are there are not lost from the manifest."""

    class Full:
        room = 1500

        def __init__(self, real):
            self.real, self.seek, self.read, self.close = real, real.seek, real.read, real.close

        def write(self, content):
            return self.real.write(content[: self.room])

    monkeypatch.setattr(module, "ROOM", 2000)
    real = module._nameless
    monkeypatch.setattr(module, "_nameless", lambda folder: Full(real(folder)))
    entries = Entries(tmp_path)
    fill(entries, range(9))
    assert len(entries._lines) == 9
    assert [*entries.values()] == [entry(number) for number in range(9)]
    Full.room = 1 << 20
    fill(entries, range(9, 40))
    assert len(entries._lines) < 5, "there is room again"
    assert [*entries.values()] == [entry(number) for number in range(40)]
    gone = Entries(tmp_path / "gone")
    fill(gone, range(9))
    assert [*gone.values()] == [entry(number) for number in range(9)]


def test_a_disk_that_gives_nothing_back_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "ROOM", 0)
    entries = Entries(tmp_path, {"a": {"score": 1.0}})
    entries._file.truncate(3)
    with pytest.raises(OutputError, match=r"^cannot read in .*: a file in it was cut short$"):
        entries["a"]


def test_memory_is_flat_over_many_entries(tmp_path, monkeypatch):
    """Each took 2 kB as a dictionary; its name and where it is are what is left."""
    monkeypatch.setattr(module, "ROOM", 10_000)
    entries = Entries(tmp_path)
    tracemalloc.start()
    try:
        fill(entries, range(200))
        before = tracemalloc.get_traced_memory()[0]
        fill(entries, range(200, 1000))
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert grown / 800 < 300
    assert entries["conv:999 seed 0"] == entry(999)
