"""Pictures are saved beside the computing, in their order, and nothing that goes wrong is swallowed."""

from __future__ import annotations

import threading
import time

import pytest

import featvis as fv
from featvis.results.saver import Saver
from tests.networks import small

OPTIONS = {"size": (17, 24), "steps": 2, "lanes": 2}


def test_all_are_saved_in_order_on_another_thread():
    saved, threads = [], set()

    def add(picture):
        saved.append(picture)
        threads.add(threading.current_thread())

    with Saver(add, lambda: None) as saver:
        for number in range(20):
            saver.put(number)
    assert saved == list(range(20))
    assert threading.main_thread() not in threads


def fails(picture):
    raise fv.OutputError("disk full")


def test_what_goes_wrong_is_raised_at_the_latest_at_the_end():
    saver = Saver(fails, lambda: None)
    with pytest.raises(fv.OutputError, match="disk full"), saver:
        saver.put(1)


def keep_putting(saver):
    for _ in range(500):
        saver.put(1)
        time.sleep(0.01)


def test_the_next_put_raises_what_the_last_one_met():
    saver = Saver(fails, lambda: None)
    with pytest.raises(fv.OutputError, match="disk full"):
        keep_putting(saver)
    with saver:
        pass


def test_an_error_of_the_computing_is_not_hidden_by_one_of_the_saving():
    def compute():
        with Saver(fails, lambda: None) as saver:
            saver.put(1)
            raise KeyError("the first")

    with pytest.raises(KeyError):
        compute()


def test_the_manifest_is_written_now_and_then(monkeypatch):
    monkeypatch.setattr("featvis.results.saver.EVERY", 0.0)
    monkeypatch.setattr("featvis.results.saver.REST", 0)
    noted = []
    with Saver(lambda picture: None, lambda: noted.append(1)) as saver:
        saver.put(1)
        saver.put(2)
    assert noted == [1, 1]


def test_a_manifest_that_takes_long_is_written_the_less_often(monkeypatch):
    """Each is as large as all that came before, so that writing it at fixed times would cost their square."""
    clock = [0.0]
    monkeypatch.setattr("featvis.results.saver.time.monotonic", lambda: clock[0])
    noted = []

    def note():
        clock[0] += 5.0
        noted.append(clock[0])

    saver = Saver(lambda picture: None, note)
    for _ in range(300):
        clock[0] += 1.0
        saver._save(1)
    assert noted == [7.0, 112.0, 217.0], "the first after two seconds, the next after twenty times as long"
    saver._thread.shutdown()


def test_a_full_disk_ends_the_run_and_keeps_what_was_saved(tmp_path, monkeypatch):
    from featvis.results import store as stores

    write = stores.Store.add
    added = []

    def add(self, picture):
        if len(added) == 3:
            raise fv.OutputError("cannot write: No space left on device")
        added.append(picture)
        return write(self, picture)

    monkeypatch.setattr(stores.Store, "add", add)
    with pytest.raises(fv.OutputError, match="No space"):
        fv.render(small(), "norm:0:8", out=tmp_path, **OPTIONS)
    monkeypatch.setattr(stores.Store, "add", write)
    steps = []
    fv.render(small(), "norm:0:8", out=tmp_path, watch=steps.append, **OPTIONS)
    assert len(steps) == 6, "five pictures were missing: three jobs of two steps"
